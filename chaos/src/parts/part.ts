import { setTimeout as wait } from "node:timers/promises";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { signalGroup } from "@rs-agent/kit/processes/child.ts";
import type { Link } from "./link.ts";

/** A server of a run that is not one of our services. */
export interface Running {
  pid: number;
  /** `host:port` */
  address: string;
  stop(): Promise<void>;
}

export interface PartOptions {
  name: string;
  start: () => Promise<Running>;
  /** Where its clients find it, wherever it listens itself. */
  links: readonly Link[];
  /** Told about the process, which leads a group of its own. */
  onStart: (pid: number) => void;
  onTrouble: (text: string) => void;
}

const tries = 10;
const betweenTriesMs = 500;

/** A database or engine that can be killed and comes back behind the same links. */
export class Part {
  readonly name: string;
  readonly #options: PartOptions;
  #running: Running | undefined;
  #busy: Promise<void> | undefined;
  #stopped = false;

  constructor(options: PartOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Undefined while it is down. */
  get pid(): number | undefined {
    return this.#running?.pid;
  }

  /** @throws what its own start throws */
  async start(): Promise<void> {
    const running = await this.#options.start();
    this.#running = running;
    this.#options.onStart(running.pid);
    const { port } = new URL(`tcp://${running.address}`);
    for (const link of this.#options.links) link.leadTo(`127.0.0.1:${port}`);
  }

  /** Kills it with its whole process group and restarts it after `downMs`. */
  async killAndRestart(downMs: number): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    this.#busy = this.#again(running, downMs);
    await this.#busy;
    this.#busy = undefined;
  }

  /** Call it when it has ended by itself: a poisoned engine, say. */
  async onEnded(downMs: number): Promise<void> {
    if (this.#running !== undefined && !this.#stopped) await this.killAndRestart(downMs);
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    if (this.#running !== undefined) signalGroup(this.#running.pid, signal);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#busy;
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    signalGroup(running.pid, "SIGCONT");
    await running.stop();
  }

  async #again(running: Running, downMs: number): Promise<void> {
    signalGroup(running.pid, "SIGKILL");
    await running.stop();
    await wait(downMs);
    for (let left = tries; !this.#stopped; left -= 1) {
      try {
        await this.start();
        return;
      } catch (error) {
        if (left <= 1) throw error;
        this.#options.onTrouble(`${this.name} does not come back: ${messageOf(error)}`);
        await wait(betweenTriesMs);
      }
    }
  }
}
