import { builtInTasks } from "@rs-agent/shared/checks/verdict.ts";
import { describe, expect, it } from "vitest";
import { LoadMeter } from "../src/load-meter.ts";
import { demandOf, workersWanted, type DemandInput, type DispatcherLoad } from "../src/scaling.ts";

const clearMs = 60_000;
const nothing = { count: 0, since: undefined };
const noneDue = { plan: nothing, virus: nothing, spam: nothing, enrich: nothing };
const due = (count: number) => ({ count, since: new Date() });

interface Seen {
  arrivals?: number;
  completions?: number;
  serviceMs?: number;
  planned?: number;
  inMemory?: number;
  /** Worker ids with the tasks that they grant this dispatcher. */
  grants?: Record<string, number>;
}

/** A dispatcher that has seen virus tasks only. */
function dispatcher(seen: Seen): DispatcherLoad {
  const { arrivals = 0, completions = 0, serviceMs, planned = 0, inMemory = 0, grants = {} } = seen;
  return {
    load: {
      plannedPerSecond: planned,
      kinds: {
        virus: { arrivalsPerSecond: arrivals, completionsPerSecond: completions, serviceMs },
      },
    },
    waiting: { virus: inMemory },
    workers: Object.entries(grants).map(([id, tasks]) => ({
      id,
      kind: "virus",
      grant: { tasks, bytes: 0 },
    })),
  };
}

function virus(dispatchers: Seen[], input: Partial<DemandInput> = {}) {
  return demandOf({
    dispatchers: dispatchers.map(dispatcher),
    due: noneDue,
    kinds: builtInTasks,
    isPaused: () => false,
    clearMs,
    before: undefined,
    ...input,
  }).virus;
}

describe("workers wanted", () => {
  const known = { serviceMs: 500, atOnce: 4 };

  it.each([
    // 10 per second, half a second each, keep 5 places busy.
    ["the arrivals alone", { arrivalsPerSecond: 10, waiting: 0 }, 2],
    ["exactly two workers' worth", { arrivalsPerSecond: 16, waiting: 0 }, 2],
    ["a little more than that", { arrivalsPerSecond: 16.1, waiting: 0 }, 3],
    // 600 in a minute are 10 more per second.
    ["the arrivals and a backlog", { arrivalsPerSecond: 10, waiting: 600 }, 3],
    ["a backlog alone", { arrivalsPerSecond: 0, waiting: 6_000 }, 13],
    ["hardly anything", { arrivalsPerSecond: 0.001, waiting: 0 }, 1],
    ["nothing", { arrivalsPerSecond: 0, waiting: 0 }, 0],
  ])("for %s", (_, load, wanted) => {
    expect(workersWanted({ ...known, ...load }, 1, clearMs)).toBe(wanted);
  });

  it("are those that are there, or one to begin with, while none has answered yet", () => {
    const load = { arrivalsPerSecond: 50, waiting: 10, serviceMs: undefined, atOnce: undefined };
    expect(workersWanted(load, 0, clearMs)).toBe(1);
    expect(workersWanted({ ...load, atOnce: 4 }, 3, clearMs)).toBe(3);
  });
});

describe("the demand of several dispatchers", () => {
  it("is the sum of what they see, with a worker's credit from all its dispatchers", () => {
    const seen = virus([
      { arrivals: 6, completions: 3, serviceMs: 1_000, grants: { a: 6, b: 1 }, inMemory: 5 },
      { arrivals: 4, completions: 1, serviceMs: 3_000, grants: { a: 2, b: 7 } },
    ]);
    // Two grants of 8 tasks mean 4 at once each; the mean is weighted by what was done.
    expect(seen).toMatchObject({ arrivalsPerSecond: 10, waiting: 5, atOnce: 4 });
    expect(seen.serviceMs).toBeCloseTo(1_500, 1);
    // (10 + 5 / 60) × 1.5 / 4 = 3.78
    expect(seen.wanted).toBe(4);
  });

  it("includes the share of unplanned mail that lately needed this task", () => {
    const due = { ...noneDue, plan: { count: 1_000, since: new Date() } };
    expect(virus([{ arrivals: 5, planned: 10 }], { due }).waiting).toBe(500);
    expect(virus([{ arrivals: 0, planned: 10 }], { due }).waiting).toBe(0);
  });

  it("leaves out workers that are unable, and remembers how able ones worked", () => {
    const before = demandOf({
      dispatchers: [dispatcher({ completions: 1, serviceMs: 2_000, grants: { a: 8 } })],
      due: noneDue,
      kinds: builtInTasks,
      isPaused: () => false,
      clearMs,
      before: undefined,
    });
    const input = { before, due: { ...noneDue, virus: due(120) } };
    // 2 per second, 2 s each, at 4 at once.
    expect(virus([{ grants: { a: 0 } }], input)).toMatchObject({ atOnce: 4, wanted: 1 });
    expect(virus([{ arrivals: 8, grants: { a: 0, b: 8 } }], input).wanted).toBe(5);
  });

  it("wants nobody for the backlog of a task that a person has paused", () => {
    const input = { due: { ...noneDue, virus: due(90_000) }, isPaused: () => true };
    const seen = virus([{ completions: 1, serviceMs: 100, grants: { a: 8 } }], input);
    expect(seen).toMatchObject({ waiting: 90_000, wanted: 0 });
  });
});

describe("the load meter", () => {
  function metered() {
    let nowMs = 1_000_000;
    const meter = new LoadMeter(() => nowMs);
    return { meter, pass: (ms: number) => (nowMs += ms) };
  }

  it("measures rates over the last minute, or since the start if that is later", () => {
    const { meter, pass } = metered();
    for (let second = 0; second < 20; second += 1) {
      meter.onPlanned(4);
      meter.onArrived("virus");
      pass(1_000);
    }
    expect(meter.load().kinds.virus.arrivalsPerSecond).toBeCloseTo(1, 1);
    expect(meter.load().plannedPerSecond).toBeCloseTo(4, 1);
    pass(30_000);
    expect(meter.load().kinds.virus.arrivalsPerSecond).toBeCloseTo(0.4, 1);
    pass(60_000);
    expect(meter.load().kinds.virus.arrivalsPerSecond).toBe(0);
  });

  it("keeps the last service time when nothing is done any more", () => {
    const { meter, pass } = metered();
    expect(meter.load().kinds.spam.serviceMs).toBeUndefined();
    meter.onDone("spam", 100);
    meter.onDone("spam", 300);
    expect(meter.load().kinds.spam.serviceMs).toBe(200);
    pass(3_600_000);
    expect(meter.load().kinds.spam).toMatchObject({ serviceMs: 200, completionsPerSecond: 0 });
    meter.onDone("spam", 1_000);
    expect(meter.load().kinds.spam.serviceMs).toBe(1_000);
  });
});
