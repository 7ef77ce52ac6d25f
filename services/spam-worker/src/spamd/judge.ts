import type { Clock } from "@rs-agent/shared/clock.ts";
import type { SpamFinding, SpamRule } from "@rs-agent/shared/checks/spam.ts";
import type { Asked } from "@rs-agent/shared/engines/engine-client.ts";
import type { Answer, AskOptions, Rules, SpamdClient } from "./client.ts";
import type { Score } from "./score.ts";

/** How rules are asked for: `report` gives their points too, `symbols` only their names. */
export type RuleDetail = "report" | "symbols";

/** What SpamAssassin adds when it ran out of time; the score is then only part of the true one. */
const outOfTime = "TIME_LIMIT_EXCEEDED";
const maxRules = 500;

/**
 * Has one mail judged. With `report`, spamd is asked again for the bare names if its report cannot
 * be trusted to name every rule: if a name is missing, a time-out would read as ham.
 */
export async function judge(
  client: SpamdClient,
  mail: readonly Buffer[],
  detail: RuleDetail,
  options: AskOptions & { timeoutMs: number; clock: Clock },
): Promise<Asked<SpamFinding>> {
  const startedAt = options.clock.monotonicMs();
  if (detail === "report") {
    const answer = await client.report(mail, options);
    if (answer.kind === "failed") return answer;
    if (answer.rules !== undefined) return askedOf(answer, answer.rules);
  }
  const timeoutMs = options.timeoutMs - (options.clock.monotonicMs() - startedAt);
  const answer: Answer<Score & Rules> = await client.symbols(mail, { ...options, timeoutMs });
  return answer.kind === "failed" ? answer : askedOf(answer, answer.rules);
}

function askedOf({ spam, score, required }: Score, rules: readonly SpamRule[]): Asked<SpamFinding> {
  if (rules.some((rule) => rule.name === outOfTime)) {
    const detail = `SpamAssassin ran out of time at ${score} of ${required} points`;
    return { kind: "failed", reason: "time-out", detail };
  }
  const finding = { score, required, rules: rules.slice(0, maxRules) };
  return { kind: "answered", finding: { kind: spam ? "spam" : "ham", ...finding } };
}
