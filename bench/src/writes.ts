import { join } from "node:path";
import Table from "cli-table3";
import type { MongoClient } from "mongodb";
import { newMailId, newToken, sha256Hex } from "@rs-agent/shared/ids.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import {
  createClient,
  collectionOf,
  type StoredDocument,
} from "@rs-agent/shared/store/connection.ts";
import { Holding } from "@rs-agent/shared/store/holding.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { documentOf } from "@rs-agent/shared/store/mail-document.ts";
import { eachAlone, together, type WriteForm } from "@rs-agent/shared/store/write-forms.ts";
import { startMongoDb } from "@rs-agent/kit/mongodb/mongodb.ts";
import { treeCpuMs } from "@rs-agent/kit/processes/cpu-time.ts";
import { onStage, renderConditions, say, type Conditions } from "./comparison.ts";
import { recordOf } from "./inserted-mails.ts";
import { readOptions } from "./options.ts";
import { databaseText } from "./our-system.ts";
import {
  judge,
  judgementText,
  spreadOf,
  spreadText,
  type Judgement,
  type Spread,
} from "./spread.ts";

/**
 * What writing a mail's progress costs when many are written at once, in both forms that the store
 * has: one statement for all, and one for each. `MONGODB_URI=… npm run bench -- writes` measures
 * that server; otherwise the benchmark starts one, and measures its CPU too.
 */
const options = readOptions({ mails: [2, 10, 100], size: [1_000, 4_096], rounds: 9 });
const { mails: counts, size: sizes, rounds } = options;
/** Writes per round: enough for the CPU clock, which ticks every 10 ms, to tell rounds apart. */
const writesOfRound = 1_000;
const most = 0.7;

/** Milliseconds per mail. */
interface Cost {
  ms: number;
  databaseCpuMs: number | undefined;
}

interface Level {
  mails: number;
  bytes: number;
  together: { ms: Spread; databaseCpuMs?: Spread };
  alone: { ms: Spread; databaseCpuMs?: Spread };
  /** One statement for all, divided by one for each; by the database's CPU if it is known. */
  ratio: Spread & Judgement;
}

interface Report {
  conditions: Conditions;
  levels: Level[];
}

const forms = { together, alone: eachAlone } as const;
type FormName = keyof typeof forms;

class Writes {
  readonly #mails: ReturnType<typeof collectionOf>;
  readonly #pid: number | undefined;

  constructor(client: MongoClient, db: string, pid: number | undefined) {
    this.#mails = collectionOf(client.db(db), "mails");
    this.#pid = pid;
  }

  /**
   * Inserts groups of this many records of this size, and returns what writing them costs per mail.
   */
  async cost(form: WriteForm, count: number, bytes: number): Promise<Cost> {
    const token = newToken();
    const groups = Array.from({ length: Math.ceil(writesOfRound / count) }, () =>
      Array.from({ length: count }, () => documentLike(bytes, token)),
    );
    for (const group of groups) await this.#mails.insertMany(group);
    const cpuMs = () => (this.#pid === undefined ? 0 : treeCpuMs(this.#pid));
    const [beganAt, before] = [performance.now(), cpuMs()];
    for (const group of groups) await this.#write(form, group);
    const [ms, databaseCpuMs] = [performance.now() - beganAt, cpuMs() - before];
    await this.#mails.deleteMany({});
    const each = groups.length * count;
    const isKnown = this.#pid !== undefined;
    return { ms: ms / each, databaseCpuMs: isKnown ? databaseCpuMs / each : undefined };
  }

  async #write(form: WriteForm, group: readonly StoredDocument[]): Promise<void> {
    const writes = group.map((document) => {
      const { lease } = document as unknown as MailRecord;
      const holding = new Holding(document as unknown as MailRecord, lease?.token ?? "");
      const change = progress();
      return { holding, change, mark: holding.markOf(change) };
    });
    const statements = form(writes).map(({ operation }) => operation);
    const { matchedCount } = await this.#mails.bulkWrite(statements, { ordered: false });
    if (matchedCount !== group.length)
      throw new Error(`${matchedCount} of ${group.length} written`);
  }
}

/** A claimed record of about this size. */
function documentLike(bytes: number, token: string): StoredDocument {
  const body = { id: "none", form: "document", size: 4_096, sha256: sha256Hex("") } as const;
  const until = new Date(Date.now() + 600_000);
  const lease = { owner: "bench", token, until };
  const document = documentOf({ ...recordOf(newMailId(), body, new Date()), lease });
  const missing = Math.max(0, bytes - JSON.stringify(document).length);
  return { ...document, padding: "x".repeat(missing) };
}

/** The change when a mail has passed its checks: a verdict, its times, what comes next. */
function progress(): MailChange {
  const now = new Date();
  const finding = { kind: "clean" } as const;
  const about = { settingsHash: "0".repeat(32), sha256: sha256Hex(""), worker: "bench" };
  const times = { queueMs: 1, workMs: 2 };
  return {
    set: { state: "processing", next: "enrich", dueAt: now },
    verdicts: { virus: { finding, ...about, ...times, at: now } },
    timings: { virus: times },
    history: [{ at: now, event: "planned", by: "bench" }],
  };
}

async function measured(writes: Writes): Promise<Level[]> {
  const cases = sizes.flatMap((bytes) => counts.map((count) => ({ bytes, count })));
  const seen = new Map(cases.map((one) => [one, noCosts()]));
  for (const one of cases) await writes.cost(together, one.count, one.bytes);
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}`);
    for (const [one, costs] of seen) {
      for (const name of Object.keys(forms) as FormName[])
        costs[name].push(await writes.cost(forms[name], one.count, one.bytes));
    }
  }
  return [...seen].map(([{ bytes, count }, costs]) => {
    const ratios = costs.together.map((cost, nth) => {
      const other = costs.alone[nth] ?? cost;
      return (cost.databaseCpuMs ?? cost.ms) / (other.databaseCpuMs ?? other.ms);
    });
    const ratio = { ...spreadOf(ratios), ...judge(ratios, { most }) };
    const shown = { together: shownOf(costs.together), alone: shownOf(costs.alone) };
    return { mails: count, bytes, ...shown, ratio };
  });
}

function noCosts(): Record<FormName, Cost[]> {
  return { together: [], alone: [] };
}

function shownOf(costs: readonly Cost[]): Level["together"] {
  const cpu = costs.flatMap(({ databaseCpuMs }) => databaseCpuMs ?? []);
  return {
    ms: spreadOf(costs.map(({ ms }) => ms)),
    ...(cpu.length > 0 && { databaseCpuMs: spreadOf(cpu) }),
  };
}

const report = await onStage(async ({ runDir, keep, conditions }): Promise<Report> => {
  const given = process.env["MONGODB_URI"];
  const own =
    given === undefined
      ? keep(await startMongoDb({ dataDir: join(runDir, "mongodb"), report: say }))
      : undefined;
  const client = createClient(given ?? own?.uri ?? "");
  const db = `bench_writes_${newToken().slice(0, 8)}`;
  try {
    const levels = await measured(new Writes(client, db, own?.pid));
    const about = { database: own === undefined ? "that of MONGODB_URI" : databaseText(own) };
    return { conditions: conditions(rounds, about), levels };
  } finally {
    await client.db(db).dropDatabase();
    await client.close();
  }
});

function print({ conditions, levels }: Report): void {
  const head = ["mails", "bytes", "one for all", "one for each", "ratio"];
  const table = new Table({ head, style: { head: [], border: [] } });
  const cell = ({ ms, databaseCpuMs }: Level["together"]) =>
    databaseCpuMs === undefined
      ? spreadText(ms, 3)
      : `${spreadText(ms, 3)}\nCPU ${spreadText(databaseCpuMs, 3)}`;
  for (const { mails, bytes, together: all, alone, ratio } of levels) {
    const judged = `${spreadText(ratio, 2)}\n${judgementText(ratio)}`;
    table.push([mails, bytes, cell(all), cell(alone), judged]);
  }
  const what =
    "Per mail: milliseconds until it is written, and milliseconds of the database's CPU.";
  process.stdout.write(`${renderConditions(conditions)}\n${what}\n${table.toString()}\n`);
}

if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
