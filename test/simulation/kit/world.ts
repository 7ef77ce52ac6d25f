import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { drain, run, type Program } from "./actors.ts";
import type { Bug } from "./bugs.ts";
import { createForger, messageOf, partsOf } from "./bus/forger.ts";
import { BusNetwork } from "./bus/network.ts";
import type { DriverDeps } from "./database/connection.ts";
import { ReplicaSet } from "./database/replica-set.ts";
import type { EngineState } from "./engines.ts";
import { chooseFaults, type FaultProfile } from "./fault-profile.ts";
import { Nemesis } from "./faults.ts";
import { Invariants, type Violation } from "./invariants/invariants.ts";
import type { Truth } from "./mails.ts";
import { Random } from "./random.ts";
import type { RecordTruth } from "./records.ts";
import { createPolicies } from "./policies.ts";
import { startHops } from "./smtp/hops.ts";
import { TcpNetwork } from "./smtp/sockets.ts";
import { Trace } from "./trace.ts";
import { VirtualProcess, VirtualTime, type Sort } from "./virtual-time.ts";

/** The services' settings, and how many services there are. */
export interface Settings {
  dispatchers: number[];
  relays: number;
  workers: { virus: number; spam: number; own: number; enrich: number };
  leaseMs: number;
  pollMs: number;
  deadlineMs: number;
  batch: number;
  concurrency: number;
  changeStream: boolean;
  /** The server has one command for inserts into several collections. */
  hasJointInserts: boolean;
  /** Relays hear what dispatchers tell them. */
  hints: boolean;
  /** The dispatchers have a source of records. */
  source: { marked: boolean } | undefined;
}

export interface WorldOptions {
  seed: number;
  bug: Bug | undefined;
  /** Keeps what happens, for a person to read. */
  isTold: boolean;
}

/** Everything in a schedule: time, chance, the machines and who watches them. */
export class World {
  readonly seed: number;
  readonly time = new VirtualTime();
  readonly random: Random;
  readonly trace: Trace;
  readonly settings: Settings;
  readonly faults: FaultProfile;
  readonly nemesis: Nemesis;
  readonly set: ReplicaSet;
  readonly driver: DriverDeps;
  readonly bus: BusNetwork;
  readonly tcp: TcpNetwork;
  readonly invariants: Invariants;
  readonly bug: Bug | undefined;
  readonly processes: VirtualProcess[] = [];
  readonly engines: EngineState[] = [];
  /** Mail that comes in as records of a source. */
  readonly records: RecordTruth[] = [];
  /** A name server was silent, so nobody can be blamed for a report that was not made. */
  dnsWasSilent = false;
  readonly #truths = new Map<string, Truth>();
  readonly #killsUnbegun: Truth[] = [];
  violation: Violation | undefined;

  constructor({ seed, bug, isTold }: WorldOptions) {
    this.seed = seed;
    this.bug = bug;
    this.random = new Random(seed, "world");
    this.time.careful = isTold;
    this.trace = new Trace(this.time, isTold);
    this.settings = chooseSettings(this.random.fork("settings"));
    this.faults = chooseFaults(this.random.fork("profile"));
    this.nemesis = new Nemesis(this, this.faults);
    const lag = this.random.fork("lag");
    this.set = new ReplicaSet(this.time, () => lag.around(1));
    this.driver = {
      time: this.time,
      set: this.set,
      fateOf: (process, what) => this.nemesis.fateOf(process, what),
      streamDelayMs: () => this.nemesis.streamDelayMs(),
      maxWireVersion: this.settings.hasJointInserts ? 25 : 21,
      ...bug?.driver?.(this),
    };
    this.bus = new BusNetwork(this.time, this.random.fork("bus"));
    const forger = createForger(this.random.fork("forger"), () => this.nemesis.forges());
    const spoil = bug?.message?.(this) ?? ((frames: Buffer[]) => [frames]);
    this.bus.onMessage = (frames, from, to) => {
      if (this.#diesOf(frames, to)) return [];
      const told = forger(frames, to).flatMap((each) => spoil(each, from, to));
      return told.flatMap((each) => this.#hinted(each, to));
    };
    this.tcp = new TcpNetwork(this.time, this.random.fork("tcp"));
    this.invariants = new Invariants(this);
    startHops(this);
  }

  /** Starts a program and restarts it whenever it ends. */
  supervise(name: string, sort: Sort, program: Program, startsAfterMs: number): void {
    let incarnation = 0;
    const random = this.random.fork(name);
    const start = () => {
      incarnation += 1;
      const own = random.fork(String(incarnation));
      const process = new VirtualProcess(this.time, `${name}.${incarnation}`, sort, own);
      this.processes.push(process);
      process.onEnd(() => {
        this.processes.splice(this.processes.indexOf(process), 1);
        const downMs = this.nemesis.healed ? 300 : random.between(300, 6_000);
        this.time.after(downMs, undefined, start);
      });
      this.note(`${process.name} starts`);
      this.time.after(0, process, () => run(this, process, program));
    };
    this.time.after(startsAfterMs, undefined, start);
  }

  kill(process: VirtualProcess, why: string): void {
    if (!process.alive) return;
    this.note(`${process.name} is ${why}`);
    process.end();
  }

  drain(process: VirtualProcess): void {
    this.note(`${process.name} is told to end`);
    this.time.after(0, process, () => drain(this, process));
  }

  /** What a relay hears of the hints that are on their way to it. */
  #hinted(frames: Buffer[], to: VirtualProcess): Buffer[][] {
    const isHint = to.sort === "relay" && frames[0]?.includes("waiting") === true;
    if (!isHint) return [frames];
    return partsOf(frames).flatMap(({ head, body }) => {
      if (head["kind"] !== "waiting") return [messageOf({ head, body })];
      if (!this.settings.hints) return [];
      const fate = this.nemesis.hintIs();
      if (fate === "lost") return [];
      const mails = fate === "told" ? head["mails"] : [...this.set.local("mails").keys()];
      return [messageOf({ head: { ...head, mails }, body })];
    });
  }

  /** Poison that kills a worker as soon as it comes in, before the worker has begun on it. */
  #diesOf(frames: readonly Buffer[], to: VirtualProcess): boolean {
    if (to.sort !== "worker") return false;
    for (const { poison, raw, sha256 } of this.#killsUnbegun) {
      if (!to.name.startsWith(`${poison?.kind}-`)) continue;
      if (!frames.some((frame) => frame.includes(raw))) continue;
      this.invariants.works.onKilledBy(sha256, to);
      this.kill(to, "killed by what it received");
      return true;
    }
    return false;
  }

  /** A bug of the product ended a process. */
  fail(process: VirtualProcess, what: string, error: unknown): void {
    const text = `${process.name} ${what}: ${error instanceof Error ? error.stack : String(error)}`;
    this.violate({ invariant: "bug", mailId: undefined, text });
  }

  /** The first violation counts; it ends the schedule. */
  violate(violation: Violation): void {
    this.note(`VIOLATION ${violation.invariant}: ${violation.text}`, violation.mailId);
    this.violation ??= violation;
  }

  /** Notes something about one mail or about the world. */
  note(text: string, mailId?: string): void {
    const who = this.time.current?.name ?? "world";
    this.trace.note(who, mailId === undefined ? [] : [mailId], () => text);
  }

  onSilentDns(): void {
    this.dnsWasSilent = true;
  }

  addTruth(truth: Truth): void {
    this.#truths.set(truth.sha256, truth);
    if (truth.poison?.how === "kills-unbegun") this.#killsUnbegun.push(truth);
  }

  /** The bytes of a record's mail as they are stored, with our trace before them. */
  onBody(raw: Buffer): void {
    const truth = this.records.find((each) => raw.subarray(-each.raw.length).equals(each.raw));
    if (truth !== undefined) this.#truths.set(sha256Hex(raw), truth);
  }

  truthOf(sha256: string): Truth | undefined {
    return this.#truths.get(sha256);
  }

  get truths(): Iterable<Truth> {
    return new Set(this.#truths.values());
  }

  /** Like `rs-agent policy apply`: other rules, in one step. */
  changePolicies(random: Random): void {
    const { set } = this;
    const [counter] = set.findLocal("controls", { _id: "policy-revision" });
    const revision = Number(counter?.revision) + 1;
    const hasBothEngines = this.settings.workers.spam > 1;
    for (const document of createPolicies(random, { revision, hasBothEngines })) {
      set.replace("policies", { _id: document._id }, document, { upsert: true, by: undefined });
    }
    const change = { $set: { revision } };
    set.update("controls", { _id: "policy-revision" }, change, { many: false, by: undefined });
  }

  /** The stored bytes of a body, wherever they are. */
  rawOf(bodyId: string): Buffer {
    const raw = this.set.local("bodies").get(bodyId)?.raw;
    return Buffer.isBuffer(raw) ? raw : Buffer.alloc(0);
  }
}

function chooseSettings(random: Random): Settings {
  const records = random.fork("records");
  const few = () => random.pick([1, 1, 2]);
  return {
    dispatchers: random.chance(0.5) ? [0] : [0, 1],
    relays: random.pick([1, 2]),
    workers: { virus: few(), spam: few(), own: few(), enrich: few() },
    leaseMs: random.pick([5_000, 8_000, 12_000]),
    pollMs: random.pick([500, 1_000, 2_000]),
    deadlineMs: random.pick([3_000, 6_000]),
    batch: random.pick([2, 5, 20]),
    concurrency: random.pick([1, 2, 4]),
    changeStream: random.chance(0.8),
    hasJointInserts: random.fork("joint").chance(0.6),
    hints: random.fork("hints").chance(0.8),
    source: records.chance(0.5) ? { marked: records.chance(0.7) } : undefined,
  };
}
