import { randomBytes } from "node:crypto";
import { systemClock } from "@rs-agent/shared/clock.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { createSilentLogger, type Logger } from "@rs-agent/shared/logger.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import type { Ability, TaskHandler } from "@rs-agent/shared/worker/handler.ts";
import { startWorker } from "@rs-agent/shared/worker/worker.ts";
import { onTestFinished } from "vitest";
import { answerOf } from "./answers.ts";
import { dispatcherConfigSchema } from "../src/config.ts";
import { startDispatcher, type Dispatcher } from "../src/dispatcher.ts";
import { newMail } from "../../../test/support/new-mail.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

/** Dispatcher and workers in this process, with a database of their own, over the real bus. */
export interface Bench {
  /** The database's name. */
  db: string;
  /** For the test itself: to write mail and policies, and to see what became of them. */
  database: Database;
  /** The settings that make a dispatcher process one of this bench. */
  settings: Record<string, string>;
  /** With `uri`, over another way to the same database; `log` is the dispatcher's. */
  dispatcher(
    env?: Record<string, string>,
    by?: { uri?: string; log?: Logger; metrics?: Metrics; onDatabase?: (its: Database) => void },
  ): Promise<Dispatcher>;
  worker(kind: TaskKind, options?: FakeWorker): ReturnType<typeof startWorker>;
  /** Every task that a worker was given: `virus mailId`. */
  asked: string[];
  policy(yaml: string): Promise<void>;
  mail(options?: NewMail): Promise<string>;
  get(id: string): Promise<MailRecord>;
}

export interface FakeWorker {
  handle?: TaskHandler["handle"];
  ability?: () => Ability;
  concurrency?: number;
  id?: string;
  /** Result sockets of dispatchers that the bench has not started. */
  dispatchers?: string;
}

export interface NewMail {
  recipients?: string[];
  client?: string;
  mailFrom?: string;
  raw?: Buffer;
}

const log = createSilentLogger();
const clock = systemClock;

/** The policy of all these tests: one tenant whose domains are accepted. */
export const tenant = `
tenants:
  acme:
    domains: [acme.example, other.acme.example]
    networks: [127.0.0.2]
`;

export async function openBench(): Promise<Bench> {
  const uri = mongodbUri();
  const db = `dispatcher_${randomBytes(5).toString("hex")}`;
  const database = await openDatabase({ uri, db, clock, log });
  onTestFinished(() => database.close());
  const endpoints: string[] = [];
  const asked: string[] = [];
  const policy = async (yaml: string) => {
    await database.policies.replace(parsePolicyYaml(yaml, "test.yaml"));
  };
  await policy(tenant);
  const settings = {
    MONGODB_URI: uri,
    MONGODB_DB: db,
    POLL_MS: "50",
    POLICY_REFRESH_MS: "100",
    RELAY_NEXT_HOP: "127.0.0.1:9",
  };
  return {
    db,
    database,
    settings,
    asked,
    policy,
    async dispatcher(env = {}, by = {}) {
      const config = dispatcherConfigSchema.parse({
        ...settings,
        ACTOR_ID: `dispatcher-${String(endpoints.length)}`,
        ...env,
      });
      const its = { clock, log: by.log ?? log };
      const own = await openDatabase({ uri: by.uri ?? uri, db, ...its });
      by.onDatabase?.(own);
      const metrics = by.metrics === undefined ? {} : { metrics: by.metrics };
      const dispatcher = await startDispatcher({ config, database: own, ...its, ...metrics });
      endpoints.push(dispatcher.endpoint);
      onTestFinished(() => dispatcher.close());
      return dispatcher;
    },
    worker(kind, options = {}) {
      const worker = startWorker({
        config: workerConfigSchema.parse({
          BUS_DISPATCHERS: options.dispatchers ?? endpoints.join(","),
          CANARY_INTERVAL_MS: "200",
          ...(options.id === undefined ? {} : { ACTOR_ID: options.id }),
        }),
        handler: fakeHandler(kind, options, asked),
        clock,
        log,
      });
      onTestFinished(() => worker.close());
      return worker;
    },
    async mail(options = {}) {
      const { recipients = ["bob@acme.example"], client = "192.0.2.7" } = options;
      const raw = options.raw ?? plainMail();
      const body = await database.bodies.put(raw);
      const now = database.clock.now();
      const mail = newMail({
        dueAt: now,
        smtp: {
          mailFrom: options.mailFrom ?? "sender@stranger.example",
          rcptTo: recipients,
          client: { address: client, name: "", helo: "stranger.example" },
        },
        receivedAt: now,
        body,
        header: { from: "sender@stranger.example", fromDomain: "stranger.example" },
      });
      await database.mails.insert(mail);
      return mail._id;
    },
    async get(id) {
      const mail = await database.mails.get(id);
      if (mail === undefined) throw new Error(`mail ${id} is gone`);
      return mail;
    },
  };
}

function fakeHandler(kind: TaskKind, options: FakeWorker, asked: string[]): TaskHandler {
  return {
    kind,
    concurrency: () => options.concurrency ?? 8,
    canary: () => Promise.resolve(options.ability?.() ?? { able: true }),
    close: () => Promise.resolve(),
    handle(task, mail, context) {
      asked.push(`${kind} ${task.mailId}`);
      return options.handle?.(task, mail, context) ?? Promise.resolve(answerOf(kind, mail));
    },
  };
}

export function plainMail(text = "hello"): Buffer {
  return Buffer.from(
    `From: sender@stranger.example\r\nSubject: test\r\n\r\n${text} ${randomBytes(8).toString("hex")}\r\n`,
  );
}
