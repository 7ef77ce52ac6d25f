import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startIngestProcess, type IngestProcess } from "./ingest-process.ts";
import { anna, closeTestIngests, startTestIngest, stranger } from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";
/** How long a test waits on a machine that is busy with other work; the times are printed. */
const patienceMs = 5_000;

/** Sends a text byte by byte for as long as anybody listens. */
function trickle(client: SmtpDialogue, text: string, everyMs: number): { stop(): void } {
  let at = 0;
  const timer = setInterval(() => {
    client.send(text.charAt(at % text.length));
    at += 1;
  }, everyMs);
  return { stop: () => clearInterval(timer) };
}

async function delivered(address: string): Promise<number> {
  const begun = performance.now();
  const client = await SmtpDialogue.open(address);
  expect(await client.deliver(stranger, [anna], mail)).toMatch(/^250 2\.0\.0 /);
  client.close();
  return performance.now() - begun;
}

describe("a client that trickles", () => {
  afterEach(closeTestIngests);

  it.each(["in its first command", "between two transactions"])(
    "%s is disconnected when its time for one command is over",
    async (when) => {
      const running = await startTestIngest({ env: { INGEST_IDLE_TIMEOUT_MS: "1000" } });
      using slow = await SmtpDialogue.connect(running.smtp);
      await slow.reply();
      if (when !== "in its first command") {
        await slow.say("EHLO slow.test");
        await slow.deliver(stranger, [anna], mail);
      }
      const dripping = trickle(slow, "x", 50);
      expect(await slow.reply()).toEqual({
        code: 421,
        lines: ["4.4.2 no command came in time, closing connection"],
      });
      await slow.closed();
      dripping.stop();
    },
  );

  it("in DATA is disconnected when its time is over, and nothing of its mail is kept (I1)", async () => {
    const running = await startTestIngest({
      env: { INGEST_IDLE_TIMEOUT_MS: "1000", INGEST_DATA_TIMEOUT_MS: "1500" },
    });
    const slow = await SmtpDialogue.open(running.smtp);
    await slow.begin(stranger, [anna]);
    const dripping = trickle(slow, "Subject: slow\r\n\r\nslow\r\n", 20);
    expect((await slow.reply()).lines).toEqual([
      "4.4.2 the mail did not arrive in time, closing connection",
    ]);
    await slow.closed();
    dripping.stop();
    slow.close();
    expect((await running.database.mails.countOutcomes()).accepted).toBe(0);
    await delivered(running.smtp);
  });

  it("command after command, for longer than one may take, is served", async () => {
    const running = await startTestIngest({ env: { INGEST_IDLE_TIMEOUT_MS: "1000" } });
    using client = await SmtpDialogue.open(running.smtp);
    for (let turn = 0; turn < 8; turn += 1) {
      expect(await client.say("NOOP")).toMatch(/^250 /);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(await client.deliver(stranger, [anna], mail)).toMatch(/^250 /);
  });
});

describe("next to many clients", () => {
  let ingest: IngestProcess;
  beforeAll(async () => {
    ingest = await startIngestProcess();
    for (let warm = 0; warm < 20; warm += 1) await delivered(ingest.smtp);
  });
  afterAll(() => ingest.stop());

  it("that are slow, 200 of them, a good mail gets its 250 immediately", async () => {
    const clients = await Promise.all(
      Array.from({ length: 200 }, () => SmtpDialogue.open(ingest.smtp)),
    );
    const inData = clients.slice(0, 100);
    await Promise.all(inData.map((client) => client.begin(stranger, [anna])));
    const dripping = clients.map((client, at) =>
      trickle(client, at < 100 ? "Subject: slow\r\n" : "EHLO slow.test", 200),
    );
    const times: number[] = [];
    for (let turn = 0; turn < 10; turn += 1) times.push(await delivered(ingest.smtp));
    console.info(`250 beside 200 slow clients: at most ${Math.max(...times).toFixed(0)} ms`);
    expect(Math.max(...times)).toBeLessThan(patienceMs);
    for (const each of dripping) each.stop();
    for (const client of clients) client.close();
  });

  it("500 at once are all served, in bounded memory", async () => {
    const before = ingest.rssMb();
    const { accepted } = await ingest.database.mails.countOutcomes();
    const begun = performance.now();
    const replies = await Promise.all(
      Array.from({ length: 500 }, async () => {
        const client = await SmtpDialogue.open(ingest.smtp);
        const reply = await client.deliver(stranger, [anna], mail);
        client.close();
        return reply;
      }),
    );
    const ms = performance.now() - begun;
    const grownMb = ingest.rssMb() - before;
    console.info(`500 at once: ${ms.toFixed(0)} ms, ${grownMb.toFixed(0)} MB more`);
    expect(replies.filter((reply) => !/^250 2\.0\.0 /.test(reply))).toEqual([]);
    expect((await ingest.database.mails.countOutcomes()).accepted).toBe(accepted + 500);
    expect(grownMb).toBeLessThan(200);
    expect(await delivered(ingest.smtp)).toBeLessThan(patienceMs);
  });

  it("over the limit, new ones get 421, and those inside go on", async () => {
    const small = await startIngestProcess({ INGEST_MAX_CONNECTIONS: "100" });
    const inside = await SmtpDialogue.open(small.smtp);
    const crowd = await Promise.all(
      Array.from({ length: 500 }, () => SmtpDialogue.connect(small.smtp)),
    );
    const codes = await Promise.all(crowd.map(async (each) => (await each.reply()).code));
    expect(codes.filter((code) => code === 220)).toHaveLength(99);
    expect(codes.filter((code) => code === 421)).toHaveLength(401);
    expect(await inside.deliver(stranger, [anna], mail)).toMatch(/^250 /);
    for (const each of [inside, ...crowd]) each.close();
    await small.stop();
  });
});
