import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Latency } from "../measure/latency.ts";
import type { FloodResult } from "../result.ts";
import { amount, counts, rate, time } from "./numbers.ts";

/**
 * The report as one self-contained page: it holds styles, uPlot and the numbers, and asks no
 * network.
 */
export function reportPage(result: FloodResult): string {
  const title = `Load of ${result.startedAt.slice(0, 16).replace("T", " ")} UTC`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>rs-agent flood ${text(result.run)}</title>
<style>
${ofPackage("uplot/dist/uPlot.min.css")}
${ofFolder("page.css")}
</style>
</head>
<body>
<main>
<header><h1>${title}${verdict(result)}</h1><p>${text(subtitle(result))}</p></header>
<div class="figures">${figures(result).map(figure).join("")}</div>
<div class="grid">
${chart("rates", "Mails per second", "offered by the schedule, accepted by the server, arrived at the end")}
${chart("latency", "Waiting, by the second", "from the instant at which each mail should have been sent")}
${chart("inFlight", "In flight", "accepted and not yet at the end; errors of all kinds")}
${chart("histogram", result.endToEnd === undefined ? "Time until accepted" : "Time from end to end", "mails by the time that they took")}
${tables(result).join("\n")}
</div>
<footer>${text(footer(result))}</footer>
</main>
<script type="application/json" id="result">${scriptData(result)}</script>
<script>${ofPackage("uplot/dist/uPlot.iife.min.js")}</script>
<script type="module">
${ofFolder("page-charts.mjs")}</script>
</body>
</html>
`;
}

type Figure = readonly [label: string, value: string, look?: "good" | "bad"];

function figures({ rates, accept, endToEnd, handedIn, sink }: FloodResult): Figure[] {
  const { offered, accepted } = handedIn;
  const missed = offered - accepted;
  return [
    ["offered", rate(rates.offered)],
    ["accepted", rate(rates.accepted)],
    ...(rates.delivered === undefined ? [] : [["delivered", rate(rates.delivered)] as const]),
    ["accept, median", time(accept.p50Ms)],
    ["accept, 99 %", time(accept.p99Ms)],
    ...(endToEnd === undefined
      ? []
      : ([
          ["end to end, median", time(endToEnd.p50Ms)],
          ["end to end, 99 %", time(endToEnd.p99Ms)],
        ] as const)),
    ["not accepted", amount(missed), missed > 0 ? "bad" : "good"],
    ...(sink === undefined
      ? []
      : ([["duplicates", amount(sink.duplicates), sink.duplicates > 0 ? "bad" : "good"]] as const)),
  ];
}

function figure([label, value, look]: Figure): string {
  const strong = look === undefined ? "<strong>" : `<strong class="${look}">`;
  return `<div class="figure"><span>${text(label)}</span>${strong}${text(value)}</strong></div>`;
}

function verdict({ check, ended, unread }: FloodResult): string {
  if (unread !== undefined) return `<span class="verdict bad">the records cannot be read</span>`;
  if (ended === "interrupted") return `<span class="verdict bad">interrupted</span>`;
  if (check === undefined) return "";
  return check.holds
    ? `<span class="verdict good">every recipient accounted for</span>`
    : `<span class="verdict bad">${text(counts(check.findings) || "nothing was accepted")}</span>`;
}

function subtitle({ target, asked, kinds, connections, seconds }: FloodResult): string {
  return `${asked} to ${target}, ${connections} connections, ${amount(seconds.whole)} s; ${counts(kinds)}`;
}

function footer({ run, seed, database, replies, startedAt }: FloodResult): string {
  const seen = Object.entries(replies).map(([reply, count]) => `${count} × ${reply}`);
  return [
    `rs-agent flood, run ${run}, seed ${seed}, ${startedAt}`,
    ...(database === undefined ? [] : [database]),
    ...seen,
  ].join(" · ");
}

function chart(name: string, title: string, about: string): string {
  return `<section><h2>${text(title)}</h2><p>${text(about)}</p><div class="chart" data-chart="${name}"></div></section>`;
}

function tables({ accept, endToEnd, steps, stages, processes, check }: FloodResult): string[] {
  const latency = (name: string, { p50Ms, p95Ms, p99Ms, p999Ms, maxMs }: Latency) => [
    name,
    ...[p50Ms, p95Ms, p99Ms, p999Ms, maxMs].map(time),
  ];
  const by = endToEnd?.by === "records" ? "end to end (by the records)" : "end to end";
  return [
    table(
      "Times",
      "from the intended instant on",
      ["", "p50", "p95", "p99", "p99.9", "max"],
      [latency("accept", accept), ...(endToEnd === undefined ? [] : [latency(by, endToEnd)])],
    ),
    table(
      "Steps",
      "waiting for a worker or a connection, and at work",
      ["", "wait p50", "wait p99", "work p50", "work p99"],
      (steps?.times ?? []).map(({ step, wait, work }) => [
        step,
        ...[wait.p50Ms, wait.p99Ms, work.p50Ms, work.p99Ms].map(time),
      ]),
    ),
    table(
      "Stages",
      "the later half of each",
      ["seconds", "offered", "accepted", "delivered", "accept p99"],
      stages.map((stage) => [
        `${amount(stage.fromSecond)}–${amount(stage.toSecond)}`,
        rate(stage.offered),
        rate(stage.accepted),
        stage.delivered === undefined ? "–" : rate(stage.delivered),
        time(stage.acceptP99Ms),
      ]),
    ),
    table(
      "Processes",
      "CPU for each accepted mail, and memory at its highest",
      ["", "CPU ms per mail", "RSS MB"],
      processes.map(({ name, cpuMsPerMail, maxRssMb }) => [
        name,
        amount(cpuMsPerMail),
        amount(maxRssMb),
      ]),
    ),
    table(
      "Recipients",
      "where they ended",
      ["", "recipients"],
      Object.entries({ ...check?.ends, ...check?.findings }).map(([end, count]) => [
        end,
        amount(count),
      ]),
    ),
  ].filter((html) => html !== "");
}

function table(
  title: string,
  about: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  if (rows.length === 0) return "";
  const line = (cells: readonly string[], tag: "th" | "td") =>
    `<tr>${cells.map((cell) => `<${tag}>${text(cell)}</${tag}>`).join("")}</tr>`;
  const body = rows.map((row) => line(row, "td")).join("");
  return `<section><h2>${text(title)}</h2><p>${text(about)}</p><table>${line(head, "th")}${body}</table></section>`;
}

/** Replies are text from others. */
function text(given: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
  };
  return given.replace(/[&<>"]/g, (sign) => entities[sign] ?? "");
}

/** JSON that cannot end the element that holds it. */
function scriptData(result: FloodResult): string {
  return JSON.stringify(result).replaceAll("<", "\\u003c");
}

function ofPackage(path: string): string {
  return readFileSync(createRequire(import.meta.url).resolve(path), "utf8");
}

function ofFolder(name: string): string {
  return readFileSync(new URL(name, import.meta.url), "utf8");
}
