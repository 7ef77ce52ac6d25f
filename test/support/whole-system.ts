import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MongoClient, type Db } from "mongodb";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { isStub } from "@rs-agent/shared/mail/stub.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { formatPolicyYaml, parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { startMaildirServer, type DeliveredMail } from "@rs-agent/kit/smtp/maildir-server.ts";
import { samplePolicy } from "@rs-agent/start/sample-policy.ts";
import type { ServiceName } from "@rs-agent/kit/system/service-names.ts";
import {
  startSystem,
  type Env,
  type RunningSystem,
  type SystemOptions,
} from "@rs-agent/kit/system/system.ts";
import { inject, vi } from "vitest";
import { parse, stringify } from "yaml";
import { parseLog, type LogLine } from "./service-logs.ts";
import { mongodbUri } from "./test-mongodb.ts";

export interface WholeSystemOptions extends Pick<
  SystemOptions,
  "counts" | "serviceEnv" | "clamd" | "spamd" | "smtp" | "restart" | "onTrouble" | "onEnd"
> {
  /**
   * YAML of policies in addition to those of the sample mails; a document of the same name replaces
   * it.
   */
  policy?: string;
  env?: Env;
}

/** What the next hop got, with its bytes. */
export interface Relayed extends DeliveredMail {
  bytes: Buffer;
}

/**
 * The whole system as real processes, with a database of its own, and the means for a test to look
 * into it.
 */
export interface WholeSystem {
  readonly system: RunningSystem;
  readonly database: Database;
  /** The same database through the bare driver, for what others do to it. */
  readonly db: Db;
  readonly client: MongoClient;
  readonly runDir: string;
  /** The sample tenant's DKIM key in PEM. */
  readonly dkimKey: string;
  /**
   * Stores the sample policies with these added or in their place, and waits until they are in
   * force.
   */
  policy(yaml: string): Promise<void>;
  /** All that was relayed so far, in the order of arrival. */
  relayed(): Promise<Relayed[]>;
  /** What was relayed of a mail, by the id in our newest Received field. */
  relayedOf(mailId: string): Promise<Relayed[]>;
  /** The records that carry the mail's recipients, once none of them is open. */
  ended(mailId: string): Promise<MailRecord[]>;
  record(mailId: string): Promise<MailRecord>;
  /** What the nth process of a service has logged. */
  log(name: ServiceName, nth?: number): LogLine[];
  /** Where each process of a service serves health and metrics, if its HEALTH_HTTP says so. */
  healthOf(name: ServiceName): Promise<string[]>;
  close(): Promise<void>;
}

/** Settings that make the tests quick and change nothing else. */
const quick: Env = {
  POLICY_REFRESH_MS: "100",
  INGEST_POLICY_REFRESH_MS: "100",
  INGEST_GREET_DELAY_MS: "0",
  INGEST_REVERSE_LOOKUP: "off",
  CANARY_INTERVAL_MS: "1000",
};

/**
 * Starts it. The caller closes it; what was started is stopped even if the system does not start.
 */
export async function openWholeSystem(options: WholeSystemOptions = {}): Promise<WholeSystem> {
  const parts = await openParts();
  try {
    const { policy = "", env, ...others } = options;
    await parts.storePolicy(policy);
    const system = await startSystem({
      runDir: parts.runDir,
      mongodb: parts.uri,
      db: parts.name,
      clamd: inject("clamd"),
      spamd: inject("spamd"),
      nextHop: `127.0.0.1:${parts.nextHop.port}`,
      env: { ...quick, ...env },
      ...others,
    });
    return wholeSystem(system, parts);
  } catch (error) {
    await parts.close();
    throw error;
  }
}

type Parts = Awaited<ReturnType<typeof openParts>>;

async function openParts() {
  const runDir = await mkdtemp(join(tmpdir(), "rs-agent-e2e-"));
  const uri = mongodbUri();
  const name = `e2e_${randomBytes(5).toString("hex")}`;
  const log = createSilentLogger();
  // The server may still be busy with what the previous block left.
  const database = await vi.waitFor(() => openDatabase({ uri, db: name, clock: systemClock, log }));
  const client = new MongoClient(uri, { promoteBuffers: true });
  const delivered: DeliveredMail[] = [];
  const nextHop = await startMaildirServer({
    dir: join(runDir, "maildir"),
    answer: (moment) => {
      if (moment.step === "mail") delivered.push(moment.mail);
      return undefined;
    },
  });
  const keyFile = join(runDir, "northwind.example.pem");
  return {
    runDir,
    uri,
    name,
    database,
    client,
    delivered,
    nextHop,
    keyFile,
    async storePolicy(yaml: string) {
      const text = withSamplePolicy(yaml, keyFile);
      await database.policies.replace(parsePolicyYaml(text, "test.yaml"));
    },
    async close() {
      await nextHop.stop();
      await client.db(name).dropDatabase();
      await client.close();
      await database.close();
      await rm(runDir, { recursive: true, force: true });
    },
  };
}

type PolicyFile = Record<string, Record<string, unknown> | undefined>;

/** The policy file of the sample mails, with these documents added or in place of its own. */
function withSamplePolicy(yaml: string, keyFile: string): string {
  const base = parse(formatPolicyYaml(samplePolicy(keyFile))) as PolicyFile;
  const own = (parse(yaml) ?? {}) as PolicyFile;
  const of = (section: string) => ({ ...base[section], ...own[section] });
  return stringify({
    default: own.default ?? base.default,
    tenants: of("tenants"),
    domains: of("domains"),
    addresses: of("addresses"),
  });
}

function wholeSystem(system: RunningSystem, parts: Parts): WholeSystem {
  const { database, client, delivered, runDir } = parts;
  const { mails } = database;
  const relayed = () =>
    Promise.all(delivered.map(async (mail) => ({ ...mail, bytes: await readFile(mail.file) })));
  const log = (name: ServiceName, nth = 0) => parseLog(system.processes(name)[nth]?.logFile);
  const record = async (mailId: string) => {
    const mail = await mails.get(mailId);
    if (mail === undefined) throw new Error(`there is no mail ${mailId}`);
    return mail;
  };
  return {
    system,
    database,
    db: client.db(parts.name),
    client,
    runDir,
    dkimKey: readFileSync(parts.keyFile, "utf8"),
    async policy(yaml) {
      const isChange = ({ msg }: LogLine) => msg === "policies changed";
      const before = log("dispatcher").filter(isChange).length;
      await parts.storePolicy(yaml);
      await vi.waitFor(() => {
        if (log("dispatcher").filter(isChange).length === before) throw new Error("not read yet");
      });
    },
    relayed,
    async relayedOf(mailId) {
      return (await relayed()).filter(({ bytes }) => mailIdIn(bytes) === mailId);
    },
    ended: (mailId) =>
      vi.waitFor(async () => {
        const mail = await record(mailId);
        const records = mail.state === "split" ? await mails.children(mailId) : [mail];
        const open = records.filter(
          (each) => isStub(each) || each.recipients.some(({ outcome }) => outcome === "open"),
        );
        if (open.length === 0) return records;
        throw new Error(open.map(({ _id, state, reason }) => [_id, state, reason].join()).join());
      }),
    record,
    log,
    healthOf: (name) =>
      vi.waitFor(() =>
        system.processes(name).map((_, nth) => {
          const line = log(name, nth).findLast(({ msg }) => msg === "health is served");
          if (line === undefined) throw new Error(`${name} serves no health`);
          return String(line["http"]);
        }),
      ),
    async close() {
      await system.stop();
      await parts.close();
    },
  };
}

function head(bytes: Buffer): string {
  return bytes.toString("latin1", 0, 16_384);
}

/** The id in our newest Received field. */
export function mailIdIn(bytes: Buffer): string | undefined {
  return /\(rs-agent\) with \S+ id ([0-9a-z]+)/.exec(head(bytes))?.[1];
}
