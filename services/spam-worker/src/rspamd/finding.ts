import { unchecked, type UncheckedFinding } from "@rs-agent/shared/checks/finding.ts";
import type { SpamFinding, SpamRule } from "@rs-agent/shared/checks/spam.ts";
import type { Asked } from "@rs-agent/shared/engines/engine-client.ts";
import { proposedFields, type Action, type CheckReply } from "./reply.ts";

/** The actions by which rspamd calls a mail spam, the mildest first. */
const spamActions = ["add header", "rewrite subject", "quarantine", "discard", "reject"] as const;
type SpamAction = (typeof spamActions)[number];

const maxRules = 500;
const maxRuleName = 128;

/** What rspamd's answer does not say about itself. */
export interface RspamdPoints {
  /**
   * Points from which a mail is spam to it (`add_header`), if the answer does not say: rspamd 3.4
   * and older.
   */
  requiredPoints: number;
  /**
   * Its `task_timeout`: an answer that took this long is based only on the rules that had ended.
   */
  taskTimeoutMs: number;
}

/**
 * What rspamd's answer amounts to.
 *
 * 1. A mail is spam from the points of the mildest spam action on; below them it is ham, if every
 *    rule could run.
 * 2. A spam action counts as the points from which points alone would lead to it, even if a module
 *    of rspamd's decided it whatever the points (`force_actions`, an antivirus in rspamd): policy
 *    goes by points. An action milder than the points has no effect.
 * 3. A mail that was skipped or put off, or on which rspamd ran out of time, was not judged: its
 *    points are only part of the true ones.
 */
export function askedOf(reply: CheckReply, known: RspamdPoints): Asked<SpamFinding> {
  const required = requiredOf(reply, known);
  if ((reply.time_real ?? 0) * 1_000 >= known.taskTimeoutMs) {
    const detail = `rspamd ran out of time at ${points(reply.score)} of ${points(required)} points`;
    return { kind: "failed", reason: "time-out", detail };
  }
  const forced = isSpamAction(reply.action) ? pointsOf(reply.action, reply, required) : -Infinity;
  const score = Math.max(reply.score, forced);
  const why = score < required ? whyNotJudged(reply) : undefined;
  return { kind: "answered", finding: why ?? judged(reply, score, required) };
}

function judged(reply: CheckReply, score: number, required: number): SpamFinding {
  const { action, passthrough_module: module } = reply;
  const by = module === undefined ? "" : ` (${module.slice(0, 100)})`;
  const isRaised = score > reply.score;
  const detail = `rspamd's action is ${action}${by} at ${points(reply.score)} points`;
  const proposed = proposedFields(reply);
  return {
    kind: score >= required ? "spam" : "ham",
    score,
    required,
    rules: rulesOf(reply),
    ...(isRaised ? { detail } : {}),
    ...(proposed.length === 0 ? {} : { proposed }),
  };
}

/**
 * Why not every rule had its say, in rspamd's own words on this mail; no reason to doubt rspamd
 * itself.
 */
function whyNotJudged(reply: CheckReply): UncheckedFinding | undefined {
  const said = reply.messages?.smtp_message;
  const words = said === undefined ? "" : `: ${said.slice(0, 300)}`;
  if (reply.action === "soft reject") return unchecked("busy", `rspamd puts it off${words}`);
  if (reply.is_skipped) {
    return unchecked("engine-error", `rspamd skipped the mail, by a setting of its own${words}`);
  }
  return undefined;
}

/** The lowest points at which rspamd takes any of its spam actions. */
function requiredOf({ thresholds, required_score }: CheckReply, known: RspamdPoints): number {
  const told = spamActions.flatMap((action) => thresholds?.[action] ?? []);
  return told.length > 0
    ? Math.min(...told)
    : Math.min(known.requiredPoints, required_score ?? Infinity);
}

/**
 * The points at which it takes this action. If it does not say, the hardest actions have
 * `required_score`.
 */
function pointsOf(action: SpamAction, reply: CheckReply, required: number): number {
  const told = reply.thresholds?.[action];
  if (told !== undefined && told !== null) return told;
  const isMild = action === "add header" || action === "rewrite subject";
  return isMild ? required : Math.max(required, reply.required_score ?? required);
}

function isSpamAction(action: Action): action is SpamAction {
  return (spamActions as readonly string[]).includes(action);
}

/** Those with the most weight first. */
function rulesOf({ symbols }: CheckReply): SpamRule[] {
  return Object.entries(symbols)
    .map(([name, { score }]) => ({ name: name.slice(0, maxRuleName), score }))
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score))
    .slice(0, maxRules);
}

function points(score: number): string {
  return String(Math.round(score * 100) / 100);
}
