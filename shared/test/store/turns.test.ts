import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createTurnStore } from "../../src/store/turns.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();
let nowMs = 1_000_000;
const clock = { ...systemClock, now: () => new Date(nowMs) };
const turns = () => createTurnStore(database().db, clock);

it("a job is one service's until its time is over, however many ask for it", async () => {
  const asked = ["a", "b", "c", "d"].map(async (owner) => ({
    owner,
    has: await turns().take("walk", owner, 1_000),
  }));
  const [holder, ...more] = (await Promise.all(asked)).filter(({ has }) => has);
  if (holder === undefined) throw new Error("nobody has it");
  expect(more).toEqual([]);
  const other = holder.owner === "a" ? "b" : "a";
  nowMs += 900;
  expect(await turns().take("walk", other, 1_000)).toBe(false);
  expect(await turns().take("walk", holder.owner, 1_000)).toBe(true);
  nowMs += 900;
  expect(await turns().take("walk", other, 1_000)).toBe(false);
  nowMs += 101;
  const late = [other, "z"].map((owner) => turns().take("walk", owner, 1_000));
  expect((await Promise.all(late)).filter((has) => has)).toHaveLength(1);
  expect(await turns().take("walk", holder.owner, 1_000)).toBe(false);
  expect(await turns().take("other walk", holder.owner, 1_000)).toBe(true);
});

it("a lease that somebody has made unreadable is taken over", async () => {
  const controls = database().db.collection<{ _id: string }>("controls");
  await controls.insertOne({ _id: "turn:odd", until: "never" } as never);
  expect(await turns().take("odd", "a", 1_000)).toBe(true);
  expect(await controls.findOne({ _id: "turn:odd" })).toMatchObject({ owner: "a" });
});
