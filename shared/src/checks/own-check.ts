import { z } from "zod";
import { builtInNames, workerServices } from "./built-in-checks.ts";
import { headerName, type Check } from "./check.ts";
import { builtInUnchecked, dispositionSchema, type Disposition } from "./consequence.ts";
import { maxNameLength, uncheckedFindingSchema } from "./finding.ts";

/** Words that mean something else wherever the name of a check may stand. */
const reservedNames: ReadonlySet<string> = new Set([
  ...[...builtInNames, "auth", "content", "enrich"],
  ...["plan", "retry", "adopt", "relay", "ingest", "dispatcher", "console"],
  ...[...workerServices, "clamd", "spamd", "rspamd"],
  ...["strip", "verdict-headers", "extra-headers", "geoip", "subject-tag", "sender-rewrite"],
  ...["disclaimer", "sign"],
  // Every JavaScript object has it already.
  "constructor",
]);

const form = /^[a-z][a-z0-9-]{0,31}$/;

/** The name of a check that a policy brought, and of the kind of its workers. */
export const ownCheckSchema = z
  .string()
  .regex(form, {
    error: "must be a lower-case letter and up to 31 letters, digits or hyphens",
  })
  .refine((name) => !reservedNames.has(name), {
    error: ({ input }) => `${String(input)} is taken: a check of your own needs another name`,
  })
  .brand<"OwnCheck">();
export type OwnCheck = z.infer<typeof ownCheckSchema>;

/** The name, if a policy may bring a check with it. */
export function ownCheckIn(name: unknown): OwnCheck | undefined {
  const isOne = typeof name === "string" && form.test(name) && !reservedNames.has(name);
  return isOne ? (name as OwnCheck) : undefined;
}

/** Whatever the policy says: only the check's worker knows what it means. */
export const ownSettingsSchema = z.record(z.string().max(128), z.unknown());
export type OwnSettings = z.infer<typeof ownSettingsSchema>;

export const ownFindingSchema = z.discriminatedUnion("kind", [
  z.looseObject({ kind: z.literal("passed") }),
  z.looseObject({
    kind: z.literal("found"),
    /** What was found, each in a few words. */
    labels: z.array(z.string().max(maxNameLength)).min(1).max(100),
    /** Its own points, for a person. */
    score: z.number().optional(),
  }),
  uncheckedFindingSchema,
]);
export type OwnFinding = z.infer<typeof ownFindingSchema>;
type Found = Exclude<OwnFinding, { kind: "unchecked" }>;

const maxSettingsLength = 8_000;

interface OwnRules {
  worker?: OwnCheck | undefined;
  settings: OwnSettings;
  finding: Disposition;
}
interface Consequences {
  finding: Disposition;
}
export type OwnCheckEntry = Check<Found, OwnSettings, OwnRules, Consequences>;

const ownCheck: Omit<OwnCheckEntry, "name" | "service" | "headerFields" | "uncheckedField"> = {
  settings: ownSettingsSchema,
  finding: ownFindingSchema,
  rules: {
    /** For the reader of the policy: it can only be the check's own name. */
    worker: ownCheckSchema.optional(),
    settings: ownSettingsSchema
      .refine((settings) => JSON.stringify(settings).length <= maxSettingsLength, {
        error: `must not be longer than ${String(maxSettingsLength)} characters as JSON`,
      })
      .optional(),
    finding: dispositionSchema.optional(),
  },
  builtIn: {
    enabled: true,
    settings: {},
    finding: "quarantine",
    unchecked: builtInUnchecked("quarantine"),
  },
  settingsOf: ({ settings }) => settings,
  consequences: { finding: dispositionSchema },
  consequencesOf: ({ finding }) => ({ finding }),
  isFinding: ({ kind }) => kind === "found",
  ruleOn: (found, asked) => ({
    disposition: asked?.finding ?? "quarantine",
    reason: foundText(found),
  }),
  nameOf: foundText,
  wordsOf: (found) => foundText(found) + scoreText(found),
  rulesText: ({ finding }) => `found: ${finding}`,
};

const field = "X-RadicalSpam-Check";

/** The entry of a check that a policy brought. The keys of its workers on the bus play its name. */
export function ownCheckOf(name: OwnCheck): OwnCheckEntry {
  return {
    ...ownCheck,
    name,
    service: name,
    headerFields: ({ finding }) => [[field, `${name}=${statusOf(finding)}`]],
    uncheckedField: (reason) => [field, `${name}=unchecked (${reason})`],
  };
}

function foundText(found: Found): string {
  return found.kind === "found" ? `found: ${[...found.labels].sort().join(", ")}` : found.kind;
}

function statusOf(found: Found): string {
  if (found.kind === "passed") return "passed";
  return `found (${found.labels.map(headerName).join(", ")})${scoreText(found)}`;
}

function scoreText(found: Found): string {
  const isScored = found.kind === "found" && found.score !== undefined;
  return isScored ? ` score=${String(found.score)}` : "";
}
