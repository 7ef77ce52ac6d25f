import type { Socket } from "node:net";
import { connectTo, type EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import type { EngineFailure } from "@rs-agent/shared/engines/engine-client.ts";
import { failureOf } from "./exit-codes.ts";
import { ReplyReader, type Reading, type SpamdReply } from "./reply.ts";
import { encodeRequest, type RequestOptions } from "./request.ts";

export interface ExchangeLimits {
  /** Milliseconds for everything: connecting, sending, spamd's work, its reply. */
  timeoutMs: number;
  /** How many of these a connection may take. */
  connectTimeoutMs: number;
  /** The longest body of a reply, in bytes. */
  maxReplyBytes: number;
}

type Outcome = { kind: "reply"; reply: SpamdReply } | EngineFailure;

/**
 * One request on a connection of its own, as the protocol has it. Everything that spamd or the
 * network can do is returned as a value (a status code other than EX_OK too); an aborted `signal`
 * throws its reason.
 */
export async function exchange(
  address: EngineAddress,
  request: RequestOptions,
  limits: ExchangeLimits,
  signal: AbortSignal,
): Promise<Outcome> {
  signal.throwIfAborted();
  const pieces = encodeRequest(request);
  const socket = connectTo(address);
  try {
    const reader = new ReplyReader(request.method, limits.maxReplyBytes);
    return await converse(socket, pieces, reader, limits, signal);
  } finally {
    socket.destroy();
  }
}

function converse(
  socket: Socket,
  pieces: readonly Buffer[],
  reader: ReplyReader,
  limits: ExchangeLimits,
  signal: AbortSignal,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    let connected = false;
    const abort = () => settle(() => reject(signal.reason as Error));
    const fail = (
      reason: EngineFailure["reason"],
      detail: string,
      lost?: EngineFailure["lost"],
    ) => {
      const failure: EngineFailure = { kind: "failed", reason, detail };
      settle(() => resolve(lost === undefined ? failure : { ...failure, lost }));
    };
    const take = (reading: Reading, lost?: EngineFailure["lost"]) => {
      if (reading.kind === "garbled") {
        fail("engine-error", `spamd's reply: ${reading.detail}`, lost);
      }
      if (reading.kind === "reply") settle(() => resolve(outcomeOf(reading.reply)));
    };
    const connectTimer = setTimeout(() => {
      fail("engine-away", `no connection to spamd within ${limits.connectTimeoutMs} ms`);
    }, limits.connectTimeoutMs);
    const deadline = setTimeout(() => {
      if (connected)
        fail("time-out", `no reply from spamd within ${limits.timeoutMs} ms`, "time-out");
      else fail("engine-away", `no connection to spamd within ${limits.timeoutMs} ms`);
    }, limits.timeoutMs);
    const settle = (how: () => void) => {
      clearTimeout(connectTimer);
      clearTimeout(deadline);
      signal.removeEventListener("abort", abort);
      socket.removeAllListeners("data");
      how();
    };
    signal.addEventListener("abort", abort, { once: true });
    socket.once("connect", () => {
      connected = true;
      clearTimeout(connectTimer);
    });
    // Stays as long as the socket: a reset may still come after the reply.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      const what = error.code ?? error.message;
      if (connected) fail("engine-error", `the connection to spamd broke: ${what}`, "died");
      else fail("engine-away", `no connection to spamd: ${what}`);
    });
    socket.on("data", (chunk: Buffer) => take(reader.push(chunk)));
    socket.once("end", () => take(reader.end(), "died"));
    send(socket, pieces);
  });
}

/** Sends all of it and then half-closes, as spamc does: spamd sees the end even if it miscounts. */
function send(socket: Socket, pieces: readonly Buffer[]): void {
  socket.cork();
  for (const piece of pieces) socket.write(piece);
  socket.end();
  socket.uncork();
}

function outcomeOf(reply: SpamdReply): Outcome {
  return reply.code === 0 ? { kind: "reply", reply } : failureOf(reply.code, reply.message);
}
