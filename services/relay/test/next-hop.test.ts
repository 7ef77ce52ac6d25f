import { expect, it, onTestFinished, vi } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { relayConfigSchema } from "../src/config.ts";
import type { HopSession } from "../src/hop-session.ts";
import { NextHop, type NextHopOptions } from "../src/next-hop.ts";
import { routeTo } from "./ready-mail.ts";
import { quickSettings, runningSink } from "./running-relay.ts";

const { timeouts } = loadConfig(relayConfigSchema, quickSettings("none"));
const forEver = new AbortController().signal;

function nextHop(
  route: Parameters<typeof routeTo>,
  options: Partial<NextHopOptions> = {},
): NextHop {
  const hop = new NextHop(routeTo(...route), {
    hostname: "relay.example",
    timeouts,
    trusted: () => Promise.resolve(undefined),
    secretsDir: undefined,
    clock: systemClock,
    limit: 4,
    idleMs: 60_000,
    ...options,
  });
  onTestFinished(() => hop.close());
  return hop;
}

async function opened(hop: NextHop): Promise<HopSession> {
  const acquired = await hop.acquire(forEver);
  if (acquired.kind === "failed") throw new Error(acquired.failure.reply);
  return acquired.session;
}

it("reuses a session, and ends one that was idle for its time", async () => {
  const sink = await runningSink();
  const hop = nextHop([sink.port], { idleMs: 150 });
  const first = await opened(hop);
  await hop.release(first);
  expect(await hop.acquire(forEver)).toMatchObject({ kind: "open", session: first, reused: true });
  await hop.release(first);
  await vi.waitFor(() => expect(hop.open).toBe(0), 3_000);
  expect(await hop.acquire(forEver)).toMatchObject({ kind: "open", reused: false });
  expect(sink.sessions).toBe(2);
});

it("takes a hop that refuses one more connection for crowded, not broken: it waits for one of the working ones", async () => {
  let open = 0;
  const sink = await runningSink({
    answer: ({ step }) => {
      if (step !== "connect") return undefined;
      open += 1;
      return open > 2 ? "421 4.7.0 too many connections" : undefined;
    },
  });
  const hop = nextHop([sink.port]);
  const one = await opened(hop);
  await opened(hop);
  const third = opened(hop);
  await vi.waitFor(() => expect(open).toBe(3), 3_000);
  await hop.release(one);
  expect(await third).toBe(one);
  const fourth = new AbortController();
  const waiting = hop.acquire(fourth.signal);
  fourth.abort();
  expect(await waiting).toMatchObject({ kind: "failed" });
  expect(open).toBe(3);
});

it("uses a session that is handed back while the hop refuses one more", async () => {
  const refusal = Promise.withResolvers<undefined>();
  let open = 0;
  const sink = await runningSink({
    answer: async ({ step }) => {
      if (step !== "connect") return undefined;
      open += 1;
      if (open === 1) return undefined;
      await refusal.promise;
      return "421 4.7.0 too many connections";
    },
  });
  const hop = nextHop([sink.port]);
  const one = await opened(hop);
  const second = opened(hop);
  await vi.waitFor(() => expect(open).toBe(2), 3_000);
  await hop.release(one);
  refusal.resolve(undefined);
  expect(await second).toBe(one);
});

it("reads the credential again for each connection, and fails the route if it cannot", async () => {
  const sink = await runningSink({
    onAuth: (user, password) => user === "u" && password === "new",
  });
  const secretsDir = await mkdtemp(join(tmpdir(), "relay-test-secrets-"));
  onTestFinished(() => rm(secretsDir, { recursive: true }));
  const hop = nextHop([sink.port, { credential: "hop" }], { secretsDir });
  expect(await hop.acquire(forEver)).toMatchObject({
    kind: "failed",
    failure: { status: "4.3.5" },
  });
  await mkdir(join(secretsDir, "hop"));
  await writeFile(join(secretsDir, "hop", "username"), "u\n");
  await writeFile(join(secretsDir, "hop", "password"), "old\n");
  expect(await hop.acquire(forEver)).toMatchObject({ kind: "failed" });
  await writeFile(join(secretsDir, "hop", "password"), "new\n");
  expect(await hop.acquire(forEver)).toMatchObject({ kind: "open" });
  const outside = nextHop([sink.port, { credential: "../hop" }], { secretsDir });
  const refused = await outside.acquire(forEver);
  expect(refused.kind === "failed" && refused.failure.reply).toContain("it is not a file name");
});
