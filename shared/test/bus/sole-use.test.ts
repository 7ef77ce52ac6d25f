import { expect, test } from "vitest";
import { SoleUse } from "../../src/bus/sole-use.ts";
import type { HeartbeatHead } from "../../src/bus/wire.ts";
import { WorkerSession } from "../../src/worker/worker-session.ts";

const opening = {
  v: 1,
  from: "dispatcher-1",
  kind: "heartbeat",
  session: "ab".repeat(16),
  incarnation: "cd".repeat(16),
} satisfies HeartbeatHead;
const granted = { tasks: 1, bytes: 1_000 };
const nothing = { tasks: 0, bytes: 0 };

test("a dispatcher that has not yet heard of a grant has not heard that it has lost it", () => {
  const dispatcher = new SoleUse(() => 0);
  const session = new WorkerSession(opening, 0);
  // Its first heartbeat opens the session; the grant and its end are under way.
  session.update({ ...opening, ...dispatcher.words });
  session.setGrant(granted, false);
  session.beats += 1;
  session.setGrant(nothing, false);
  session.beats += 1;
  session.update({ ...opening, ...dispatcher.words });
  expect(session.isTold).toBe(false);
  dispatcher.update({ ...opening, beat: 1, credit: granted }, true);
  session.update({ ...opening, ...dispatcher.words });
  expect(session.isTold).toBe(false);
  dispatcher.update({ ...opening, beat: 2, credit: nothing }, true);
  session.update({ ...opening, ...dispatcher.words });
  expect(session.isTold).toBe(true);
});

test("one of an older release, which acknowledges no heartbeats, is not waited for", () => {
  const session = new WorkerSession(opening, 0);
  session.setGrant(nothing, false);
  session.beats += 1;
  session.update(opening);
  expect(session.isTold).toBe(true);
});
