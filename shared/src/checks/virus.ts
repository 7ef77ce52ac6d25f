import { z } from "zod";
import { headerName, plainText, type Check, type HeaderField } from "./check.ts";
import { builtInUnchecked, dispositionSchema, type Disposition } from "./consequence.ts";
import { maxNameLength, uncheckedFindingSchema, type Engine } from "./finding.ts";

export const virusSettingsSchema = z.looseObject({});
export type VirusSettings = z.infer<typeof virusSettingsSchema>;

export const virusFindingSchema = z.discriminatedUnion("kind", [
  z.looseObject({ kind: z.literal("clean") }),
  z.looseObject({
    kind: z.literal("infected"),
    names: z.array(z.string().max(maxNameLength)).min(1).max(100),
  }),
  uncheckedFindingSchema,
]);
export type VirusFinding = z.infer<typeof virusFindingSchema>;
type Found = Exclude<VirusFinding, { kind: "unchecked" }>;

/** An infected mail leaves only if a person releases it, so `deliver` and `tag` are not offered. */
const onInfectedSchema = z.enum(["quarantine", "reject", "discard", "hold"]);

interface Consequences {
  onInfected: Disposition;
}

export const virus: Check<Found, VirusSettings, Consequences, Consequences, "av-worker"> = {
  name: "virus",
  service: "av-worker",
  settings: virusSettingsSchema,
  finding: virusFindingSchema,
  rules: { onInfected: onInfectedSchema.optional() },
  builtIn: { enabled: true, onInfected: "quarantine", unchecked: builtInUnchecked("quarantine") },
  settingsOf: () => ({}),
  consequences: { onInfected: dispositionSchema },
  consequencesOf: ({ onInfected }) => ({ onInfected }),
  outlivesPolicy: true,
  isFinding: ({ kind }) => kind === "infected",
  ruleOn(found, asked) {
    const chosen = asked?.onInfected ?? "quarantine";
    const isMild = chosen === "deliver" || chosen === "tag";
    return { disposition: isMild ? "quarantine" : chosen, reason: nameOf(found) };
  },
  nameOf,
  wordsOf: nameOf,
  rulesText: ({ onInfected }) => `infected: ${onInfected}`,
  headerFields: ({ finding, engine, blind = [] }) => [
    ...scanned(engine),
    ["X-Virus-Status", statusOf(finding, blind)],
  ],
  uncheckedField: (reason) => ["X-Virus-Status", `Unchecked (${reason})`],
};

function nameOf(found: Found): string {
  return found.kind === "infected" ? `infected: ${[...found.names].sort().join(", ")}` : found.kind;
}

function statusOf(found: Found, blind: readonly string[]): string {
  if (found.kind === "infected") return `Infected (${found.names.map(headerName).join(", ")})`;
  return blind.length === 0 ? "Clean" : `Clean (blind: ${blind.map(plainText).join(", ")})`;
}

/** `clamd 1.4.3 (signatures 27500 of 2026-06-01)`. */
function scanned(engine: Engine | undefined): HeaderField[] {
  if (engine === undefined) return [];
  const { name, version, signatureVersion, signatureAt } = engine;
  const date = signatureAt === undefined ? "" : ` of ${signatureAt.toISOString().slice(0, 10)}`;
  const signatures =
    signatureVersion === undefined ? "" : ` (signatures ${plainText(signatureVersion)}${date})`;
  return [["X-Virus-Scanned", `${plainText(name)} ${plainText(version)}${signatures}`]];
}
