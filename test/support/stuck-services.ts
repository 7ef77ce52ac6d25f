import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createBusProtection } from "@rs-agent/shared/bus/protection.ts";
import {
  startWorkerPool,
  type LostTask,
  type TaskToPlace,
  type WorkerPool,
} from "@rs-agent/shared/bus/worker-pool.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { settingsHashOf } from "@rs-agent/shared/mail/task-settings.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import { startWorker } from "@rs-agent/shared/worker/worker.ts";
import type { ServiceName } from "@rs-agent/kit/system/service-names.ts";
import { expect, onTestFinished, vi } from "vitest";
import { startFakeClamd } from "../../services/av-worker/test/fake-clamd.ts";
import { SmtpDialogue } from "../../services/ingest/test/smtp-dialogue.ts";
import { readyMail, readyRecord, routeTo } from "../../services/relay/test/ready-mail.ts";
import { runningSink } from "../../services/relay/test/running-relay.ts";
import { startFakeSpamd } from "../../services/spam-worker/test/fake-spamd.ts";
import { mongodbUri } from "./test-mongodb.ts";

/** Services as processes, each with work in hand that does not end. */

export interface StuckService {
  child: ChildProcess;
  /** Resolves when it has begun to drain. */
  untilDraining(): Promise<unknown>;
  /** What must be true of the work once the service has ended. */
  expectHandedBack(): Promise<unknown>;
}

type Settings = Record<string, string>;

const clock = systemClock;
const log = createSilentLogger();
const never = new Promise<undefined>(() => undefined);
const tenant = "tenants: { acme: { domains: [acme.example] } }\ndefault: { spam: off }\n";

export const stuckServices: Record<ServiceName, (settings: Settings) => Promise<StuckService>> = {
  ingest: async (settings) => {
    const { database, env } = await ownDatabase();
    const { child, ready, logged } = startService("ingest", {
      ...env,
      ...settings,
      INGEST_SMTP: "127.0.0.1:0",
      INGEST_GREET_DELAY_MS: "0",
      INGEST_REVERSE_LOOKUP: "off",
    });
    const address = String((await ready())["smtp"]);
    const client = await SmtpDialogue.open(address);
    await client.begin("a@stranger.example", ["b@acme.example"]);
    client.send("Subject: half a mail\r\n");
    onTestFinished(() => client.close());
    return {
      child,
      untilDraining: () => logged("draining"),
      async expectHandedBack() {
        await client.closed();
        expect(await database.mails.find({ limit: 10 })).toEqual([]);
      },
    };
  },

  dispatcher: async (settings) => {
    const { database, env } = await ownDatabase();
    const { child, ready, logged } = startService("dispatcher", {
      ...env,
      ...settings,
      POLL_MS: "50",
    });
    const endpoint = String((await ready())["bus"]);
    const begun = Promise.withResolvers<undefined>();
    const left = Promise.withResolvers<undefined>();
    const worker = startWorker({
      config: workerConfigSchema.parse({ BUS_DISPATCHERS: endpoint }),
      handler: {
        kind: "virus",
        concurrency: () => 1,
        canary: () => Promise.resolve({ able: true }),
        handle(_task, _mail, { signal }) {
          signal.addEventListener("abort", () => left.resolve(undefined), { once: true });
          begun.resolve(undefined);
          return never as Promise<never>;
        },
        close: () => Promise.resolve(),
      },
      clock,
      log,
    });
    onTestFinished(() => worker.close());
    const { plan, route, ...record } = readyRecord({ route: routeTo(25), to: ["b@acme.example"] });
    expect([plan, route]).toBeDefined();
    const body = await database.bodies.put(Buffer.from("Subject: x\r\n\r\nx\r\n"));
    await database.mails.insert({ ...record, body, state: "incoming", next: "plan" });
    await begun.promise;
    return {
      child,
      untilDraining: () => logged("draining"),
      async expectHandedBack() {
        const mail = await database.mails.get(record._id);
        expect(["incoming", "processing"]).toContain(mail?.state);
        expect(mail).toMatchObject({ recipients: [{ outcome: "open" }] });
        expect(mail).not.toHaveProperty("strikes");
        await left.promise;
      },
    };
  },

  "av-worker": async (settings) => {
    const clamd = await startFakeClamd();
    onTestFinished(() => clamd.close());
    const task = {
      kind: "virus",
      settings: {},
      raw: Buffer.from("Subject: x\r\n\r\nx\r\n"),
    } as const;
    return stuckWorker("av-worker", { ...settings, AV_CLAMD: clamd.address }, task, () =>
      clamd.freeze(),
    );
  },

  "spam-worker": async (settings) => {
    let isHung = false;
    const spamd = await startFakeSpamd(() => (isHung ? never : undefined));
    onTestFinished(() => spamd.close());
    const asked = { maxBytes: 100_000, oversize: "head" } as const;
    const raw = Buffer.from("Subject: x\r\n\r\nx\r\n");
    const task = { kind: "spam", settings: asked, raw } as const;
    return stuckWorker("spam-worker", { ...settings, SPAM_SPAMD: spamd.address }, task, () => {
      isHung = true;
    });
  },

  enricher: async (settings) => {
    // Half a second of CPU per MB: lines that canonicalization has to look into.
    const body = Buffer.alloc(24_000_000, "a \t b \r\n");
    const raw = Buffer.concat([Buffer.from("From: a@acme.example\r\n\r\n"), body]);
    const { privateKey } = generateKeyPairSync("ed25519");
    const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const sign = { kind: "sign", domain: "acme.example", selector: "s", privateKey: pem } as const;
    const asked = { changes: [sign], spamThreshold: 5 };
    return stuckWorker("enricher", settings, { kind: "enrich", settings: asked, raw });
  },

  relay: async (settings) => {
    const { database, env } = await ownDatabase();
    const begun = Promise.withResolvers<undefined>();
    const sink = await runningSink({
      answer: ({ step }) => {
        if (step !== "mail") return undefined;
        begun.resolve(undefined);
        return never;
      },
    });
    const id = await readyMail(database, { route: routeTo(sink.port) });
    const { child, logged } = startService("relay", { ...env, ...settings });
    await begun.promise;
    return {
      child,
      untilDraining: () => logged("draining"),
      async expectHandedBack() {
        const mail = await database.mails.get(id);
        expect(mail).toMatchObject({ state: "relaying", recipients: [{ outcome: "open" }] });
        expect(mail?.unknown?.recipients).toEqual(["b@rcpt.example"]);
      },
    };
  },
};

type Task = Pick<TaskToPlace, "settings"> & { kind: "virus" | "spam" | "enrich"; raw: Buffer };

/** A worker with one task begun that does not end after `hang`. */
async function stuckWorker(
  name: ServiceName,
  settings: Settings,
  { kind, settings: asked, raw }: Task,
  hang: () => void = () => undefined,
): Promise<StuckService> {
  const lost: LostTask[] = [];
  const pool: WorkerPool = await startWorkerPool({
    bind: "tcp://127.0.0.1:*",
    actorId: "dispatcher-test",
    protection: createBusProtection(undefined),
    clock,
    log,
    onResult: () => undefined,
    onLost: (task) => lost.push(task),
  });
  onTestFinished(() => pool.close());
  const { child, logged } = startService(name, { ...settings, BUS_DISPATCHERS: pool.endpoint });
  await vi.waitFor(() => expect(pool.free(kind).tasks).toBeGreaterThan(0));
  hang();
  const mail = {
    mailId: "m1",
    attempt: 1,
    sha256: sha256Hex(raw),
    size: raw.length,
    settings: asked,
    settingsHash: settingsHashOf(asked),
    deadlineMs: 120_000,
    smtp: { mailFrom: "", rcptTo: [], client: { address: "", name: "", helo: "" } },
    verdicts: {},
  };
  expect(pool.place(kind, mail, raw)).toBeDefined();
  await vi.waitFor(() => expect(pool.workers()).toMatchObject([{ started: 1 }]));
  return {
    child,
    untilDraining: () => logged("draining"),
    async expectHandedBack() {
      await vi.waitFor(() => expect(lost).toMatchObject([{ mailId: "m1" }]));
      // Not the way a death is: SIGTERM is not a strike against the mail.
      expect(lost[0]).toMatchObject({ reason: "bye", started: true });
    },
  };
}

async function ownDatabase(): Promise<{ database: Database; env: Settings }> {
  const uri = mongodbUri();
  const db = `drain_${randomBytes(5).toString("hex")}`;
  const database = await openDatabase({ uri, db, clock, log });
  onTestFinished(() => database.close());
  await database.policies.replace(parsePolicyYaml(tenant, "drain.yaml"));
  return { database, env: { MONGODB_URI: uri, MONGODB_DB: db } };
}

function startService(name: ServiceName, env: Settings) {
  const main = join(import.meta.dirname, "..", "..", "services", name, "src", "main.ts");
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  const lines: Record<string, unknown>[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    if (line.startsWith("{")) lines.push(JSON.parse(line) as Record<string, unknown>);
  });
  const logged = (msg: string) =>
    vi.waitFor(() => {
      const line = lines.find((one) => one["msg"] === msg);
      if (line === undefined) throw new Error(`${name} has not said ${msg}`);
      return line;
    });
  return { child, logged, ready: () => logged("ready") };
}
