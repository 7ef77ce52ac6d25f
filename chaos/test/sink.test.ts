import { createTransport } from "nodemailer";
import { expect, it, onTestFinished } from "vitest";
import { startSink, type Sink } from "../src/sink.ts";

const seed = 1;

async function start() {
  const inspected: Buffer[] = [];
  const sink = await startSink({
    seed,
    finalTimeoutMs: 100,
    inspect: (_copy, raw) => {
      inspected.push(raw);
      return Promise.resolve();
    },
  });
  onTestFinished(() => sink.stop());
  return { sink, inspected };
}

/** The reply's first line, or what became of the connection. */
async function send(sink: Sink, to: string): Promise<string> {
  const [host = "", port] = sink.address.split(":");
  const transport = createTransport({ host, port: Number(port), ignoreTLS: true });
  const raw = `Received: from x\r\n\tby y (rs-agent) with SMTP id abc123; now\r\nSubject: x\r\n\r\nbody\r\n`;
  try {
    const { response } = await transport.sendMail({
      envelope: { from: "from.1@a.example", to },
      raw,
    });
    return response;
  } catch (error) {
    const { response, code } = error as { response?: string; code?: string };
    return response ?? code ?? "?";
  } finally {
    transport.close();
  }
}

it("keeps what it takes, with the id in our Received field", async () => {
  const { sink, inspected } = await start();
  const replies: string[] = [];
  // At most two troubles: the third transaction of a mail goes through.
  for (let turn = 0; turn < 3; turn += 1)
    replies.push(await send(sink, "to.0@north.chaos.example"));
  expect(replies.at(-1)).toBe("250 2.0.0 kept");
  expect(sink.copies.at(-1)).toMatchObject({ mailId: "abc123", number: 0, isReport: false });
  expect(inspected.at(-1)?.toString()).toContain("body\r\n");
});

it("refuses by the recipient's name: before the mail, or after it", async () => {
  const { sink } = await start();
  expect(await send(sink, "refused.1@north.chaos.example")).toMatch(/^550 5\.1\.1/);
  const replies: string[] = [];
  for (let turn = 0; turn < 3; turn += 1) replies.push(await send(sink, "rejected.2@a.example"));
  expect(replies.at(-1)).toMatch(/^554 5\.7\.1/);
  expect(sink.copies).toEqual([]);
});

it("fails in every way that it knows, and counts what it left unfinished", async () => {
  const { sink } = await start();
  await Promise.all(
    Array.from({ length: 150 }, (_, number) => send(sink, `to.${number}@north.chaos.example`)),
  );
  expect([...sink.troubles.keys()].sort()).toEqual([
    "busy",
    "defer-mail",
    "defer-recipient",
    "drop-in-body",
    "drop-kept",
    "drop-unkept",
    "slow",
    "too-late",
  ]);
  const dropped = ["drop-in-body", "drop-kept", "drop-unkept"].map(
    (name) => sink.troubles.get(name) ?? 0,
  );
  await expect
    .poll(() => sink.unfinished)
    .toBeGreaterThanOrEqual(dropped.reduce((sum, count) => sum + count, 0));
});
