import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { messageOf, TerminalError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import type { HealthPart } from "./health-part.ts";
import type { ListenAddress } from "./listen-address.ts";
import type { Metrics } from "./metrics.ts";

export interface HealthServerDeps {
  listen: ListenAddress;
  /** `av-worker`, `relay`, … */
  service: string;
  parts: readonly HealthPart[];
  metrics: Metrics;
  log: Logger;
}

export interface HealthServer {
  /** `host:port` as it listens. */
  readonly address: string;
  close(): Promise<void>;
}

/** What `/readyz` answers. */
export interface Readiness {
  service: string;
  ready: boolean;
  notReady: { part: string; reason: string }[];
  warnings: { part: string; reason: string }[];
}

/** A prober, a scraper and a person with curl need few connections and little time. */
const maxConnections = 64;
const requestWithinMs = 5_000;
const idleMs = 60_000;
const maxHeaderBytes = 8_192;

interface Answer {
  status: number;
  type: string;
  text: string;
}

/**
 * Serves `/healthz` (only: the event loop turns), `/readyz` and `/metrics`. Three answers without
 * parameters or bodies: Node's own server is enough, a framework would only be one more part.
 * @throws TerminalError HEALTH_LISTEN
 */
export async function openHealthServer(deps: HealthServerDeps): Promise<HealthServer> {
  const { listen, service, log } = deps;
  const server = createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: requestWithinMs,
      requestTimeout: requestWithinMs,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: idleMs,
    },
    (request, response) => void respond(deps, request, response),
  );
  server.maxConnections = maxConnections;
  server.listen(listen.port, listen.host);
  try {
    await once(server, "listening");
  } catch (error) {
    const text = `HEALTH_HTTP ${listen.host}:${listen.port}: ${messageOf(error)}`;
    throw new TerminalError("HEALTH_LISTEN", text, { cause: error });
  }
  // After the start, errors are about single connections, which are dropped.
  server.on("error", (error) => log.debug({ err: error }, "health server"));
  const { port } = server.address() as AddressInfo;
  const address = `${listen.host.includes(":") ? `[${listen.host}]` : listen.host}:${port}`;
  log.info({ http: address, service }, "health is served");
  return {
    address,
    async close() {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function respond(
  deps: HealthServerDeps,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const isRead = request.method === "GET" || request.method === "HEAD";
  const answer = isRead
    ? await answerTo(deps, request.url ?? "")
    : refusal(405, "GET or HEAD only");
  response.statusCode = answer.status;
  response.setHeader("Content-Type", answer.type);
  response.setHeader("Cache-Control", "no-store");
  if (answer.status === 405) response.setHeader("Allow", "GET, HEAD");
  // A connection that asks for something unknown, or sends a body, is closed: nothing more is read
  // from it.
  const hasBody = request.headers["content-length"] ?? request.headers["transfer-encoding"];
  if (answer.status >= 400 && answer.status !== 503) response.setHeader("Connection", "close");
  if (hasBody !== undefined) response.setHeader("Connection", "close");
  response.end(request.method === "HEAD" ? undefined : answer.text);
}

async function answerTo(deps: HealthServerDeps, url: string): Promise<Answer> {
  switch (url.split("?", 1)[0]) {
    case "/healthz":
      return json(200, { service: deps.service, alive: true });
    case "/readyz": {
      const readiness = readinessOf(deps);
      return json(readiness.ready ? 200 : 503, readiness);
    }
    case "/metrics":
      return { status: 200, type: deps.metrics.contentType, text: await deps.metrics.text() };
    default:
      return refusal(404, "there are /healthz, /readyz and /metrics");
  }
}

export function readinessOf({
  service,
  parts,
}: Pick<HealthServerDeps, "service" | "parts">): Readiness {
  const notReady = parts.flatMap((part) => {
    const reason = part.whyNot();
    return reason === undefined ? [] : [{ part: part.name, reason }];
  });
  const warnings = parts.flatMap((part) =>
    (part.warnings?.() ?? []).map((reason) => ({ part: part.name, reason })),
  );
  return { service, ready: notReady.length === 0, notReady, warnings };
}

function json(status: number, value: object): Answer {
  return { status, type: "application/json", text: `${JSON.stringify(value)}\n` };
}

function refusal(status: number, error: string): Answer {
  return json(status, { error });
}
