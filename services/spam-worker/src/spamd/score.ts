import type { SpamRule } from "@rs-agent/shared/checks/spam.ts";

/** spamd's own judgement: its flag, its points, and the points from which it says spam. */
export interface Score {
  spam: boolean;
  score: number;
  required: number;
}

/** spamd rounds both numbers to a tenth of a point. */
const rounding = 0.1;
const number = String.raw`(-?\d{1,9}(?:\.\d{1,6})?)`;
const spamHeader = new RegExp(`^(True|False) ; ${number} / ${number}$`);

/**
 * Reads `True ; 15.0 / 5.0`. A flag that contradicts its own numbers is not a judgement.
 * @returns undefined for anything else
 */
export function parseScore(text: string): Score | undefined {
  const parts = spamHeader.exec(text);
  if (parts === null) return undefined;
  const score = { spam: parts[1] === "True", score: Number(parts[2]), required: Number(parts[3]) };
  const points = score.spam ? score.score - score.required : score.required - score.score;
  return points < -rounding ? undefined : score;
}

const ruleName = /^[A-Za-z0-9_]{1,128}$/;

/** Reads the body of SYMBOLS: names of the rules that hit, separated by commas; "" if none. */
export function parseSymbols(body: string): SpamRule[] | undefined {
  const text = body.replace(/\r?\n$/, "");
  if (text === "") return [];
  const names = text.split(",");
  return names.every((name) => ruleName.test(name)) ? names.map((name) => ({ name })) : undefined;
}

const rulesBelow = /^ ?-{3,} -{5,} -{10,} *$/;
const ruleLine = /^ {0,3}(-?\d{1,5}(?:\.\d)?) ([A-Za-z0-9_]{1,128})(?: |$)/;

/**
 * Reads rules and their points from the table at the end of a REPORT (SpamAssassin's `_SUMMARY_`).
 * A report is a template that every site may change and that quotes the mail, so the table counts
 * only if it stands below the last ruler and its points add up to the score.
 * @returns undefined if the table is not provably whole
 */
export function parseReport(report: string, score: number): SpamRule[] | undefined {
  const lines = report.split(/\r?\n/);
  const ruler = lines.findLastIndex((line) => rulesBelow.test(line));
  if (ruler < 0) return undefined;
  const rules: SpamRule[] = [];
  let sum = 0;
  let slack = rounding;
  for (const line of lines.slice(ruler + 1)) {
    const parts = ruleLine.exec(line);
    if (parts === null) continue;
    const points = Number(parts[1]);
    rules.push({ name: parts[2] ?? "", score: points });
    sum += points;
    // `%4.1f`, or `%4.0f` from ten points on: PerMsgStatus.pm.
    slack += Math.abs(points) >= 10 ? 0.51 : 0.051;
  }
  return Math.abs(sum - score) <= slack ? rules : undefined;
}
