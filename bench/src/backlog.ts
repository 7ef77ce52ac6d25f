import { join } from "node:path";
import Table from "cli-table3";
import { MongoClient, type Collection, type Document } from "mongodb";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { newMailId, sha256Hex } from "@rs-agent/shared/ids.ts";
import { givenBack } from "@rs-agent/shared/life/processing.ts";
import type { StoredDocument } from "@rs-agent/shared/store/connection.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { documentOf } from "@rs-agent/shared/store/mail-document.ts";
import { claimUpdate, dueFilter } from "@rs-agent/shared/store/mail-claims.ts";
import { startMongoDb } from "@rs-agent/kit/mongodb/mongodb.ts";
import { residentMb } from "@rs-agent/kit/processes/resident-memory.ts";
import { treeCpuMs } from "@rs-agent/kit/processes/cpu-time.ts";
import { onStage, renderConditions, say, type Conditions } from "./comparison.ts";
import { readOptions } from "./options.ts";
import { databaseText, refuseSlowServer, withDatabase } from "./our-system.ts";
import { recordOf } from "./inserted-mails.ts";
import {
  judge,
  judgementText,
  spreadOf,
  spreadText,
  type Judgement,
  type Spread,
} from "./spread.ts";

/**
 * What a claim of 100 costs with more and more mail waiting: its time, the database's CPU and, by
 * explain, how many keys and documents its two steps examine, each per claimed mail. The first
 * number of waiting mails is the yardstick for the others. `node bench/src/backlog.ts [--waiting
 * N,N…] [--rounds N] [--json]`
 */
const options = readOptions({
  waiting: [1_000, 10_000, 100_000],
  /** Claims measured at each number of waiting mails. */
  rounds: 9,
});
const { waiting: levels, rounds } = options;
const batch = 100;
const most = 1.2;
const claim = { states: ["incoming"], next: "plan", limit: batch } as const;

/** Keys and documents examined, per claimed mail. */
interface Examined {
  keys: number;
  documents: number;
}

interface Level {
  waiting: number;
  /** Per claimed mail. */
  ms: Spread;
  databaseCpuMs: Spread;
  /** For finding the ids, and for the guarded update. */
  find: Examined | undefined;
  update: Examined | undefined;
  databaseMb: number;
  /** Compared with the first level. */
  timeRatio: Spread & Judgement;
  /** Keys and documents of both steps; absent if the server does not explain. */
  examined?: Judgement & { ratio: number };
}

interface Report {
  conditions: Conditions;
  batch: number;
  levels: Level[];
}

type Mails = Collection<StoredDocument>;

/** Stored as ingest stores them, but many at a time: how they came in is not measured. */
async function fill(mails: Mails, from: number, to: number): Promise<void> {
  const body = { id: "none", form: "document", size: 4_096, sha256: sha256Hex("") } as const;
  const begun = Date.now() - 3_600_000;
  const atOnce = 1_000;
  for (let n = from; n < to; n += atOnce) {
    const records = Array.from({ length: Math.min(atOnce, to - n) }, (_, nth) =>
      documentOf(recordOf(newMailId(), body, new Date(begun + n + nth))),
    );
    await mails.insertMany(records, { ordered: false });
  }
}

/** Makes one claim and puts back what was claimed, so that as many wait for the next one. */
async function timedClaim({ mails: store }: Database, pid: number) {
  const cpuBefore = treeCpuMs(pid);
  const beganAt = performance.now();
  const claimed = await store.claim({ ...claim, owner: "bench", leaseMs: 600_000 });
  const ms = (performance.now() - beganAt) / batch;
  const databaseCpuMs = (treeCpuMs(pid) - cpuBefore) / batch;
  if (claimed.length !== batch) throw new Error(`${claimed.length} of ${batch} were claimed`);
  await Promise.all(
    claimed.map(({ mail, holding }) => store.write(holding, givenBack(mail, { next: "plan" }))),
  );
  return { ms, databaseCpuMs };
}

/** Explains the two statements of a claim that look for mail (mail-claims.ts). */
async function examinedBy(mails: Mails): Promise<Pick<Level, "find" | "update">> {
  const due: Document = dueFilter(claim, new Date());
  const options = { projection: { unended: 1 }, limit: batch * 3, sort: { dueAt: 1 as const } };
  const find = await mails.find(due, options).explain("executionStats");
  const found = await mails.find(due, { ...options, limit: batch }).toArray();
  const until = new Date(Date.now() + 600_000);
  const update = {
    q: { _id: { $in: found.map(({ _id }) => _id) }, ...due },
    u: claimUpdate({ owner: "bench", token: "none", until }),
    multi: true,
  };
  const command = { update: mails.collectionName, updates: [update] };
  const explained = await mails.db
    .command({ explain: command, verbosity: "executionStats" })
    .catch((error: unknown) => {
      say(`the server does not explain an update: ${messageOf(error)}`);
      return {};
    });
  return { find: examinedOf(find), update: examinedOf(explained) };
}

function examinedOf({ executionStats }: Document): Examined | undefined {
  const stats = executionStats as Document | undefined;
  const { totalKeysExamined: keys, totalDocsExamined: documents } = stats ?? {};
  if (typeof keys !== "number" || typeof documents !== "number") return undefined;
  return { keys: keys / batch, documents: documents / batch };
}

type Seen = Omit<Level, "timeRatio" | "examined"> & { times: number[] };

async function levelOf(
  waiting: number,
  { database, mails, pid }: { database: Database; mails: Mails; pid: number },
): Promise<Seen> {
  await timedClaim(database, pid);
  const claims: Awaited<ReturnType<typeof timedClaim>>[] = [];
  for (let n = 0; n < rounds; n += 1) claims.push(await timedClaim(database, pid));
  const times = claims.map(({ ms }) => ms);
  say(`${waiting} waiting: ${spreadText(spreadOf(times), 3)} ms per claimed mail`);
  return {
    waiting,
    times,
    ms: spreadOf(times),
    databaseCpuMs: spreadOf(claims.map(({ databaseCpuMs }) => databaseCpuMs)),
    ...(await examinedBy(mails)),
    databaseMb: Math.round(residentMb(pid)),
  };
}

/** Compares all levels with the first. */
function compared(seen: readonly Seen[]): Level[] {
  const [first] = seen;
  const yardstick = first === undefined ? Number.NaN : first.ms.median;
  return seen.map(({ times, ...level }) => {
    const ratios = times.map((ms) => ms / yardstick);
    const sum = examinedSum(level);
    const ratio = sum === undefined ? undefined : sum / (examinedSum(first ?? level) ?? Number.NaN);
    return {
      ...level,
      timeRatio: { ...spreadOf(ratios), ...judge(ratios, { most }) },
      ...(ratio === undefined
        ? {}
        : { examined: { ratio, target: { most }, meets: ratio <= most } }),
    };
  });
}

function examinedSum({ find, update }: Pick<Level, "find" | "update">): number | undefined {
  if (find === undefined) return undefined;
  return find.keys + find.documents + (update === undefined ? 0 : update.keys + update.documents);
}

const report = await onStage(async ({ runDir, keep, conditions }): Promise<Report> => {
  const server = keep(await startMongoDb({ dataDir: join(runDir, "mongodb"), report: say }));
  refuseSlowServer(server);
  const db = "backlog";
  const client = new MongoClient(server.uri);
  try {
    const mails = client.db(db).collection<StoredDocument>("mails");
    const seen: Seen[] = [];
    await withDatabase({ uri: server.uri, db }, async (database) => {
      for (const [nth, waiting] of levels.entries()) {
        await fill(mails, levels[nth - 1] ?? 0, waiting);
        seen.push(await levelOf(waiting, { database, mails, pid: server.pid }));
      }
    });
    const about = { database: databaseText(server) };
    return { conditions: conditions(rounds, about), batch, levels: compared(seen) };
  } finally {
    await client.close();
  }
});

function print({ conditions, levels }: Report): void {
  const table = new Table({
    head: [
      "waiting",
      "ms per claimed mail",
      "database's CPU ms",
      "keys + documents: find, update",
      "RSS, MB",
      "time to the first",
      "examined to the first",
    ],
    style: { head: [], border: [] },
  });
  const plus = (examined: Examined | undefined) =>
    examined === undefined ? "?" : `${examined.keys} + ${examined.documents}`;
  for (const {
    waiting,
    ms,
    databaseCpuMs,
    find,
    update,
    databaseMb,
    timeRatio,
    examined,
  } of levels) {
    table.push([
      waiting,
      spreadText(ms, 3),
      spreadText(databaseCpuMs, 2),
      `${plus(find)}, ${plus(update)}`,
      databaseMb,
      `${spreadText(timeRatio, 2)}\n${judgementText(timeRatio)}`,
      examined === undefined ? "?" : `${examined.ratio.toFixed(2)}\n${judgementText(examined)}`,
    ]);
  }
  process.stdout.write(`${renderConditions(conditions)}\n${table.toString()}\n`);
}

if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
