import { ownCheck } from "./mails.ts";
import type { Fate } from "./database/connection.ts";
import type { EngineState } from "./engines.ts";
import { strikes, type FaultProfile, type Strike } from "./fault-profile.ts";
import type { Random } from "./random.ts";
import type { Point, Whim } from "./smtp/next-hop.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import type { World } from "./world.ts";

/** Strikes at random until it is over, and decides the fate of each request. */
export class Nemesis {
  readonly #world: World;
  readonly #profile: FaultProfile;
  readonly #random: Random;
  readonly #retries: Random;
  readonly #late: Random;
  readonly #hints: Random;
  #healed: boolean;

  constructor(world: World, profile: FaultProfile) {
    this.#world = world;
    this.#profile = profile;
    this.#retries = world.random.fork("retries");
    this.#late = world.random.fork("late");
    this.#hints = world.random.fork("hints");
    this.#random = world.random.fork("faults");
    this.#healed = profile.healMs === 0;
  }

  get healed(): boolean {
    return this.#healed;
  }

  start(): void {
    for (const strike of strikes) this.#plan(strike);
    this.#world.time.at(this.#profile.healMs, undefined, () => this.#heal());
  }

  #plan(strike: Strike): void {
    const everyMs = this.#profile.everyMs[strike];
    if (everyMs === Infinity) return;
    this.#world.time.after(this.#random.around(everyMs), undefined, () => {
      if (this.#healed) return;
      this.#strike(strike);
      this.#plan(strike);
    });
  }

  #heal(): void {
    const { world } = { world: this.#world };
    this.#healed = true;
    world.note("all faults end");
    world.bus.heal();
    world.set.stalledUntilMs = 0;
    for (const process of world.processes) process.goOn();
    for (const engine of world.engines) Object.assign(engine, healthyEngine());
    world.set.update("controls", { _id: "pauses" }, { $unset: { steps: "" } }, nobody);
  }

  #strike(strike: Strike): void {
    const world = this.#world;
    const random = this.#random;
    const { nowMs } = world.time;
    const living = world.processes.filter(({ alive }) => alive);
    if (living.length === 0) return;
    const one = random.pick(living);
    const other = random.pick(living);
    switch (strike) {
      case "kill":
        return world.kill(one, "killed");
      case "pause":
        return this.pause(one, random.pick([300, 3_000, 8_000, 20_000]));
      case "drain":
        return world.drain(one);
      case "jump":
        one.wallSkewMs += random.between(-3_600_000, 3_600_000);
        return world.note(`${one.name}: its wall clock jumps`);
      case "election":
        return this.#elect(random.pick([0, 0, 500, 2_500]));
      case "outage":
        world.note("the database is away");
        return world.set.fail(random.between(2_000, 15_000), random.int(0, 3));
      case "lag":
        world.note("the majority lags");
        world.set.stalledUntilMs = nowMs + random.around(random.pick([300, 2_000, 8_000]));
        return;
      case "cut":
        world.note(`the bus between ${one.name} and ${other.name} is cut`);
        return world.bus.cut(one, other);
      case "line": {
        const line = world.bus.line(one, other);
        line.stalledUntilMs = nowMs + random.pick([0, 500, 4_000, 12_000]);
        if (!this.#profile.badLines) return;
        line.loses = random.pick([0, 0.1, 0.5]);
        line.doubles = random.pick([0, 0.2, 0.5]);
        line.overtakes = random.pick([0, 0.2, 0.5]);
        return world.note(`the bus between ${one.name} and ${other.name} is bad`);
      }
      case "partition":
        world.note(`${one.name} does not reach the database`);
        one.cutOffUntilMs = nowMs + random.around(3_000);
        return;
      case "engine": {
        if (world.engines.length === 0) return;
        return void Object.assign(random.pick(world.engines), this.#engine());
      }
      case "policy":
        world.note("the policies change");
        return world.changePolicies(random);
      case "pause-step":
        return this.#pauseStep(
          random.pick(["virus", "spam", ownCheck, "enrich", "relay", "plan", "adopt"] as const),
        );
      case "restart-all":
        for (const process of living) world.kill(process, "killed with all the others");
        return;
      case "plan-loss": {
        const plans = [...world.set.local("plans").keys()];
        if (plans.length === 0) return;
        const _id = random.pick(plans);
        world.note(`the plan ${_id} is removed by hand`);
        world.set.delete("plans", { _id }, undefined);
      }
    }
  }

  /** The primary is lost, perhaps after a while in which the majority heard nothing from it. */
  #elect(apartMs: number): void {
    const { set, time } = this.#world;
    const random = this.#random;
    set.stalledUntilMs = Math.max(set.stalledUntilMs, time.nowMs + apartMs);
    time.after(apartMs, undefined, () => {
      if (this.#healed) return;
      const kept = random.chance(0.5) ? 0 : random.int(0, set.logEnd - set.committed);
      set.clockSkewMs = random.between(-40, 40);
      set.deposedUntilMs = time.nowMs + random.pick([0, 0, 3_000, 8_000]);
      const lost = set.logEnd - set.committed - kept;
      this.#world.note(`the primary is lost, and with it its last ${lost} writes`);
      set.fail(random.around(600), kept);
    });
  }

  /** A person pauses a step, or lets it go on. */
  #pauseStep(step: string): void {
    const { set } = this.#world;
    const isPaused = set.findLocal("controls", { [`steps.${step}`]: { $exists: true } }).length > 0;
    const change = isPaused
      ? { $unset: { [`steps.${step}`]: "" } }
      : { $set: { [`steps.${step}`]: { step, by: "person", at: set.now() } } };
    this.#world.note(`${step} ${isPaused ? "goes on" : "is paused"}`);
    set.update("controls", { _id: "pauses" }, change, { ...nobody, upsert: true });
  }

  pause(process: VirtualProcess, ms: number): void {
    this.#world.note(`${process.name} stands still for ${Math.round(ms)} ms`);
    process.pauseFor(ms);
  }

  #engine(): EngineState {
    const random = this.#random;
    return random.pick<EngineState>([
      healthyEngine(),
      { ...healthyEngine(), away: true },
      { ...healthyEngine(), fails: random.next() },
      { ...healthyEngine(), throws: random.next() },
      { ...healthyEngine(), hangs: random.next(), isDeaf: random.chance(0.5) },
      { ...healthyEngine(), dies: random.next() / 2 },
      { ...healthyEngine(), slowness: random.between(2, 300) },
    ]);
  }

  /** What becomes of a request to the database. */
  fateOf(process: VirtualProcess, what: string): Fate {
    const random = this.#random;
    if (this.#healed) return { toMs: random.around(0.4), backMs: random.around(0.4), kind: "ok" };
    const profile = this.#profile;
    const fate: Fate = {
      toMs: random.around(0.4) * profile.slowDatabase,
      backMs: random.around(0.4) * profile.slowDatabase,
      kind: this.#kindOf(process),
    };
    if (fate.kind === "ok" && this.#retries.chance(profile.doneTwice)) {
      Object.assign(fate, { kind: "twice", firstTakes: this.#retries.next() });
    }
    if (fate.kind === "ok" && this.#late.chance(profile.doneLate)) {
      Object.assign(fate, { kind: "late", lateMs: this.#late.between(20, 8_000) });
    }
    if (random.chance(profile.killsAtRequest)) fate.killsAsker = true;
    const { nowMs } = this.#world.time;
    if (this.#world.set.deposedUntilMs > nowMs && random.chance(0.3)) fate.isDeposed = true;
    if (random.chance(profile.pausesAtRequest)) {
      this.pause(process, random.pick([200, 4_000, 9_000, 25_000]));
    }
    if (fate.kind !== "ok" || fate.killsAsker === true) {
      const end = fate.killsAsker === true ? ", and its asker dies" : "";
      this.#world.note(`${process.name}: ${what} is ${fate.kind}${end}`);
    }
    return fate;
  }

  #kindOf(process: VirtualProcess): Fate["kind"] {
    const { lostRequests, lostAnswers, partlyDone } = this.#profile;
    const random = this.#random;
    if (process.cutOffUntilMs > this.#world.time.nowMs) return "lost";
    if (random.chance(lostRequests)) return "lost";
    if (random.chance(lostAnswers)) return "unanswered";
    return random.chance(partlyDone) ? "partly" : "ok";
  }

  /** Whether somebody forges a result at this message. */
  forges(): boolean {
    return !this.#healed && this.#random.chance(this.#profile.forgeries);
  }

  /** What becomes of a hint to a relay. */
  hintIs(): "told" | "lost" | "wrong" {
    if (this.#healed) return "told";
    if (this.#hints.chance(this.#profile.lostHints)) return "lost";
    return this.#hints.chance(this.#profile.wrongHints) ? "wrong" : "told";
  }

  /**
   * Milliseconds until a change is reported; undefined: the stream breaks and loses what it had.
   */
  streamDelayMs(): number | undefined {
    const random = this.#random;
    if (!this.#healed) {
      if (random.chance(this.#profile.forgetfulStream)) return undefined;
      if (random.chance(this.#profile.stalledStream)) return random.between(100, 30_000);
    }
    return random.around(2);
  }

  /** What a hop does, and what happens to the relay at this point. */
  whim(point: Point): Whim {
    const random = this.#random;
    if (this.#healed) return random.chance(0.1) ? { kind: "slow", ms: 200 } : { kind: "none" };
    if (!random.chance(this.#profile.whims)) return { kind: "none" };
    const how = random.pick(["close", "reset"] as const);
    return random.pick<Whim>([
      { kind: "drop", how },
      { kind: "drop", how },
      { kind: "reply", reply: random.pick(replies[point]) },
      { kind: "slow", ms: random.pick([50, 2_000, 5_000, 9_000, 14_000]) },
      { kind: "stall", ms: random.pick([300, 5_000, 12_000]) },
      { kind: "mute" },
    ]);
  }

  /** The relay stands still or dies at this point of its session with the hop. */
  strikeAtHop(relay: VirtualProcess, point: string): void {
    if (this.#healed) return;
    const random = this.#random;
    if (random.chance(this.#profile.pausesAtHop)) {
      this.#world.note(`at ${point}:`);
      this.pause(relay, random.pick([100, 3_000, 7_000, 20_000]));
    }
    if (random.chance(this.#profile.killsAtHop)) this.#world.kill(relay, `killed at ${point}`);
  }
}

/** Writes by the schedule itself. */
const nobody = { many: false, by: undefined };

export function healthyEngine(): EngineState {
  return {
    away: false,
    fails: 0,
    throws: 0,
    hangs: 0,
    isDeaf: false,
    slowness: 1,
    dies: 0,
    life: new AbortController(),
  };
}

const tryLater = "451 4.3.0 later";
const closing = "421 4.3.2 closing";
const replies: Record<Point, readonly string[]> = {
  connect: ["421 4.3.2 busy", "554 5.3.2 go away"],
  ehlo: [closing, "502 5.5.1 what?"],
  mail: [tryLater, closing],
  rcpt: ["450 4.2.0 greylisted", closing],
  data: [tryLater, closing],
  body: [closing],
  dot: [tryLater, closing, "452 4.3.1 full"],
  rset: [closing, "500 5.5.1 no"],
};
