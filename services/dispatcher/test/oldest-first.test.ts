import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { Backlogs } from "../src/backlogs.ts";
import { answers } from "./answers.ts";
import { openBench } from "./in-process.ts";

describe("a backlog", () => {
  it("lasts from the first mail that waited in vain to the first claim that finds too few", () => {
    const backlogs = new Backlogs();
    backlogs.claimed("spam", 0, 5);
    expect(backlogs.has("spam")).toBe(false);
    backlogs.begin("spam");
    backlogs.claimed("spam", 5, 5);
    expect([backlogs.has("spam"), backlogs.has("virus")]).toEqual([true, false]);
    backlogs.claimed("spam", 4, 5);
    expect(backlogs.has("spam")).toBe(false);
  });
});

describe("while more mail comes than a check can handle", () => {
  it("the oldest is checked first, and all of it in the end (I7)", async () => {
    const bench = await openBench();
    await bench.dispatcher({ PLACE_MS: "200" });
    bench.worker("virus");
    bench.worker("enrich");
    bench.worker("spam", {
      concurrency: 1,
      handle: () => sleep(50).then(() => answers.spam),
    });
    const ids: string[] = [];
    for (let count = 0; count < 150; count += 1) {
      ids.push(await bench.mail());
      await sleep(5);
    }
    await vi.waitFor(async () => {
      const states = (await bench.database.mails.waiting()).map(({ state }) => state);
      expect(states.filter((state) => state !== "ready")).toEqual([]);
    });
    const asked = bench.asked.flatMap((line) => (line.startsWith("spam ") ? [line.slice(5)] : []));
    const places = asked.map((id) => ids.indexOf(id));
    expect(new Set(places).size).toBe(150);
    // By how many places the youngest mail that was asked for earlier is younger.
    let youngest = 0;
    const overtaken = places.map((place) => {
      youngest = Math.max(youngest, place);
      return youngest - place;
    });
    console.info(`overtaken by at most ${Math.max(...overtaken)} of 150`);
    // What was in memory when the backlog began may go first, and claims try a random part.
    expect(overtaken.toSorted((a, b) => a - b)[135]).toBeLessThan(30);
  });
});
