import Table from "cli-table3";
import { stripVTControlCharacters, styleText } from "node:util";
import { finalOutcomes } from "@rs-agent/shared/life/outcomes.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { answeredIn, type Finding } from "@rs-agent/shared/checks/verdict.ts";
import type { RecipientResult, StartResult } from "./result.ts";
import type { SampleFate } from "./sample-run.ts";

/** Columns of the table: sample, recipient, what became of it, time. Together 79. */
const widths = [20, 30, 18, 11] as const;
const lineWidth = widths.reduce((sum, width) => sum + width, 0);

type Style = Parameters<typeof styleText>[0];

/** Made for 80 columns. Coloured only if `colour`. */
export function fateTable(
  fates: readonly SampleFate[],
  result: StartResult,
  colour: boolean,
): string {
  const paint = (style: Style, text: string) =>
    colour ? styleText(style, text, { validateStream: false }) : text;
  const table = new Table({
    colWidths: [...widths],
    colAligns: ["left", "left", "left", "right"],
    chars: plainChars,
    style: { head: [], border: [], "padding-left": 1, "padding-right": 1 },
  });
  table.push(
    ["Sample mail", "Recipient", "Outcome", "Time"].map((title) => paint("bold", title)),
    [{ colSpan: widths.length, content: paint("dim", "─".repeat(lineWidth - 2)) }],
  );
  for (const [index, mail] of result.mails.entries()) {
    const fate = fates[index];
    for (const [nth, recipient] of mail.recipients.entries()) {
      table.push([
        nth === 0 ? mail.sample : "",
        recipient.address,
        outcomeText(recipient, paint),
        nth === 0 && hasEnded(mail) ? inTime(mail.ms) : "",
      ]);
    }
    const below = [
      ...stepLines(fate).map((line) => paint("dim", line)),
      ...surpriseLines(mail.recipients, fate).map((line) => paint("red", line)),
    ];
    table.push(...below.map((content) => [{ colSpan: widths.length, content }]));
  }
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => stripVTControlCharacters(line).trim() !== "")
    .join("\n");
}

function hasEnded({ recipients }: StartResult["mails"][number]): boolean {
  return recipients.every(({ outcome }) => outcome !== "open");
}

/** One line below the table: I1 in numbers. */
export function conservationLine({ conservation, mails }: StartResult): string {
  const { accepted, open, holds, ...ends } = conservation;
  // What arrived comes first.
  const parts = finalOutcomes
    .toSorted((a, b) => Number(b === "sent") - Number(a === "sent"))
    .filter((name) => ends[name] > 0)
    .map((name) => `${ends[name]} ${name}`);
  if (open > 0) parts.push(`${open} open`);
  const sum = holds ? "nothing lost" : "NUMBERS DO NOT ADD UP";
  return `${mails.length} mails, ${accepted} recipients: ${parts.join(", ")} (${sum})`;
}

function outcomeText(
  { outcome, expected }: RecipientResult,
  paint: (style: Style, text: string) => string,
): string {
  return outcome === expected ? paint("green", `✓ ${outcome}`) : paint("red", `✗ ${outcome}`);
}

/** What was expected instead, and what the mail's record says. */
function surpriseLines(
  recipients: readonly RecipientResult[],
  fate: SampleFate | undefined,
): string[] {
  return recipients
    .filter(({ outcome, expected }) => outcome !== expected)
    .flatMap(({ address, expected }) => {
      const record = fate?.records.find((one) =>
        one.recipients.some((recipient) => recipient.address === address),
      );
      const reason = record?.reason === undefined ? "" : `: ${record.reason}`;
      const state = record === undefined ? "" : `, but the mail is ${record.state}${reason}`;
      return wrap(`${expected} was expected for ${address}${state}`);
    });
}

/** `virus clean 12 ms · spam ham (0.3) 41 ms · enrich 5 ms · relay 8 ms`, one line per record. */
function stepLines(fate: SampleFate | undefined): string[] {
  if (fate === undefined) return [];
  if (fate.id === undefined) return wrap(`refused: ${fate.reply}`);
  const lines = fate.records.map((record) => stepsOf(record).join(separator));
  return lines.filter((line) => line !== "").flatMap((line) => wrap(line, separator));
}

function stepsOf({ verdicts, timings, enriched }: MailRecord): string[] {
  const steps = answeredIn(verdicts).flatMap((check) => {
    const verdict = verdicts[check];
    if (verdict === undefined) return [];
    return [`${check} ${findingText(verdict.finding)} ${inTime(verdict.workMs)}`];
  });
  const enrichMs = timings?.enrich?.workMs ?? enriched?.workMs;
  if (enrichMs !== undefined) steps.push(`enrich ${inTime(enrichMs)}`);
  if (timings?.relay !== undefined) steps.push(`relay ${inTime(timings.relay.workMs)}`);
  return steps;
}

/** A signature's name must not steer a terminal. */
function printable(name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
}

function findingText(finding: Finding): string {
  switch (finding.kind) {
    case "infected":
      return `found ${printable(finding.names[0] ?? "").replace(/\.UNOFFICIAL$/, "")}`;
    case "ham":
    case "spam":
      return `${finding.kind} (${finding.score.toFixed(1)})`;
    case "found":
      return `found ${printable(finding.labels[0] ?? "")}`;
    case "unchecked":
      return `unchecked (${finding.reason})`;
    default:
      return finding.kind;
  }
}

function inTime(ms: number): string {
  return ms < 9_999.5 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

const indent = " ";
const separator = " · ";

/** Breaks a line that is too long between steps, or else between words. */
function wrap(text: string, separator = " "): string[] {
  const lines: string[] = [];
  let line = "";
  for (const part of text.split(separator)) {
    const longer = line === "" ? part : `${line}${separator}${part}`;
    if (line !== "" && indent.length + longer.length > lineWidth - 2) {
      lines.push(indent + line);
      line = part;
    } else {
      line = longer;
    }
  }
  return [...lines, indent + line];
}

/** No frame: people read the lines, not the boxes. */
const plainChars = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
};
