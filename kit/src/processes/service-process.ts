import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { exitCodes } from "@rs-agent/shared/lifecycle.ts";
import { saidBy, ServiceLog, troubleOf, warningLevel, type LogLine } from "./service-log.ts";

export interface ServiceProcessOptions {
  /** For a person: `relay`, `av-worker 2`. */
  name: string;
  node: string;
  script: string;
  cwd: string;
  env: NodeJS.ProcessEnv;
  logFile: string;
  /** False: a process that ends is not restarted. */
  restart: boolean;
  /** Told, in one line, about each end that we did not ask for. */
  onTrouble: (text: string) => void;
  /** Told about every end. */
  onEnd?: (end: ProcessEnd) => void;
  onSpawn: (pid: number) => void;
}

/** A process that has ended: one of `exitCode` and `signal` says how. */
export interface ProcessEnd {
  name: string;
  pid: number | undefined;
  exitCode: number | undefined;
  signal: NodeJS.Signals | undefined;
  /** It had reported that it was ready. */
  wasReady: boolean;
}

type State =
  /** `dying`: for a test, we sent a signal that ends it; it will be restarted. */
  | { kind: "starting" | "ready" | "dying"; child: ChildProcess; spawnedAt: number }
  | { kind: "waiting"; until: NodeJS.Timeout }
  | { kind: "stopping"; child: ChildProcess }
  | { kind: "ended" };

const lethal: readonly NodeJS.Signals[] = ["SIGKILL", "SIGTERM", "SIGINT", "SIGABRT", "SIGSEGV"];
const lookEveryMs = 25;
const firstBackoffMs = 200;
const slowestBackoffMs = 10_000;
/** After this long, the next end is not a consequence of the last one. */
const settledMs = 10_000;
const graceMs = 3_000;
/**
 * On a machine with much memory V8 lets the young generation grow to 128 MB and keeps it, which is
 * most of the memory of a service that is busy for long. With one size from the start (MB), memory
 * soon stays the same. The images set the same.
 */
export const nodeOptions = ["--min-semi-space-size=8", "--max-semi-space-size=8"];
/**
 * glibc raises this threshold (bytes) up to 32 MB by itself, and keeps freed memory below it: with
 * mail of 40 MB, read in replies of 16 MB, a service kept 500 MB. If it is fixed, all large buffers
 * are returned immediately (mallopt(3), M_MMAP_THRESHOLD). The images set the same.
 */
export const allocatorEnv = { MALLOC_MMAP_THRESHOLD_: "1048576" };

/**
 * One service as a process: started, seen to be ready by its log, restarted with backoff when it
 * dies, drained by SIGTERM. It has a process group of its own: Ctrl-C in a terminal reaches only
 * us.
 */
export class ServiceProcess {
  readonly name: string;
  readonly logFile: string;
  readonly #options: ServiceProcessOptions;
  #state: State = { kind: "ended" };
  #backoffMs = firstBackoffMs;
  #restarts = 0;
  /** It was ready once: its settings are right, so whatever ends it now is temporary. */
  #wasReady = false;
  #trouble: string | undefined;
  #readyLine = Promise.withResolvers<LogLine>();
  #ended = Promise.withResolvers<undefined>();

  constructor(options: ServiceProcessOptions) {
    this.name = options.name;
    this.logFile = options.logFile;
    this.#options = options;
  }

  /** Undefined while it is down. */
  get pid(): number | undefined {
    return "child" in this.#state ? this.#state.child.pid : undefined;
  }

  get state(): State["kind"] {
    return this.#state.kind;
  }

  /** While it is not ready: its last warning, with its name. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** How often it was restarted after an end that nobody asked for. */
  get restarts(): number {
    return this.#restarts;
  }

  start(): void {
    const { node, script, cwd, env, logFile, onSpawn } = this.#options;
    const log = new ServiceLog(logFile);
    const descriptor = openSync(logFile, "a");
    const child = spawn(node, [...nodeOptions, script], {
      cwd,
      env: { ...allocatorEnv, ...env },
      detached: true,
      stdio: ["ignore", descriptor, descriptor],
    });
    closeSync(descriptor);
    if (child.pid !== undefined) onSpawn(child.pid);
    this.#state = { kind: "starting", child, spawnedAt: performance.now() };
    child.once("error", (error) => this.#onEnd(child, error.message));
    child.once("exit", (code, signal) => {
      const wasReady = !("child" in this.#state) || this.#state.kind !== "starting";
      const how = { exitCode: code ?? undefined, signal: signal ?? undefined };
      this.#options.onEnd?.({ name: this.name, pid: child.pid, wasReady, ...how });
      this.#onEnd(child, signal ?? code ?? "?");
    });
    void this.#watch(child, log);
  }

  /**
   * The line with which the running process reported that it is ready.
   * @throws TerminalError SETUP_FAILED if it will not be restarted
   */
  async untilReady(): Promise<LogLine> {
    return this.#readyLine.promise;
  }

  /** Sends a signal; returns the pid that got it, undefined if there is none. */
  kill(signal: NodeJS.Signals): number | undefined {
    if (!("child" in this.#state)) return undefined;
    const { child } = this.#state;
    if (this.#state.kind === "ready" && lethal.includes(signal)) {
      this.#state = { ...this.#state, kind: "dying" };
      this.#readyLine = Promise.withResolvers();
    }
    return child.kill(signal) ? child.pid : undefined;
  }

  /** Drains it; kills it if that takes longer than `drainMs` plus a few seconds. */
  async stop(drainMs: number): Promise<void> {
    if (this.#state.kind === "waiting") {
      clearTimeout(this.#state.until);
      this.#end();
    }
    if (!("child" in this.#state)) return;
    if (this.#state.kind !== "stopping") {
      const { child } = this.#state;
      this.#state = { kind: "stopping", child };
      child.kill("SIGTERM");
    }
    const limit = new AbortController();
    const late = wait(drainMs + graceMs, "late", { signal: limit.signal }).catch(() => "ended");
    if ((await Promise.race([this.#ended.promise, late])) === "late") this.kill("SIGKILL");
    limit.abort();
    await this.#ended.promise;
  }

  async #watch(child: ChildProcess, log: ServiceLog): Promise<void> {
    while (this.#state.kind === "starting" && this.#state.child === child) {
      const lines = log.read();
      const warning = lines.findLast(({ level }) => level >= warningLevel);
      if (warning !== undefined) this.#trouble = `${this.name} (${saidBy(warning)})`;
      const line = lines.find(({ msg }) => msg === "ready");
      if (line !== undefined) {
        this.#trouble = undefined;
        this.#wasReady = true;
        this.#state = { ...this.#state, kind: "ready" };
        this.#readyLine.resolve(line);
        return;
      }
      await wait(lookEveryMs);
    }
  }

  #onEnd(child: ChildProcess, how: string | number): void {
    if (!("child" in this.#state) || this.#state.child !== child) return;
    const { name, logFile, restart, onTrouble } = this.#options;
    if (this.#state.kind === "stopping") return this.#end();
    const said = troubleOf(logFile);
    const trouble = `${name} ended (${typeof how === "number" ? `exit code ${how}` : how})`;
    const details = `${said === "" ? "" : `:\n${said}`}\n(log: ${logFile})`;
    const { kind } = this.#state;
    const isHopeless = kind === "starting" && !this.#wasReady && this.#restarts > 3;
    if (!restart || how === exitCodes.badConfig || isHopeless) {
      this.#readyLine.reject(new TerminalError("SETUP_FAILED", trouble + details));
      this.#readyLine.promise.catch(() => undefined);
      onTrouble(`${trouble} and is not started again`);
      return this.#end();
    }
    if (performance.now() - this.#state.spawnedAt > settledMs) this.#backoffMs = firstBackoffMs;
    onTrouble(`${trouble}, started again in ${this.#backoffMs} ms`);
    if (kind === "ready") this.#readyLine = Promise.withResolvers();
    this.#waitAndStart();
  }

  #waitAndStart(): void {
    this.#state = { kind: "waiting", until: setTimeout(() => this.#again(), this.#backoffMs) };
    this.#backoffMs = Math.min(this.#backoffMs * 2, slowestBackoffMs);
  }

  #again(): void {
    this.#restarts += 1;
    try {
      this.start();
    } catch (error) {
      // Its log cannot be written: the disk is full, or somebody removed the folder.
      this.#options.onTrouble(`${this.name} cannot be started: ${messageOf(error)}`);
      this.#waitAndStart();
    }
  }

  #end(): void {
    this.#state = { kind: "ended" };
    this.#ended.resolve(undefined);
  }
}
