import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { createSpamdClient, type SpamdClient } from "../src/spamd/client.ts";
import { judge } from "../src/spamd/judge.ts";
import { findingOf } from "./engine-kit.ts";
import type { FakeEngine, Fault } from "./fake-engine.ts";
import { startFakeSpamd } from "./fake-spamd.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const signal = new AbortController().signal;
const mail = [Buffer.from("Subject: x\r\n\r\nx\r\n")];
const limits = { timeoutMs: 5_000, connectTimeoutMs: 1_000, maxReplyBytes: 20_000 };

let fake: FakeEngine | undefined;

async function spamdThat(fault: Fault, more: Partial<typeof limits> = {}): Promise<SpamdClient> {
  fake = untilTestEnds(await startFakeSpamd(() => fault));
  return createSpamdClient({ address: parseEngineAddress(fake.address), ...limits, ...more });
}

async function judged(client: SpamdClient, detail: "report" | "symbols", timeoutMs = 5_000) {
  return findingOf(await judge(client, mail, detail, { signal, timeoutMs, clock: systemClock }));
}

const ok = (body: string, score = "False ; 0.0 / 5.0") =>
  `SPAMD/1.1 0 EX_OK\r\nContent-length: ${body.length}\r\nSpam: ${score}\r\n\r\n${body}`;

describe("a spamd that does not answer as it should", () => {
  it.each<[string, Fault]>([
    ["says nothing and closes", { chunks: [], then: "close" }],
    ["closes within the status line", { chunks: ["SPAMD/1.1 0"], then: "close" }],
    ["closes within the body", { chunks: [ok("A,B").slice(0, -1)], then: "close" }],
    ["resets the connection", { chunks: [ok("A,B").slice(0, 10)], then: "reset" }],
    ["speaks HTTP", { chunks: ["HTTP/1.1 200 OK\r\n\r\n"], then: "close" }],
    [
      "has no Spam header",
      { chunks: ["SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\n\r\n"], then: "close" },
    ],
    [
      "gives a score that is not a number",
      { chunks: [ok("A", "False ; nan / 5.0")], then: "close" },
    ],
    ["contradicts itself", { chunks: [ok("A", "False ; 50.0 / 5.0")], then: "close" }],
    ["names rules that are none", { chunks: [ok("no rules, at all!")], then: "close" }],
    ["sends more than it says", { chunks: [ok("A") + "B"], then: "close" }],
    [
      "never ends its head",
      { chunks: ["SPAMD/1.1 0 EX_OK\r\nA: " + "x".repeat(70_000)], then: "hang" },
    ],
    ["says that an over-long body follows", { chunks: [ok("A".repeat(20_001))], then: "hang" }],
    ["answers EX_SOFTWARE", { chunks: ["SPAMD/1.0 70 EX_SOFTWARE\r\n"], then: "close" }],
    ["answers a code of its own", { chunks: ["SPAMD/1.0 199 WHAT\r\n"], then: "close" }],
  ])("leaves the mail unchecked: engine-error if it %s", async (_, fault) => {
    const client = await spamdThat(fault);
    expect(await judged(client, "symbols")).toMatchObject({
      kind: "unchecked",
      reason: "engine-error",
    });
  });

  it.each([
    ["75 EX_TEMPFAIL", "busy"],
    ["71 EX_OSERR", "busy"],
    ["79 Timeout: (300 second timeout while trying to CHECK)", "time-out"],
    ["69 Service Unavailable: x", "engine-away"],
    ["65 EX_DATAERR", "malformed"],
    ["76 Bad header line: x", "engine-error"],
  ])("maps %s to %s", async (line, reason) => {
    const client = await spamdThat({ chunks: [`SPAMD/1.0 ${line}\r\n`], then: "close" });
    expect(await judged(client, "symbols")).toMatchObject({ kind: "unchecked", reason });
  });

  it("leaves the mail unchecked: time-out if it is silent or slow to the end", async () => {
    const silent = await spamdThat({ chunks: [], then: "hang" });
    expect(await judged(silent, "symbols", 80)).toMatchObject({ reason: "time-out" });
    await fake?.close();
    const half = await spamdThat({ chunks: [ok("A,B").slice(0, -1)], then: "hang" });
    expect(await judged(half, "symbols", 80)).toMatchObject({ reason: "time-out" });
  });

  it("gets one deadline per request, and no connection after it, however it drips", async () => {
    const client = await spamdThat({ chunks: [ok("A".repeat(10_000)).slice(0, 80)], then: "drip" });
    expect(await judged(client, "symbols", 80)).toMatchObject({ reason: "time-out" });
    await expect.poll(() => fake?.open()).toBe(0);
  });

  it("stops immediately when its signal aborts", async () => {
    const client = await spamdThat({ chunks: [], then: "hang" });
    const controller = new AbortController();
    const asked = client.check(mail, { signal: controller.signal });
    controller.abort(new Error("cancelled"));
    await expect(asked).rejects.toThrow("cancelled");
  });

  it("is engine-away if nothing listens", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    const client = createSpamdClient({
      address: parseEngineAddress(`127.0.0.1:${port}`),
      ...limits,
    });
    expect(await judged(client, "symbols")).toMatchObject({ reason: "engine-away" });
  });

  it("is engine-away if its unix socket is not there", async () => {
    const client = createSpamdClient({
      address: parseEngineAddress("/nonexistent/spamd.sock"),
      ...limits,
    });
    expect(await judged(client, "symbols")).toMatchObject({ reason: "engine-away" });
  });

  it("does not wait for the close once the reply is whole", async () => {
    const client = await spamdThat({ chunks: [ok("A")], then: "hang" });
    expect(await judged(client, "symbols")).toMatchObject({ kind: "ham", rules: [{ name: "A" }] });
  });

  it("is never asked with a user name that would smuggle in a header", async () => {
    const client = await spamdThat({ chunks: [ok("A")], then: "close" });
    const asked = client.symbols(mail, { signal, user: "a\r\nContent-length: 0" });
    await expect(asked).rejects.toMatchObject({ code: "SPAM_ENGINE_ERROR" });
    expect(fake?.requests).toEqual([]);
  });
});

describe("a spamd that ran out of time", () => {
  const ruler = "---- ---------------------- ------------------------------";

  it("leaves the mail unchecked: time-out, whatever the score (SYMBOLS)", async () => {
    const client = await spamdThat({
      chunks: [ok("RDNS_NONE,TIME_LIMIT_EXCEEDED")],
      then: "close",
    });
    expect(await judged(client, "symbols")).toMatchObject({
      kind: "unchecked",
      reason: "time-out",
    });
  });

  it("leaves the mail unchecked: time-out, whatever the score (REPORT)", async () => {
    const report = `${ruler}\n 0.0 TIME_LIMIT_EXCEEDED    Exceeded time limit / deadline\n\n`;
    const client = await spamdThat({ chunks: [ok(report)], then: "close" });
    expect(await judged(client, "report")).toMatchObject({ kind: "unchecked", reason: "time-out" });
  });

  it("is found by SYMBOLS if the site's report has no table", async () => {
    await using fake = await startFakeSpamd(({ method }) => ({
      chunks: [ok(method === "REPORT" ? "All is well.\n" : "TIME_LIMIT_EXCEEDED")],
      then: "close",
    }));
    const client = createSpamdClient({ address: parseEngineAddress(fake.address), ...limits });
    expect(await judged(client, "report")).toMatchObject({ kind: "unchecked", reason: "time-out" });
    expect(fake.requests.map(({ method }) => method)).toEqual(["REPORT", "SYMBOLS"]);
  });
});
