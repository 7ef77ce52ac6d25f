import { describe, expect, it } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { EnginePool } from "@rs-agent/shared/engines/engine-pool.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { SpamEnginePool } from "../src/spam-engine.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";
import { engineKits, mailToJudge, type EngineKit } from "./engine-kit.ts";
import type { FakeEngine, FakeRequest, Fault, Script } from "./fake-engine.ts";

const signal = new AbortController().signal;
const mail = mailToJudge("Subject: x\r\n\r\nx\r\n");
const ask = { signal, timeoutMs: 2_000, accountMs: 5_000 };

/** The engines of the last pool. */
let fakes: FakeEngine[];

async function poolWith(
  kit: EngineKit,
  placesEach: number,
  scripts: readonly Script[],
): Promise<SpamEnginePool> {
  fakes = await Promise.all(scripts.map(async (script) => kit.startFake(script)));
  fakes.forEach(untilTestEnds);
  const clients = fakes.map(({ address }) =>
    kit.connect(address, { timeoutMs: 2_000, connectTimeoutMs: 500, maxReplyBytes: 20_000 }),
  );
  const pool = new EnginePool(
    clients,
    { placesEach, canaryTimeoutMs: 1_000, recoveryWaitMs: 500 },
    { clock: systemClock, log: createSilentLogger() },
  );
  return untilTestEnds(pool);
}

const isCanary = (request: FakeRequest) => request.body.includes("Health check of the spam filter");

const poison = mailToJudge("Subject: poison\r\n\r\nx\r\n");
const isPoison = ({ body }: FakeRequest) => body.includes("Subject: poison");

describe.each(engineKits)("a pool of engines of the kind $name", (kit) => {
  const poolOf = async (placesEach: number, ...scripts: Script[]) =>
    poolWith(kit, placesEach, scripts);

  it("is unable if GTUBE is ham, and says so", async () => {
    const pool = await poolOf(1, () => ({ chunks: [kit.ham], then: "close" }));
    expect(await pool.canary(signal)).toMatchObject({
      able: false,
      reason: expect.stringContaining("GTUBE is ham to it") as unknown,
    });
  });

  it("is unable if a clean mail is spam", async () => {
    const pool = await poolOf(1, () => ({ chunks: [kit.spam], then: "close" }));
    expect(await pool.canary(signal)).toMatchObject({
      able: false,
      reason: expect.stringContaining("a clean mail is spam to it") as unknown,
    });
  });

  const hang: Fault = { chunks: [], then: "hang" };
  const inPieces = (line: string): Fault => ({ chunks: [line], then: "close" });

  it.each<[string, Fault, string, RegExp]>([
    ["says nothing", hang, "time-out", /no reply from r?spamd within \d+ ms/],
    ["is busy", inPieces(kit.busy.text), "busy", kit.busy.words],
    [
      "says a length that is too large",
      inPieces(kit.wrongLength(999)),
      "engine-error",
      /it closed after 9 of 999 bytes|the connection to rspamd broke/,
    ],
  ])(
    "I2: of an engine that %s no mail is ham, and none is given to it until its canaries pass",
    async (_, fault, reason, words) => {
      let broken = false;
      const pool = await poolOf(2, () => (broken ? fault : undefined));
      await pool.canary(signal);
      broken = true;
      const { finding } = await pool.ask(mail, { ...ask, timeoutMs: 300 });
      expect(finding).toMatchObject({ kind: "unchecked", reason });
      await expect.poll(() => pool.concurrency()).toBe(0);
      expect(pool.reasons()).toMatch(words);
      broken = false;
      await expect.poll(() => pool.concurrency()).toBe(2);
      expect(pool.reasons()).toBe("");
      expect((await pool.ask(mail, ask)).finding.kind).toBe("ham");
    },
  );

  it("does not leave out an engine that only one mail is too much for", async () => {
    const pool = await poolOf(1, (request) => (isCanary(request) ? undefined : hang));
    await pool.canary(signal);
    const { finding } = await pool.ask(mail, { ...ask, timeoutMs: 200 });
    expect(finding).toMatchObject({ kind: "unchecked", reason: "time-out" });
    const canaries = () => fakes[0]?.requests.filter(isCanary).length;
    await expect.poll(canaries).toBe(4);
    expect(pool.concurrency()).toBe(1);
  });

  it.each([
    ["closes without a word", { chunks: [], then: "close" }],
    ["resets the connection", { chunks: [], then: "reset" }],
    ["closes in the middle of its reply", { chunks: [kit.ham.slice(0, 12)], then: "close" }],
  ] as const)("an engine that %s over a mail is a strike against the mail", async (_, fault) => {
    const pool = await poolOf(2, (request) => (isPoison(request) ? fault : undefined));
    await pool.canary(signal);
    const judged = await pool.ask(poison, ask);
    expect(judged).toMatchObject({ finding: { kind: "unchecked" }, strikes: 1 });
    expect(await pool.ask(mail, ask)).not.toHaveProperty("strikes");
  });

  it("a mail over which an otherwise healthy spamd does not answer gets a strike", async () => {
    const hang = { chunks: [], then: "hang" } as const;
    const pool = await poolOf(2, (request) => (isPoison(request) ? hang : undefined));
    await pool.canary(signal);
    const judged = await pool.ask(poison, { ...ask, timeoutMs: 100 });
    expect(judged).toMatchObject({ finding: { reason: "time-out" }, strikes: 1 });
  });

  it("an engine that stands still is no mail's fault: no mail in it gets a strike", async () => {
    let still = false;
    const hang = { chunks: [], then: "hang" } as const;
    const pool = await poolOf(4, () => (still ? hang : undefined));
    await pool.canary(signal);
    still = true;
    const slow = { ...ask, timeoutMs: 100, accountMs: 200 };
    for (const judged of await Promise.all([1, 2, 3].map(() => pool.ask(mail, slow)))) {
      expect(judged.finding).toMatchObject({ reason: "time-out" });
      expect(judged).not.toHaveProperty("strikes");
    }
  });
});

describe("a pool of spamds", () => {
  const [kit] = engineKits;
  if (kit === undefined) throw new Error("there is no kit");
  const poolOf = async (placesEach: number, ...scripts: Script[]) =>
    poolWith(kit, placesEach, scripts);

  it("asks for the rules' names if a site's report cannot be read", async () => {
    const pool = await poolOf(1, ({ method, body }) => {
      if (method !== "REPORT") return undefined;
      const score = body.includes("GTUBE") ? "True ; 1000.0 / 5.0" : "False ; 0.0 / 5.0";
      const chunks = [`SPAMD/1.1 0 EX_OK\r\nContent-length: 5\r\nSpam: ${score}\r\n\r\nHello`];
      return { chunks, then: "close" };
    });
    await pool.canary(signal);
    const { finding } = await pool.ask(mail, ask);
    expect(finding).toMatchObject({ kind: "ham", rules: [{ name: "RDNS_NONE" }] });
    const [request] = fakes[0]?.requests.filter((asked) => !isCanary(asked)) ?? [];
    expect(request?.method).toBe("SYMBOLS");
  });

  it("what spamd answers in words is not a strike", async () => {
    const chunks = ["SPAMD/1.0 79 Timeout: (300 second timeout)\r\n"];
    const pool = await poolOf(1, (r) => (isPoison(r) ? { chunks, then: "close" } : undefined));
    await pool.canary(signal);
    const judged = await pool.ask(poison, ask);
    expect(judged.finding).toMatchObject({ reason: "time-out" });
    expect(judged).not.toHaveProperty("strikes");
  });
});
