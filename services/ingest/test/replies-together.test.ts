import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import {
  anna,
  ben,
  closeTestIngests,
  startTestIngest,
  stranger,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";
const envelope = `MAIL FROM:<${stranger}>\r\nRCPT TO:<${anna}>\r\nDATA\r\n`;

let running: RunningIngest;
beforeAll(async () => {
  running = await startTestIngest();
});
afterAll(closeTestIngests);

/** A session, and the number of writes that the server has made to its socket since it was opened. */
async function open(address: string, hello = "EHLO") {
  const sockets: Socket[] = [];
  const note = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
  subscribe("net.server.socket", note);
  const client = await SmtpDialogue.open(address, undefined, hello);
  unsubscribe("net.server.socket", note);
  onTestFinished(() => client.close());
  const spies = sockets.flatMap((socket) => [
    vi.spyOn(socket, "_write"),
    vi.spyOn(socket, "_writev" as "_write"),
  ]);
  expect(spies).toHaveLength(2);
  return { client, writes: () => spies.reduce((sum, spy) => sum + spy.mock.calls.length, 0) };
}

async function codes(client: SmtpDialogue, count: number): Promise<number[]> {
  const found: number[] = [];
  while (found.length < count) found.push((await client.reply()).code);
  return found;
}

describe("replies", () => {
  it("to pipelined commands leave in one write, with those before and after a mail", async () => {
    const { client, writes } = await open(running.smtp);
    client.send(envelope);
    expect(await codes(client, 3)).toEqual([250, 250, 354]);
    expect(writes()).toBe(1);
    client.send(`${mail}.\r\n${envelope}${mail}.\r\n`);
    expect(await codes(client, 5)).toEqual([250, 250, 250, 354, 250]);
    expect(writes()).toBe(3);
  });

  it("leave one by one if the client waits for each", async () => {
    const { client, writes } = await open(running.smtp);
    await client.begin(stranger, [anna, ben]);
    expect(writes()).toBe(4);
  });

  it("to the last commands leave before the session ends", async () => {
    const { client, writes } = await open(running.smtp);
    client.send("NOOP\r\nRSET\r\nQUIT\r\nNOOP\r\n");
    expect(await codes(client, 4)).toEqual([250, 250, 221, 0]);
    expect(writes()).toBe(1);
  });

  it("of LMTP to one mail leave together", async () => {
    const { client, writes } = await open(running.lmtp, "LHLO");
    await client.begin(stranger, [anna, ben]);
    const before = writes();
    client.send(`${mail}.\r\n`);
    expect(await codes(client, 2)).toEqual([250, 250]);
    expect(writes()).toBe(before + 1);
  });
});
