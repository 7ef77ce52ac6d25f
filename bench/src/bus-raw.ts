import { once } from "node:events";
import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { performance } from "node:perf_hooks";
import { Pull, Push } from "zeromq";

/**
 * What one raw round sends: how many times the frames of a task, and how many are unanswered at
 * once.
 */
export interface RawRound {
  head: Buffer;
  mail: Buffer;
  count: number;
  inFlight: number;
}

/** A child process that answers each two-frame message with one small frame. */
export interface RawPeer {
  /** Messages answered per second in one round. */
  round(round: RawRound): Promise<number>;
  close(): Promise<void>;
}

/** Bytes of the answer: about the size of a `clean` result. */
const replyBytes = 150;

/**
 * The yardstick of `bench/bus`: PUSH and PULL over TCP loopback to another process and back, with
 * none of our code in between.
 */
export async function openRawPeer(): Promise<RawPeer> {
  const pull = new Pull();
  await pull.bind("tcp://127.0.0.1:*");
  const child = spawn(
    process.execPath,
    [
      fileURLToPath(new URL("raw-echo.ts", import.meta.url)),
      String(pull.lastEndpoint),
      String(replyBytes),
    ],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const push = new Push({ linger: 0, immediate: true });
  push.connect(await firstLine(child));
  return {
    round: (round) => measure(push, pull, round),
    async close() {
      push.close();
      pull.close();
      child.stdin.end();
      await once(child, "exit");
    },
  };
}

async function measure(push: Push, pull: Pull, round: RawRound): Promise<number> {
  const frames = [round.head, round.mail];
  const startMs = performance.now();
  let sent = 0;
  const first = Math.min(round.inFlight, round.count);
  for (; sent < first; sent += 1) await push.send(frames);
  for (let answered = 0; answered < round.count; answered += 1) {
    await pull.receive();
    if (sent < round.count) {
      sent += 1;
      await push.send(frames);
    }
  }
  return (round.count * 1000) / (performance.now() - startMs);
}

/** The first line that a child writes to its standard output. */
export async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error("the child has no standard output to read from");
  for await (const line of createInterface(child.stdout)) return line;
  throw new Error("the child ended without a word");
}
