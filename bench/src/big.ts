import { join } from "node:path";
import Table from "cli-table3";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";
import { onStage, renderConditions, type Conditions } from "./comparison.ts";
import { watchMemory, type MemoryOfPart } from "./memory.ts";
import { readOptions } from "./options.ts";
import { startOurs } from "./our-system.ts";
import { peerNeeds, provide, versionOf } from "./peers/needs.ts";
import { bigMail } from "./sample-mails.ts";
import { deliverAll } from "./smtp-load.ts";
import { judgementText, type Judgement } from "./spread.ts";

/**
 * Fifty mails of 40 MB by SMTP through clamd to the sink: all must arrive, with the resident memory
 * of every service at most 512 MB. `node bench/src/big.ts [--mails N] [--size BYTES] [--connections
 * N] [--json]`
 */
const options = readOptions({
  mails: 50,
  size: 40 * 1024 ** 2,
  connections: 4,
  /** A single round: a run that gave memory back once would prove nothing. */
  rounds: 1,
});
const { mails: count, size: bytes, connections: sessions } = options;
const mostMb = 512;
/** One mail takes seconds: it passes clamd, the database and SMTP twice. */
const silenceMs = 300_000;

interface Report {
  conditions: Conditions;
  mails: number;
  bytes: number;
  seconds: number;
  /** Over the run; database and clamd are not judged. */
  memory: (MemoryOfPart & Partial<Judgement>)[];
}

await provide(peerNeeds.clamd);
const report = await onStage(
  async ({ runDir, sink, signal, keep, conditions }): Promise<Report> => {
    const clamd = keep(await startClamd({ dir: join(runDir, "clamd"), signal }));
    const ours = keep(await startOurs({ runDir: join(runDir, "ours"), sink, signal, clamd }));
    const mail = bigMail(bytes);
    const pids = () =>
      Object.fromEntries(
        Object.entries(ours.processes()).flatMap(([part, [pid]]) =>
          pid === undefined ? [] : [[part, pid]],
        ),
      );
    const watch = watchMemory(pids);
    const expected = sink.count + count;
    const mails = Array.from({ length: count }, () => mail);
    const [{ beganAt }, lastAt] = await Promise.all([
      deliverAll(ours.address, mails, sessions),
      sink.arrived(expected, silenceMs),
    ]);
    const memory = watch.stop().map((seen) => {
      const isOurs = seen.part !== "database" && seen.part !== "clamd";
      return isOurs ? { ...seen, target: { most: mostMb }, meets: seen.maxMb <= mostMb } : seen;
    });
    const about = { ours: ours.about, clamd: await versionOf("clamav-daemon") };
    const seconds = (lastAt - beganAt) / 1_000;
    return { conditions: conditions(1, about), mails: count, bytes, seconds, memory };
  },
);

function print({ conditions, mails, bytes, seconds, memory }: Report): void {
  const table = new Table({
    head: ["RSS, MB", "max", "over time", ""],
    style: { head: [], border: [] },
  });
  for (const { part, maxMb, overTimeMb, target, meets } of memory) {
    const isJudged = target !== undefined && meets !== undefined;
    const words = isJudged ? judgementText({ target, meets }) : "";
    table.push([part, maxMb, overTimeMb.join(" "), words]);
  }
  const what = `${mails} mails of ${(bytes / 1024 ** 2).toFixed(0)} MB in ${seconds.toFixed(1)} s`;
  process.stdout.write(`${renderConditions(conditions)}\n${what}\n${table.toString()}\n`);
}

if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
