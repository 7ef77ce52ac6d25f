import { z } from "zod";
import { plainText, type Check } from "./check.ts";
import { builtInUnchecked, dispositionSchema, type Disposition } from "./consequence.ts";
import { uncheckedFindingSchema, type Engine } from "./finding.ts";

/** The spam engines for which there are workers, by the name that they announce. */
export const spamEngines = ["spamd", "rspamd"] as const;
export const spamEngineSchema = z.enum(spamEngines);
export type SpamEngineName = z.infer<typeof spamEngineSchema>;

export const spamSettingsSchema = z.looseObject({
  /** Only a worker with this engine may have the task. Absent: any. */
  engine: spamEngineSchema.optional(),
  /** Whose rules and Bayes tokens apply (spamd's `User`, rspamd's `Deliver-To`). Absent: the engine's default. */
  user: z.string().max(256).optional(),
  /** Bytes; the engine does not get a larger mail whole. */
  maxBytes: z.number().int().positive(),
  /** What happens with larger mail: `unchecked: too-large`, or its first `maxBytes` are scanned. */
  oversize: z.enum(["unchecked", "head"]),
});
export type SpamSettings = z.infer<typeof spamSettingsSchema>;

export const spamRuleSchema = z.looseObject({
  name: z.string().max(128),
  score: z.number().optional(),
});
export type SpamRule = z.infer<typeof spamRuleSchema>;

const proposedFieldSchema = z.looseObject({
  name: z.string().max(76),
  value: z.string().max(900),
});
export type ProposedField = z.infer<typeof proposedFieldSchema>;

const scored = {
  /** The engine's points, on its own scale. */
  score: z.number(),
  /** The points from which the engine itself would call it spam. */
  required: z.number(),
  rules: z.array(spamRuleSchema).max(500),
  /**
   * Header fields that the engine would have added: for a person to see, never written to the mail.
   */
  proposed: z.array(proposedFieldSchema).max(20).optional(),
  /** What a person should know, such as that only the head of the mail was judged. */
  detail: z.string().max(1000).optional(),
};
export const spamFindingSchema = z.discriminatedUnion("kind", [
  z.looseObject({ kind: z.literal("ham"), ...scored }),
  z.looseObject({ kind: z.literal("spam"), ...scored }),
  uncheckedFindingSchema,
]);
export type SpamFinding = z.infer<typeof spamFindingSchema>;
type Scored = Exclude<SpamFinding, { kind: "unchecked" }>;

interface SpamRules {
  threshold: number;
  onSpam: Disposition;
  highThreshold: number;
  onHighSpam: Disposition;
  engine?: SpamEngineName | undefined;
  user?: string | undefined;
  maxBytes: number | string;
  oversize: "unchecked" | "head";
}

interface Consequences {
  threshold: number;
  onSpam: Disposition;
  highThreshold?: number | undefined;
  onHighSpam?: Disposition | undefined;
}

const pointsSchema = z.number({ error: "must be a number of points" });

/** Bytes, as a number or as in `500k`, `20M`. */
const sizeSchema = z.union([z.number().int().positive(), z.string().regex(/^[1-9]\d{0,8}[kM]?$/)], {
  error: "must be a size in bytes, or one such as 500k or 20M",
});

export const spam: Check<Scored, SpamSettings, SpamRules, Consequences, "spam-worker"> = {
  name: "spam",
  service: "spam-worker",
  settings: spamSettingsSchema,
  finding: spamFindingSchema,
  rules: {
    threshold: pointsSchema.optional(),
    onSpam: dispositionSchema.optional(),
    highThreshold: pointsSchema.optional(),
    onHighSpam: dispositionSchema.optional(),
    engine: z.enum(spamEngines, { error: `must be ${spamEngines.join(" or ")}` }).optional(),
    user: z.string().min(1).max(256).optional(),
    maxBytes: sizeSchema.optional(),
    oversize: z.enum(["unchecked", "head"]).optional(),
  },
  builtIn: {
    enabled: true,
    threshold: 5,
    onSpam: "tag",
    highThreshold: 15,
    onHighSpam: "quarantine",
    maxBytes: 512_000,
    oversize: "unchecked",
    unchecked: builtInUnchecked("pass"),
  },
  problemOf: ({ threshold, highThreshold }) =>
    highThreshold < threshold
      ? { path: "highThreshold", message: "is lower than threshold" }
      : undefined,
  settingsOf: ({ engine, user, maxBytes, oversize }) => ({
    ...(engine !== undefined && { engine }),
    ...(user !== undefined && { user }),
    maxBytes: sizeBytes(maxBytes),
    oversize,
  }),
  consequences: {
    /** Points from which the mail counts as spam; the engine's own `required` does not decide. */
    threshold: z.number(),
    onSpam: dispositionSchema,
    /** Points from which `onHighSpam` applies instead of `onSpam`. */
    highThreshold: z.number().optional(),
    onHighSpam: dispositionSchema.optional(),
  },
  consequencesOf: ({ threshold, onSpam, highThreshold, onHighSpam }) => ({
    threshold,
    onSpam,
    highThreshold,
    onHighSpam,
  }),
  isFinding: isSpam,
  ruleOn(found, asked) {
    const { threshold = found.required, onSpam = "tag", highThreshold, onHighSpam } = asked ?? {};
    const isHigh = highThreshold !== undefined && found.score >= highThreshold;
    return {
      disposition: isHigh ? (onHighSpam ?? onSpam) : onSpam,
      reason: `spam: ${String(found.score)} points, the limit is ${String(isHigh ? highThreshold : threshold)}`,
    };
  },
  // The score is not part of it: a person who releases spam means any score.
  nameOf: () => "spam",
  wordsOf({ score, rules, detail }, asked) {
    const hits = rules.map((rule) =>
      rule.score === undefined ? rule.name : `${rule.name}=${String(rule.score)}`,
    );
    const note = detail === undefined ? "" : ` (${detail})`;
    const limits = asked === undefined ? "" : limitsText(asked);
    return `${String(score)} points${limits}: ${hits.join(", ") || "no rule hit"}${note}`;
  },
  rulesText({ threshold, onSpam, highThreshold, onHighSpam }) {
    const isSplit = highThreshold !== undefined && onHighSpam !== undefined;
    const high = isSplit ? `, from ${String(highThreshold)}: ${onHighSpam}` : "";
    return `from ${String(threshold)}: ${onSpam}${high}`;
  },
  /** SpamAssassin's own fields (Mail::SpamAssassin::Conf, `add_header`), so that filters read them. */
  headerFields({ finding, engine }, asked) {
    const { threshold = finding.required } = asked;
    const stars = "*".repeat(Math.min(Math.max(Math.floor(finding.score), 0), maxStars));
    return [
      ...(isSpam(finding, asked) ? [["X-Spam-Flag", "YES"] as const] : []),
      ["X-Spam-Status", spamStatus(finding, threshold, engine)],
      ["X-Spam-Score", shownScore(finding.score, threshold)],
      ...(stars === "" ? [] : [["X-Spam-Level", stars] as const]),
    ];
  },
  uncheckedField: (reason) => ["X-Spam-Status", `Unchecked (${reason})`],
};

/**
 * The one place that says what spam is: points from the policy's threshold on, or from the engine's
 * if no policy asks.
 */
function isSpam(found: Scored, asked: Partial<Consequences> | undefined): boolean {
  return found.score >= (asked?.threshold ?? found.required);
}

/** Bytes of a size that fits the schema. */
function sizeBytes(size: number | string): number {
  if (typeof size === "number") return size;
  const factor = size.endsWith("k") ? 1024 : size.endsWith("M") ? 1024 * 1024 : 1;
  return Number.parseInt(size, 10) * factor;
}

function limitsText({ threshold, onSpam, highThreshold, onHighSpam }: Consequences): string {
  const isHigher = highThreshold !== undefined && onHighSpam !== undefined && onHighSpam !== onSpam;
  const high = isHigher ? `, from ${String(highThreshold)} ${onHighSpam}` : "";
  return `, from ${String(threshold)} ${onSpam}${high}`;
}

const maxStars = 50;

function spamStatus(finding: Scored, threshold: number, engine: Engine | undefined): string {
  const names = finding.rules.map(({ name }) => plainText(name)).sort();
  const tests = names.length === 0 ? "none" : names.join(",");
  const version = engine === undefined ? "" : ` version=${plainText(engine.version)}`;
  const score = `score=${shownScore(finding.score, threshold)} required=${threshold.toFixed(1)}`;
  const word = isSpam(finding, { threshold }) ? "Yes" : "No";
  return `${word}, ${score} tests=${tests} autolearn=unavailable${version}`;
}

/** One decimal; as in SpamAssassin, never rounded up to a threshold that was not reached. */
function shownScore(score: number, threshold: number): string {
  const rounded = score.toFixed(1);
  const misleads = score < threshold && Number(rounded) >= threshold;
  return misleads ? (Math.floor(score * 10) / 10).toFixed(1) : rounded;
}
