import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { createRspamdEngine } from "../src/rspamd/engine.ts";
import type { SpamEngine } from "../src/spam-engine.ts";
import { findingOf, mailToJudge, rspamdKnown } from "./engine-kit.ts";
import type { FakeEngine, Fault } from "./fake-engine.ts";
import { http, reply, startFakeRspamd, startKeepingRspamd } from "./fake-rspamd.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const signal = new AbortController().signal;
const mail = mailToJudge("Subject: x\r\n\r\nx\r\n");
const limits = { timeoutMs: 5_000, connectTimeoutMs: 1_000, maxReplyBytes: 20_000 };

let fake: FakeEngine | undefined;

function engineAt(text: string): SpamEngine {
  const address = parseEngineAddress(text);
  const engine = createRspamdEngine({ address, clock: systemClock, ...limits, ...rspamdKnown });
  onTestFinished(() => engine.close());
  return engine;
}

async function rspamdThat(fault: Fault): Promise<SpamEngine> {
  fake = untilTestEnds(await startFakeRspamd(() => fault));
  return engineAt(fake.address);
}

async function judged(engine: SpamEngine, timeoutMs = 5_000) {
  return engine.ask(mail, { signal, timeoutMs });
}

const withNull = (name: string) => http({ ...reply(), [name]: null });
const without = (name: string) =>
  http(Object.fromEntries(Object.entries(reply()).filter(([key]) => key !== name)));
const cut = http(JSON.stringify(reply()).slice(0, -5));

describe("an rspamd that does not answer as it should", () => {
  it.each<[string, string, RegExp]>([
    ["speaks another protocol", "SPAMD/1.1 0 EX_OK\r\n\r\n", /rspamd's reply: HPE_/],
    ["answers no JSON", http("pong"), /no JSON: "pong"/],
    ["answers nothing", http(""), /no JSON: ""/],
    ["cuts its JSON off", cut, /no JSON/],
    ["answers a list", http([reply()]), /rspamd's reply/],
    ["answers an error with status 200", http({ error: "oops" }), /rspamd said 200: oops/],
    [
      "answers with an error next to a verdict",
      http({ ...reply(), error: "cannot scan" }),
      /rspamd said 200: cannot scan/,
    ],
    ["answers 500", http({ error: "bad" }, { status: "500 Internal" }), /rspamd said 500: bad/],
    ["answers 500 with a verdict", http(reply(), { status: "500 Internal" }), /rspamd said 500/],
    ["answers 403", http({ error: "denied" }, { status: "403 Forbidden" }), /rspamd said 403/],
    ["answers 204", "HTTP/1.1 204 No Content\r\n\r\n", /rspamd said 204/],
    ["says a score that is none", withNull("score"), /score/],
    ["says a score in words", http(reply({ score: "1.0" })), /score/],
    ["leaves out the score", without("score"), /score/],
    ["leaves out is_skipped", without("is_skipped"), /is_skipped/],
    ["leaves out the action", without("action"), /action/],
    ["says an action that we do not know", http(reply({ action: "wave" })), /action/],
    ["has symbols that are none", http(reply({ symbols: ["A"] })), /symbols/],
    ["has a symbol without points", http(reply({ symbols: { A: {} } })), /symbols/],
    ["says thresholds that are none", http(reply({ thresholds: { reject: "x" } })), /thresholds/],
    [
      "answers without end",
      http(reply({ "message-id": "x".repeat(30_000) })),
      /longer than the limit of 20000 bytes/,
    ],
    [
      "has an endless head",
      `HTTP/1.1 200 OK\r\nA: ${"x".repeat(70_000)}`,
      /rspamd's reply: HPE_HEADER_OVERFLOW/,
    ],
  ])("leaves the mail unchecked: engine-error if it %s", async (_, answer, detail) => {
    const judgement = await judged(await rspamdThat({ chunks: [answer], then: "hang" }));
    expect(judgement).toMatchObject({
      kind: "failed",
      reason: "engine-error",
      detail: expect.stringMatching(detail) as unknown,
    });
    expect(judgement).not.toHaveProperty("lost");
  });

  it.each<[string, Fault]>([
    ["says nothing and closes", { chunks: [], then: "close" }],
    ["closes within the status line", { chunks: ["HTTP/1.1 20"], then: "close" }],
    ["closes within the head", { chunks: ["HTTP/1.1 200 OK\r\nServer: rsp"], then: "close" }],
    ["closes within the body", { chunks: [http(reply()).slice(0, -1)], then: "close" }],
    ["resets the connection", { chunks: [http(reply()).slice(0, -10)], then: "reset" }],
  ])("leaves the mail unchecked, and is lost over it, if it %s", async (_, fault) => {
    expect(await judged(await rspamdThat(fault))).toMatchObject({
      kind: "failed",
      reason: "engine-error",
      lost: "died",
    });
  });

  it.each([
    ["413 Entity Too Large", "too-large"],
    ["429 Too Many Requests", "busy"],
    ["503 Service Unavailable", "busy"],
    ["404 Not Found", "engine-error"],
  ])("maps %s to %s", async (status, reason) => {
    const answer = http({ error: "sorry" }, { status });
    const judgement = await judged(await rspamdThat({ chunks: [answer], then: "close" }));
    expect(judgement).toMatchObject({ kind: "failed", reason });
  });

  it("leaves the mail unchecked: time-out if it is silent, slow to the end or drips", async () => {
    const whole = http(reply());
    const faults: Fault[] = [
      { chunks: [], then: "hang" },
      { chunks: [whole.slice(0, -1)], then: "hang" },
      { chunks: [whole.replace(/h: \d+/, "h: 15000")], then: "drip" },
    ];
    for (const fault of faults) {
      const judgement = await judged(await rspamdThat(fault), 100);
      expect(judgement).toMatchObject({ kind: "failed", reason: "time-out", lost: "time-out" });
      await expect.poll(() => fake?.open()).toBe(0);
      await fake?.close();
    }
  });

  it("stops immediately when its signal aborts", async () => {
    const engine = await rspamdThat({ chunks: [], then: "hang" });
    const controller = new AbortController();
    const asked = engine.ask(mail, { signal: controller.signal, timeoutMs: 5_000 });
    await expect.poll(() => fake?.requests.length).toBe(1);
    controller.abort(new Error("cancelled"));
    await expect(asked).rejects.toThrow("cancelled");
    await expect.poll(() => fake?.open()).toBe(0);
  });

  it("is engine-away if nothing listens", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    for (const address of [`127.0.0.1:${String(port)}`, "/nonexistent/rspamd.sock"]) {
      expect(await judged(engineAt(address))).toEqual({
        kind: "failed",
        reason: "engine-away",
        detail: expect.stringMatching(/^no connection to rspamd: E/) as unknown,
      });
    }
  });

  it("does not wait for the close once the reply is whole", async () => {
    const judgement = await judged(await rspamdThat({ chunks: [http(reply())], then: "hang" }));
    expect(findingOf(judgement)).toMatchObject({ kind: "ham" });
  });
});

describe("an rspamd behind a proxy that keeps connections", () => {
  it("is asked again and again on one connection", async () => {
    fake = untilTestEnds(await startKeepingRspamd());
    const engine = engineAt(fake.address);
    for (let n = 0; n < 5; n += 1) expect(findingOf(await judged(engine)).kind).toBe("ham");
    expect(fake.mostOpen()).toBe(1);
  });

  it("gets a mail again that met a connection that it was just closing", async () => {
    let broken = 0;
    fake = untilTestEnds(
      await startKeepingRspamd((request) => {
        if (fake?.requests.indexOf(request) !== 1) return undefined;
        broken += 1;
        return { chunks: [], then: "close" };
      }),
    );
    const engine = engineAt(fake.address);
    expect(findingOf(await judged(engine)).kind).toBe("ham");
    expect(findingOf(await judged(engine)).kind).toBe("ham");
    expect(broken).toBe(1);
  });

  it("is lost over a mail for which it closes a new connection too", async () => {
    fake = untilTestEnds(
      await startKeepingRspamd((request) =>
        fake?.requests.indexOf(request) === 0 ? undefined : { chunks: [], then: "close" },
      ),
    );
    const engine = engineAt(fake.address);
    expect(findingOf(await judged(engine)).kind).toBe("ham");
    expect(await judged(engine)).toMatchObject({ reason: "engine-error", lost: "died" });
    expect(fake.requests).toHaveLength(3);
  });
});
