import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import type { SpamEngineName } from "@rs-agent/shared/checks/spam.ts";
import { freePort } from "../free-port.ts";
import { takeOver } from "../processes/leftovers.ts";
import { cacheFolderOf } from "../mongodb/config.ts";
import { startParts, type Parts } from "./parts.ts";
import { serviceNames, type ServiceName } from "./service-names.ts";
import { ServiceProcess, type ProcessEnd } from "../processes/service-process.ts";

export type Env = Readonly<Record<string, string | undefined>>;

export interface SystemOptions {
  /** Holds data, logs and relayed mail of this run. */
  runDir: string;
  /** How many processes of each service; default one each. 0: none, and no engine for it either. */
  counts?: Partial<Record<ServiceName, number>>;
  /** A MongoDB to use instead of a private one. */
  mongodb?: string;
  /** The name of its database. Default `rs_agent`. */
  db?: string;
  /** An engine to use instead of a private one: `host:port`, or the path of a unix socket. */
  clamd?: string;
  spamd?: string;
  rspamd?: string;
  /** Which spam engine the system has and its spam-workers ask. Default spamd. */
  spamEngine?: SpamEngineName;
  /** A next hop, `host:port`, instead of a private server that writes to a maildir. */
  nextHop?: string;
  /** Where ingest listens, `host:port`. Default: a free port of 127.0.0.1. */
  smtp?: string;
  /** Settings for all services, over those of our own environment. */
  env?: Env;
  /**
   * Settings for one service, over `env`; a function if they differ for its nth process (from 0).
   */
  serviceEnv?: Partial<Record<ServiceName, Env | ((nth: number) => Env)>>;
  /** Another program in place of a service (benchmarks: a worker without an engine). */
  scripts?: Partial<Record<ServiceName, string>>;
  /** Called when the database answers and before any service starts, e.g. to store policies. */
  prepare?: (mongodb: RunningSystem["mongodb"]) => Promise<void>;
  /** False: a service that ends is not restarted. Default true. */
  restart?: boolean;
  /** What is being waited for; `undefined` when `part` no longer is. */
  report?: (part: string, text: string | undefined) => void;
  /** Told, in one line, about each end that nobody asked for. */
  onTrouble?: (text: string) => void;
  /** Told about every end of a service's process, asked for or not. */
  onEnd?: (end: ProcessEnd) => void;
  signal?: AbortSignal;
}

export interface RunningSystem {
  readonly mongodb: { uri: string; db: string; server: string; durability: string; pid?: number };
  /** `host:port` of the first ingest. */
  readonly smtp: string;
  /**
   * `host:port` where mail goes if its policy names no next hop; with `maildir` if that is our own
   * server.
   */
  readonly nextHop: { address: string; maildir?: string };
  readonly clamd: string | undefined;
  readonly spamd: string | undefined;
  readonly rspamd: string | undefined;
  readonly logsDir: string;
  /** All processes of a service, in the order of their start. */
  processes(name: ServiceName): readonly ServiceProcess[];
  pids(): Record<ServiceName, number[]>;
  /**
   * Sends a signal (default SIGKILL) to the nth process (from 0); returns its pid if there was one.
   */
  kill(name: ServiceName, signal?: NodeJS.Signals, nth?: number): number | undefined;
  /**
   * Adds one process of a service; settles when it is ready. Not for dispatchers: workers know only
   * those of the start.
   */
  add(name: Exclude<ServiceName, "dispatcher">): Promise<ServiceProcess>;
  /** Settles when every process that should run is ready (again). */
  untilReady(): Promise<void>;
  /** Drains the services in order, then stops engines and database. Idempotent. */
  stop(): Promise<void>;
}

const root = join(import.meta.dirname, "../../..");
/** The Node of the npm packages, which runs TypeScript; the one that runs us may be older. */
const node = join(root, "node_modules", ".bin", "node");
const drainMs = 30_000;
const readyWithinMs = 120_000;
const sayEveryMs = 1_000;

/**
 * Starts the whole system on this host, each service as a process of its own: for `npm start`,
 * tests, benchmarks and fault kits. Resolves when all are ready.
 * @throws TerminalError SETUP_MISSING, SETUP_FAILED naming what did not start; everything that did
 *   is stopped again
 */
export async function startSystem(options: SystemOptions): Promise<RunningSystem> {
  const logsDir = join(options.runDir, "logs");
  mkdirSync(logsDir, { recursive: true });
  const processes = takeOver(join(options.runDir, "processes"));
  const note = (pid: number) => processes.note(pid);
  const parts = await startParts(options, note);
  const system = new System(options, parts, logsDir, note);
  try {
    await options.prepare?.(parts.mongodb);
    await system.start();
    return system;
  } catch (error) {
    await system.stop();
    throw error;
  }
}

class System implements RunningSystem {
  readonly mongodb: RunningSystem["mongodb"];
  readonly nextHop: RunningSystem["nextHop"];
  readonly clamd: string | undefined;
  readonly spamd: string | undefined;
  readonly rspamd: string | undefined;
  readonly logsDir: string;
  readonly #options: SystemOptions;
  readonly #parts: Parts;
  readonly #note: (pid: number) => void;
  readonly #services = new Map<ServiceName, ServiceProcess[]>();
  #smtp = "";
  #buses: string[] = [];
  #stopped: Promise<void> | undefined;

  constructor(options: SystemOptions, parts: Parts, logsDir: string, note: (pid: number) => void) {
    this.#options = options;
    this.#parts = parts;
    this.#note = note;
    this.logsDir = logsDir;
    this.mongodb = parts.mongodb;
    this.nextHop = parts.nextHop;
    this.clamd = parts.clamd;
    this.spamd = parts.spamd;
    this.rspamd = parts.rspamd;
  }

  get smtp(): string {
    return this.#smtp;
  }

  async start(): Promise<void> {
    const { counts, smtp } = this.#options;
    const count = (name: ServiceName) => counts?.[name] ?? 1;
    this.#smtp = await fixedPort(smtp ?? "127.0.0.1:0");
    for (let n = 0; n < count("dispatcher"); n += 1) {
      // Chosen by us, so that a restarted dispatcher is found at the same address.
      this.#buses.push(`tcp://127.0.0.1:${await freePort()}`);
    }
    for (const name of serviceNames) {
      for (let n = 0; n < count(name); n += 1) await this.#spawn(name);
    }
    await this.#untilAllReady();
  }

  /** Reports which services are waited for, and why they are not ready if they say so. */
  async #untilAllReady(): Promise<void> {
    const waiting = new Set([...this.#services.values()].flat());
    const why = () => [...waiting].map(({ name, trouble }) => trouble ?? name).join(", ");
    const say = () =>
      this.#options.report?.("services", waiting.size === 0 ? undefined : `waiting for ${why()}`);
    const saying = setInterval(say, sayEveryMs);
    const limit = AbortSignal.timeout(readyWithinMs);
    try {
      const ready = [...waiting].map(async (service) => {
        await service.untilReady();
        waiting.delete(service);
        say();
      });
      await Promise.race([Promise.all(ready), rejectAt(limit), rejectAt(this.#options.signal)]);
    } catch (error) {
      if (!limit.aborted) throw error;
      const text = `not ready after ${readyWithinMs / 1_000} s: ${why()} (logs: ${this.logsDir})`;
      throw new TerminalError("SETUP_FAILED", text, { cause: error });
    } finally {
      clearInterval(saying);
    }
  }

  processes(name: ServiceName): readonly ServiceProcess[] {
    return this.#services.get(name) ?? [];
  }

  pids(): Record<ServiceName, number[]> {
    const entries = serviceNames.map((name) => [
      name,
      this.processes(name).flatMap(({ pid }) => pid ?? []),
    ]);
    return Object.fromEntries(entries) as Record<ServiceName, number[]>;
  }

  kill(name: ServiceName, signal: NodeJS.Signals = "SIGKILL", nth = 0): number | undefined {
    return this.processes(name)[nth]?.kill(signal);
  }

  async add(name: Exclude<ServiceName, "dispatcher">): Promise<ServiceProcess> {
    const service = await this.#spawn(name);
    await service.untilReady();
    return service;
  }

  async untilReady(): Promise<void> {
    const running = [...this.#services.values()].flat().filter(({ state }) => state !== "ended");
    await Promise.all(running.map(async (service) => service.untilReady()));
  }

  async stop(): Promise<void> {
    this.#stopped ??= this.#stopAll();
    return this.#stopped;
  }

  async #stopAll(): Promise<void> {
    const { report } = this.#options;
    for (const name of serviceNames) {
      if (this.processes(name).length === 0) continue;
      report?.("stop", `draining ${name}`);
      await Promise.all(this.processes(name).map(async (service) => service.stop(drainMs)));
    }
    report?.("stop", "stopping engines and database");
    await this.#parts.stop();
    report?.("stop", undefined);
  }

  async #spawn(name: ServiceName): Promise<ServiceProcess> {
    const siblings = this.#services.get(name) ?? [];
    const nth = siblings.length;
    const fullName = nth === 0 ? name : `${name} ${nth + 1}`;
    const service = new ServiceProcess({
      name: fullName,
      node: existsSync(node) ? node : process.execPath,
      script: this.#options.scripts?.[name] ?? join(root, "services", name, "src", "main.ts"),
      cwd: root,
      env: definedOf({
        // With Node's compile cache, a start takes two thirds of the time.
        NODE_COMPILE_CACHE: join(cacheFolderOf(process.env), "node-compile-cache"),
        ...process.env,
        ...healthOf(process.env["HEALTH_HTTP"]),
        ...(await this.#wiring(name, nth)),
        ...this.#options.env,
        ...envOf(this.#options.serviceEnv?.[name], nth),
      }),
      logFile: join(this.logsDir, `${fullName.replace(" ", "-")}.log`),
      restart: this.#options.restart ?? true,
      onTrouble: this.#options.onTrouble ?? (() => undefined),
      ...(this.#options.onEnd === undefined ? {} : { onEnd: this.#options.onEnd }),
      onSpawn: this.#note,
    });
    this.#services.set(name, [...siblings, service]);
    service.start();
    return service;
  }

  /** What makes them a system: who is where. */
  async #wiring(name: ServiceName, nth: number): Promise<Env> {
    const { mongodb, nextHop, clamd, spamd, rspamd } = this.#parts;
    const database = { MONGODB_URI: mongodb.uri, MONGODB_DB: mongodb.db };
    const worker = { BUS_DISPATCHERS: this.#buses.join(","), BUS_BIND: undefined };
    switch (name) {
      case "ingest":
        return {
          ...database,
          INGEST_SMTP: nth === 0 ? this.#smtp : `127.0.0.1:${await freePort()}`,
        };
      case "dispatcher":
        return { ...database, BUS_BIND: this.#buses[nth], RELAY_NEXT_HOP: nextHop.address };
      case "av-worker":
        return { ...worker, AV_CLAMD: clamd };
      case "spam-worker":
        return {
          ...worker,
          SPAM_ENGINE: this.#options.spamEngine,
          SPAM_SPAMD: spamd,
          SPAM_RSPAMD: rspamd,
          ...spamdChildren(this.#parts),
        };
      case "relay":
        return { ...database, ...worker };
      default:
        return worker;
    }
  }
}

/** Replaces port 0 with a chosen one, so that a restarted service is where it was. */
async function fixedPort(address: string): Promise<string> {
  return address.endsWith(":0") ? `${address.slice(0, -1)}${await freePort()}` : address;
}

function spamdChildren({ spamdChildren: children }: Parts): Env {
  return children === undefined ? {} : { SPAM_CHILDREN: String(children) };
}

/** On one host each service needs a port of its own: a free one, which its log names. */
function healthOf(asked: string | undefined): Env {
  return asked === undefined ? {} : { HEALTH_HTTP: asked.replace(/:\d+$/, ":0") };
}

function envOf(env: Env | ((nth: number) => Env) | undefined, nth: number): Env {
  return typeof env === "function" ? env(nth) : (env ?? {});
}

function definedOf(env: Env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined));
}

/** Rejects when the signal aborts; without a signal it never settles. */
function rejectAt(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(new TerminalError("SETUP_FAILED", "stopped while starting"));
    if (signal?.aborted === true) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
