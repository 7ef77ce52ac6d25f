import { request, type Agent, type ClientRequest, type IncomingMessage } from "node:http";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import type { EngineFailure } from "@rs-agent/shared/engines/engine-client.ts";
import type { RequestHeaders } from "./request.ts";

export interface ExchangeLimits {
  /** Milliseconds for everything: connecting, sending, rspamd's work, its reply. */
  timeoutMs: number;
  /** How many of these a connection may take. */
  connectTimeoutMs: number;
  /** The longest body of a reply, in bytes. */
  maxReplyBytes: number;
}

export interface HttpQuestion {
  address: EngineAddress;
  path: string;
  headers: RequestHeaders;
  body: Buffer;
  /** Keeps connections between mails if the other side does. */
  agent: Agent;
}

export interface HttpReply {
  kind: "reply";
  status: number;
  /** The `Server` field: `rspamd/3.4`. */
  server: string;
  body: Buffer;
}

/**
 * One POST. Everything that rspamd or the network can do is returned as a value (a status other
 * than 200 too); an aborted `signal` throws its reason. A kept connection that the other side was
 * just closing says nothing about the mail, which is tried once more on a new one.
 */
export async function exchange(
  question: HttpQuestion,
  limits: ExchangeLimits,
  signal: AbortSignal,
): Promise<HttpReply | EngineFailure> {
  signal.throwIfAborted();
  const outcome = await converse(question, limits, signal);
  if (outcome.kind !== "stale") return outcome;
  const again = await converse({ ...question, agent: undefined }, limits, signal);
  return again.kind === "stale" ? broken("closed before it answered") : again;
}

type Conversation = HttpReply | EngineFailure | { kind: "stale" };

function converse(
  {
    address,
    path,
    headers,
    body,
    agent,
  }: Omit<HttpQuestion, "agent"> & { agent?: Agent | undefined },
  limits: ExchangeLimits,
  signal: AbortSignal,
): Promise<Conversation> {
  const { promise, resolve, reject } = Promise.withResolvers<Conversation>();
  let connected = false;
  let answered = false;
  const where =
    address.kind === "tcp"
      ? { host: address.host, port: address.port, noDelay: true }
      : { socketPath: address.path };
  const asked = request({ ...where, method: "POST", path, headers, agent: agent ?? false });

  const settle = (conversation: Conversation) => {
    clearTimeout(connectTimer);
    clearTimeout(deadline);
    signal.removeEventListener("abort", abort);
    resolve(conversation);
    if (conversation.kind !== "reply") asked.destroy();
  };
  const abort = () => {
    reject(signal.reason as Error);
    settle({ kind: "stale" });
  };
  const connectTimer = setTimeout(() => {
    settle(away(`within ${String(limits.connectTimeoutMs)} ms`));
  }, limits.connectTimeoutMs);
  const deadline = setTimeout(() => {
    if (!connected) settle(away(`within ${String(limits.timeoutMs)} ms`));
    else settle(late(limits.timeoutMs));
  }, limits.timeoutMs);
  signal.addEventListener("abort", abort, { once: true });

  whenConnected(asked, () => {
    connected = true;
    clearTimeout(connectTimer);
  });
  // Stays as long as the request: a reset may still come after the reply.
  asked.on("error", (error: NodeJS.ErrnoException) => {
    const what = error.code ?? error.message;
    if (!connected) settle(away(`: ${what}`));
    else if (what.startsWith("HPE_")) settle(garbled(what));
    else if (asked.reusedSocket && !answered) settle({ kind: "stale" });
    else settle(broken(what));
  });
  asked.on("response", (response) => {
    answered = true;
    read(response, limits.maxReplyBytes).then(settle, (error: unknown) => {
      const { code, message } = error as NodeJS.ErrnoException;
      settle(broken(code ?? message));
    });
  });
  asked.end(body);
  return promise;
}

function whenConnected(asked: ClientRequest, run: () => void): void {
  asked.once("socket", (socket) => {
    if (socket.connecting) socket.once("connect", run);
    else run();
  });
}

/** Rejects if the connection breaks before the reply is whole. */
async function read(
  response: IncomingMessage,
  maxBytes: number,
): Promise<HttpReply | EngineFailure> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) return garbled(`longer than the limit of ${String(maxBytes)} bytes`);
    chunks.push(chunk);
  }
  return {
    kind: "reply",
    status: response.statusCode ?? 0,
    server: [response.headers["server"] ?? ""].flat()[0] ?? "",
    body: Buffer.concat(chunks),
  };
}

function away(how: string): EngineFailure {
  const detail = `no connection to rspamd${how.startsWith(":") ? "" : " "}${how}`;
  return { kind: "failed", reason: "engine-away", detail };
}

function late(timeoutMs: number): EngineFailure {
  const detail = `no reply from rspamd within ${String(timeoutMs)} ms`;
  return { kind: "failed", reason: "time-out", detail, lost: "time-out" };
}

function broken(what: string): EngineFailure {
  const detail = `the connection to rspamd broke: ${what}`;
  return { kind: "failed", reason: "engine-error", detail, lost: "died" };
}

function garbled(what: string): EngineFailure {
  return { kind: "failed", reason: "engine-error", detail: `rspamd's reply: ${what}` };
}
