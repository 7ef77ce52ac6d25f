import type { Latency } from "../measure/latency.ts";
import type { Saturation } from "../measure/saturation.ts";
import type { FloodResult } from "../result.ts";
import { amount, counts, rate, time } from "./numbers.ts";

const width = 80;
const labelWidth = 12;

/** The report for a terminal of 80 columns. */
export function reportText(result: FloodResult): string {
  return [
    ...row("flood", `${result.run}, ${result.asked}, ${result.connections} connections`),
    ...row("to", result.target),
    ...(result.database === undefined ? [] : row("database", result.database)),
    ...row("mails", counts(result.kinds)),
    ...ratesRows(result),
    "",
    ...latencyTable(result),
    ...stepTable(result),
    ...stageTable(result),
    ...processTable(result),
    "",
    ...saturationRows(result),
    ...replyRows(result),
    ...checkRows(result),
  ].join("\n");
}

function ratesRows({ rates, handedIn, sink, seconds, ended }: FloodResult): string[] {
  const { offered, accepted, bytes, ...others } = handedIn;
  const { notSent, putOff, refusedRecipients, ...more } = others;
  const missed = counts({ "put off": putOff, ...more, "not sent": notSent });
  const refused = refusedRecipients === 0 ? "" : `; ${refusedRecipients} recipients refused`;
  const size = `${amount(bytes / 1_000_000)} MB`;
  return [
    ...row(
      "offered",
      `${rate(rates.offered)}, ${amount(offered)} in ${amount(seconds.schedule)} s, ${size}`,
    ),
    ...row(
      "accepted",
      `${rate(rates.accepted)}, ${amount(accepted)}; ${missed || "no other"}${refused}`,
    ),
    ...(sink === undefined
      ? []
      : row(
          "delivered",
          `${rate(rates.delivered ?? 0)}, ${amount(sink.delivered)} of ${amount(sink.expected)} that must come; ` +
            `${amount(sink.copies)} copies, ${amount(sink.duplicates)} duplicates`,
        )),
    ...(ended === "settled" || ended === "not waited for" ? [] : row("ended", endText(ended))),
  ];
}

function endText(ended: FloodResult["ended"]): string {
  return ended === "interrupted" ? "interrupted: what is here is what was seen until then" : ended;
}

function latencyTable({ accept, endToEnd }: FloodResult): string[] {
  const line = (name: string, { p50Ms, p95Ms, p99Ms, p999Ms, maxMs }: Latency) =>
    cells(name, [p50Ms, p95Ms, p99Ms, p999Ms, maxMs].map(time));
  return [
    cells("time", ["p50", "p95", "p99", "p99.9", "max"]),
    line("accept", accept),
    ...(endToEnd === undefined
      ? []
      : [line("end to end", endToEnd), ...(endToEnd.by === "sink" ? [] : ["  (by the records)"])]),
  ];
}

function stepTable({ steps }: FloodResult): string[] {
  if (steps === undefined) return [];
  if (steps.times.length === 0) return ["", ...row("steps", "no record of this run names any")];
  return [
    "",
    cells("step", ["wait p50", "wait p99", "work p50", "work p99"]),
    ...steps.times.map(({ step, wait, work }) =>
      cells(step, [wait.p50Ms, wait.p99Ms, work.p50Ms, work.p99Ms].map(time)),
    ),
  ];
}

function stageTable({ stages }: FloodResult): string[] {
  if (stages.length < 2) return [];
  return [
    "",
    cells("seconds", ["offered", "accepted", "delivered", "accept p99"]),
    ...stages.map(({ fromSecond, toSecond, offered, accepted, delivered, acceptP99Ms }) =>
      cells(`${amount(fromSecond)}-${amount(toSecond)}`, [
        rate(offered),
        rate(accepted),
        delivered === undefined ? "-" : rate(delivered),
        time(acceptP99Ms),
      ]),
    ),
  ];
}

function processTable({ processes }: FloodResult): string[] {
  return [
    "",
    cells("process", ["CPU ms/mail", "RSS MB"], nameWidth),
    ...processes.map(({ name, cpuMsPerMail, maxRssMb }) =>
      cells(name.slice(0, nameWidth - 1), [amount(cpuMsPerMail), amount(maxRssMb)], nameWidth),
    ),
  ];
}

const nameWidth = 20;

function saturationRows({ saturation, stages }: FloodResult): string[] {
  if (stages.length === 0) return [];
  const { accepted, delivered } = saturation;
  const text = (what: string, at: Saturation | undefined) => {
    if (at === undefined) return `${what}: follows every rate of the schedule`;
    const follows = at.upTo === 0 ? "follows no rate" : `follows up to ${rate(at.upTo)}`;
    return `${what}: ${follows}, not ${rate(at.notAt)}; makes ${rate(at.makes)}`;
  };
  const seesDelivered = stages.some((stage) => stage.delivered !== undefined);
  return [
    ...row("saturation", text("accepted", accepted)),
    ...(seesDelivered ? row("", text("delivered", delivered)) : []),
  ];
}

function replyRows({ replies }: FloodResult): string[] {
  return Object.entries(replies).flatMap(([reply, count], nth) =>
    row(nth === 0 ? "replies" : "", `${amount(count)} × ${reply}`),
  );
}

function checkRows({ check, ended, unread }: FloodResult): string[] {
  if (unread !== undefined) return row("check", `NOT MADE, the records cannot be read: ${unread}`);
  if (check === undefined) return [];
  const { holds, recipients, ends, findings, examples, unheard } = check;
  const because = recipients === 0 ? "nothing was accepted" : counts(findings);
  const where = counts(ends);
  return [
    ...row("recipients", `${amount(recipients)} accepted${where === "" ? "" : `: ${where}`}`),
    ...(unheard === 0 ? [] : row("", `${amount(unheard)} mails recorded though no 250 was heard`)),
    ...row(
      "check",
      holds ? "holds" : `DOES NOT HOLD: ${because}${ended === "settled" ? "" : ` (${ended})`}`,
    ),
    ...examples.flatMap(({ kind, number, address, detail }) =>
      row("", `${kind}: mail ${number} for ${address}: ${detail}`),
    ),
  ];
}

function cells(name: string, values: readonly string[], first = labelWidth): string {
  return `${name.padEnd(first)}${values.map((value) => value.padStart(12)).join("")}`;
}

/** A label and its text, broken between words at the end of a terminal of 80 columns. */
function row(label: string, text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap(pieces)) {
    if (line !== "" && labelWidth + line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((each, at) => (at === 0 ? label : "").padEnd(labelWidth) + each);
}

function pieces(word: string): string[] {
  const room = width - labelWidth;
  if (word.length <= room) return [word];
  return [word.slice(0, room), ...pieces(word.slice(room))];
}
