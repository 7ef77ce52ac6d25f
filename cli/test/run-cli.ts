import { randomBytes } from "node:crypto";
import { MongoClient } from "mongodb";
import { afterAll, beforeAll, expect } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { RsError } from "@rs-agent/shared/errors.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { runProgram } from "../src/program.ts";
import { createOutput, width } from "../src/terminal.ts";
import { newMail } from "../../test/support/new-mail.ts";
import { mongodbUri } from "../../test/support/test-mongodb.ts";

export interface Ran {
  out: string;
  /** Its complaints. */
  err: string;
  code: number;
}

/** Runs one command in this process; it may read only `files`. Throws what the command throws. */
export async function runCli(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  files: Record<string, string | Buffer> = {},
): Promise<Ran> {
  let out = "";
  let err = "";
  let code = 0;
  await runProgram(args, {
    env: { RS_AGENT_USER: "tester", ...env },
    output: createOutput(
      (text) => {
        out += text.toString();
      },
      (text) => {
        err += text;
      },
    ),
    readInput: (path) => Promise.resolve(Buffer.from(files[path] ?? "")),
    setExitCode: (given) => {
      code = given;
    },
  });
  return { out, err, code };
}

export interface CliDatabase {
  store: Database;
  env: { MONGODB_URI: string; MONGODB_DB: string };
  run: (args: readonly string[], files?: Record<string, string | Buffer>) => Promise<Ran>;
}

/** A database of this test file's own. */
export function useCli(): () => CliDatabase {
  let opened: CliDatabase | undefined;
  beforeAll(async () => {
    const env = {
      MONGODB_URI: mongodbUri(),
      MONGODB_DB: `cli_${randomBytes(6).toString("hex")}`,
    };
    const log = createSilentLogger();
    const store = await openDatabase({
      uri: env.MONGODB_URI,
      db: env.MONGODB_DB,
      clock: systemClock,
      log,
    });
    opened = { store, env, run: (args, files) => runCli(args, env, files) };
  });
  afterAll(async () => {
    if (opened === undefined) return;
    await opened.store.close();
    const client = new MongoClient(opened.env.MONGODB_URI);
    await client.db(opened.env.MONGODB_DB).dropDatabase();
    await client.close();
  });
  return () => {
    if (opened === undefined) throw new Error("the database is not open yet");
    return opened;
  };
}

/** The code that a command fails with; an error without one is thrown. */
export async function codeOf(running: Promise<unknown>): Promise<string> {
  const message = await messageFrom(running);
  expect(message).not.toContain("\n");
  return message.slice(0, message.indexOf(":"));
}

/** Code and message of a command that fails. */
export async function messageFrom(running: Promise<unknown>): Promise<string> {
  const error: unknown = await running.then(
    () => new Error("it succeeded"),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof RsError)) throw error;
  return `${error.code}: ${error.message}`;
}

export function expectNarrow(text: string): void {
  expect(text.split("\n").filter((line) => line.length > width)).toEqual([]);
}

/** The environment for a database of another name, which is as good as empty. */
export function anotherDatabase(): { MONGODB_URI: string; MONGODB_DB: string } {
  return { MONGODB_URI: mongodbUri(), MONGODB_DB: `cli_${randomBytes(6).toString("hex")}` };
}

const sha256 = "a".repeat(64);

export const plan: Plan = createPolicyBook(
  parsePolicyYaml("tenants: { t: { domains: [t.example] } }", "t.yaml"),
).planFor({ direction: "incoming", mailFrom: "a@x.example", recipient: "b@t.example" });

const circumstances = { sha256, worker: "w1", queueMs: 3, workMs: 12 };

export const infected = {
  ...circumstances,
  finding: { kind: "infected" as const, names: ["Eicar-Signature"] },
  settingsHash: plan.virus?.settingsHash ?? "",
  engine: { name: "clamd", version: "1.4.3", signatureVersion: "27500" },
  at: new Date("2026-01-01T00:00:00Z"),
};

export const spam = {
  ...circumstances,
  finding: {
    kind: "spam" as const,
    score: 99.5,
    required: 5,
    rules: [{ name: "GTUBE", score: 99 }],
  },
  settingsHash: plan.spam?.settingsHash ?? "",
  at: new Date("2026-01-01T00:00:00Z"),
};

/** A mail as it stands after planning, unless a test says otherwise. */
export function mailWith(given: Partial<MailRecord> = {}): MailRecord {
  const now = new Date(Date.now() - 60_000);
  return newMail({
    state: "processing",
    next: "virus",
    dueAt: now,
    origin: { via: "smtp", name: "mx" },
    smtp: {
      mailFrom: "a@x.example",
      rcptTo: ["b@t.example"],
      client: { address: "203.0.113.5", name: "mx.x.example", helo: "mx" },
    },
    receivedAt: now,
    body: { id: "none", form: "document", size: 1234, sha256 },
    header: { messageId: "<m@x.example>", from: "A <a@x.example>" },
    direction: "incoming",
    plan,
    history: [{ at: now, event: "accepted", by: "ingest" }],
    ...given,
  });
}

/** A mail that waits for nothing. */
export function finalMail(given: Partial<MailRecord>): MailRecord {
  const mail = mailWith(given);
  Reflect.deleteProperty(mail, "next");
  Reflect.deleteProperty(mail, "dueAt");
  return mail;
}

/** A mail that is in quarantine for a virus. */
export function quarantinedMail(given: Partial<MailRecord> = {}): MailRecord {
  const at = new Date(Date.now() - 30_000);
  return finalMail({
    state: "quarantined",
    verdicts: { virus: infected },
    recipients: [{ address: "b@t.example", outcome: "quarantined", attempts: 0, at }],
    reason: "infected: Eicar-Signature",
    finalAt: at,
    expireAt: new Date(Date.now() + 30 * 86_400_000),
    ...given,
  });
}

/** A dead letter. */
export function deadMail(given: Partial<MailRecord> = {}): MailRecord {
  return finalMail({
    state: "dead",
    recipients: [{ address: "b@t.example", outcome: "dead", attempts: 3, status: "5.0.0" }],
    reason: "two strikes",
    strikes: 2,
    finalAt: new Date(),
    ...given,
  });
}
