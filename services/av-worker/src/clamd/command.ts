import { RetryableError, messageOf } from "@rs-agent/shared/errors.ts";
import { connectTo, type EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { ReplyReader } from "./reply-reader.ts";
import { parseVersion } from "./version.ts";
import { quote } from "./replies.ts";
import type { Engine } from "@rs-agent/shared/checks/finding.ts";

/** Large enough for STATS, which lists clamd's whole queue. */
const maxReplyChars = 256 * 1024;

/**
 * Sends one command on a connection of its own (clamd(8) without a session). Resolves to all
 * replies until clamd closes; CONTSCAN may send many.
 * @throws RetryableError AV_ENGINE_AWAY (no connection, or no answer), AV_TIMEOUT (the signal),
 *   AV_ENGINE_ERROR (a reply without its end, or one that is too long)
 */
export function ask(
  address: EngineAddress,
  command: string,
  options: { signal: AbortSignal; onReply?: (reply: string) => void },
): Promise<string[]> {
  const { signal, onReply } = options;
  return new Promise((resolve, reject) => {
    const replies: string[] = [];
    const reader = new ReplyReader(maxReplyChars);
    const socket = connectTo(address);
    const name = command.split(" ", 1)[0] ?? "";
    const fail = (error: RetryableError) => {
      reject(error);
      socket.destroy();
    };
    const abort = () => {
      fail(new RetryableError("AV_TIMEOUT", `clamd at ${address.text} did not answer ${name}`));
    };
    socket.on("connect", () => socket.write(`z${command}\0`));
    socket.on("data", (chunk) => {
      for (const reply of reader.push(chunk)) {
        replies.push(reply);
        onReply?.(reply);
      }
      if (reader.isTooLong) fail(engineError(address, name, "a reply without an end"));
    });
    socket.on("error", (error) => {
      const text = `clamd at ${address.text}: ${messageOf(error)}`;
      fail(new RetryableError("AV_ENGINE_AWAY", text, { cause: error }));
    });
    socket.on("close", () => {
      signal.removeEventListener("abort", abort);
      if (reader.hasPartial) fail(engineError(address, name, quote(reader.partial)));
      else if (replies.length > 0) resolve(replies);
      else fail(new RetryableError("AV_ENGINE_AWAY", `clamd at ${address.text} closed on ${name}`));
    });
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
  });
}

function engineError(address: EngineAddress, command: string, what: string): RetryableError {
  const text = `clamd at ${address.text} answered ${command} with ${what}`;
  return new RetryableError("AV_ENGINE_ERROR", text);
}

async function askOne(address: EngineAddress, command: string, signal: AbortSignal) {
  const [reply, ...more] = await ask(address, command, { signal });
  if (reply === undefined || more.length > 0) {
    throw engineError(address, command, `${more.length + 1} replies`);
  }
  return reply;
}

async function expect(
  address: EngineAddress,
  command: string,
  wanted: string,
  signal: AbortSignal,
) {
  const reply = await askOne(address, command, signal);
  if (reply !== wanted) throw engineError(address, command, quote(reply));
}

/** PING; errors as `ask`, and AV_ENGINE_ERROR for anything but PONG. */
export function ping(address: EngineAddress, signal: AbortSignal): Promise<void> {
  return expect(address, "PING", "PONG", signal);
}

/** RELOAD: clamd begins to load its signatures again; it goes on scanning with the old ones. */
export function reload(address: EngineAddress, signal: AbortSignal): Promise<void> {
  return expect(address, "RELOAD", "RELOADING", signal);
}

/** STATS, as clamd words it ("the exact reply format is subject to change"). */
export async function stats(address: EngineAddress, signal: AbortSignal): Promise<string> {
  const reply = await askOne(address, "STATS", signal);
  if (!reply.endsWith("END")) throw engineError(address, "STATS", quote(reply));
  return reply;
}

/** VERSION, as text and parsed. */
export async function version(
  address: EngineAddress,
  signal: AbortSignal,
): Promise<{ text: string; engine: Engine }> {
  const text = await askOne(address, "VERSION", signal);
  const engine = parseVersion(text);
  if (engine === undefined) throw engineError(address, "VERSION", quote(text));
  return { text, engine };
}
