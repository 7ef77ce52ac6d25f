import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { HealthPart } from "../../src/health/health-part.ts";
import type { Readiness } from "../../src/health/health-server.ts";
import { Metrics } from "../../src/health/metrics.ts";
import { serveHealth } from "../../src/health/serve-health.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { idleService, serveIdle } from "./served.ts";

async function served(...given: Parameters<typeof serveIdle>): Promise<string> {
  const service = await serveIdle(...given);
  onTestFinished(() => service.close());
  return service.health ?? "";
}

async function readiness(address: string): Promise<[number, Readiness]> {
  const response = await fetch(`http://${address}/readyz`);
  return [response.status, (await response.json()) as Readiness];
}

/** Sends bytes as they are, and returns what comes until the connection ends. */
async function raw(address: string, bytes: string): Promise<string> {
  const [host, port] = address.split(":");
  const socket = connect(Number(port), host);
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.on("error", () => undefined);
  socket.write(bytes);
  await once(socket, "close");
  return text;
}

describe("readiness", () => {
  it("names each part that is not ready, with its reason, and what else is amiss", async () => {
    let reason: string | undefined = "no answer for 7 s";
    const database: HealthPart = { name: "database", whyNot: () => reason };
    const bus: HealthPart = {
      name: "bus",
      whyNot: () => undefined,
      warnings: () => ["tcp://10.0.0.2:7001 cannot be reached from here"],
    };
    const address = await served([database, bus]);
    const warnings = [{ part: "bus", reason: "tcp://10.0.0.2:7001 cannot be reached from here" }];
    expect(await readiness(address)).toEqual([
      503,
      {
        service: "idle",
        ready: false,
        notReady: [{ part: "database", reason: "no answer for 7 s" }],
        warnings,
      },
    ]);
    expect((await fetch(`http://${address}/healthz`)).status).toBe(200);
    reason = undefined;
    const ready = { service: "idle", ready: true, notReady: [], warnings };
    expect(await readiness(address)).toEqual([200, ready]);
  });

  it("is over while the service drains; the port closes after that", async () => {
    const idle = idleService();
    const service = await serveIdle([], idle);
    const address = service.health ?? "";
    const drained = service.drain();
    expect(await readiness(address)).toMatchObject([
      503,
      { notReady: [{ part: "service", reason: "draining" }] },
    ]);
    expect((await fetch(`http://${address}/healthz`)).status).toBe(200);
    idle.drained.resolve(undefined);
    await drained;
    await expect(fetch(`http://${address}/healthz`)).rejects.toThrow("fetch failed");
  });
});

describe("metrics", () => {
  it("are those of the process and those of the service, as Prometheus reads them", async () => {
    const metrics = new Metrics();
    const tasks = metrics.counter({ name: "a_total", help: "As", labels: ["kind"] }, [
      { kind: "spam" },
    ]);
    const address = await served([], idleService(), metrics);
    tasks.add({ kind: "virus" }, 2);
    const response = await fetch(`http://${address}/metrics`);
    expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
    const text = await response.text();
    expect(text).toContain('a_total{kind="spam"} 0\n');
    expect(text).toContain('a_total{kind="virus"} 2\n');
    expect(text).toContain("rs_agent_ready 1\n");
    expect(text).toMatch(/^rs_agent_info\{service="idle",node="v24\..*"\} 1$/m);
    for (const name of ["process_resident_memory_bytes", "nodejs_eventloop_lag_p99_seconds"]) {
      expect(text).toMatch(new RegExp(String.raw`^${name} \d`, "m"));
    }
  });

  it("are read when somebody looks, and a series that is gone is not shown", async () => {
    const metrics = new Metrics();
    let seen = ["a", "b"];
    metrics.gauge({ name: "g", help: "G", labels: ["l"] }, () => seen.map((l) => [1, { l }]));
    expect(await metrics.text()).toContain('g{l="b"} 1');
    seen = ["a"];
    expect(await metrics.text()).not.toContain('g{l="b"}');
  });
});

describe("a stranger on the port", () => {
  it.each(["POST", "PUT", "DELETE", "OPTIONS"])("gets 405 for %s", async (method) => {
    const response = await fetch(`http://${await served()}/readyz`, { method });
    expect(response.status).toBe(405);
    expect(response.headers.get("allow")).toBe("GET, HEAD");
    expect(response.headers.get("connection")).toBe("close");
  });

  it.each(["/", "/metrics/x", "/../etc/passwd", "//readyz"])("gets 404 for %s", async (path) => {
    const text = await raw(await served(), `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 404 /);
  });

  it("gets no body for HEAD, and the same answer with a query", async () => {
    const address = await served();
    const head = await fetch(`http://${address}/healthz`, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    expect((await fetch(`http://${address}/readyz?verbose=1`)).status).toBe(200);
  });

  it("is cut off if it sends something other than HTTP, too large a header, or a body that nobody reads", async () => {
    const address = await served();
    expect(await raw(address, "EHLO x\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
    const long = `GET /healthz HTTP/1.1\r\nX: ${"x".repeat(20_000)}\r\n\r\n`;
    expect(await raw(address, long)).toMatch(/^HTTP\/1\.1 431 /);
    const body = "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    expect(await raw(address, body + "x".repeat(100_000))).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("who sends half a request is disconnected, and others are answered meanwhile", async () => {
    const address = await served();
    const half = raw(address, "GET /healthz HTTP/1.1\r\nHos");
    expect((await fetch(`http://${address}/healthz`)).status).toBe(200);
    expect(await half).toMatch(/^HTTP\/1\.1 408 /);
  });

  it("who opens hundreds of connections gets 64 of them", async () => {
    const address = await served();
    const [host, port] = address.split(":");
    const sockets = Array.from({ length: 200 }, () => connect(Number(port), host));
    let open = sockets.length;
    for (const socket of sockets) {
      socket.on("error", () => undefined);
      socket.on("close", () => (open -= 1));
      socket.resume();
    }
    onTestFinished(() => sockets.forEach((socket) => socket.destroy()));
    await vi.waitFor(() => expect(open).toBe(64));
    // None of them says a word: they go too.
    await vi.waitFor(() => expect(open).toBe(0));
    expect((await fetch(`http://${address}/healthz`)).status).toBe(200);
  });
});

it("a port that is taken ends the start, and the service with it", async () => {
  const [host = "", port] = (await served()).split(":");
  const idle = idleService();
  const close = vi.spyOn(idle, "close");
  const again = serveHealth(idle, {
    listen: { host, port: Number(port) },
    service: "second",
    parts: [],
    metrics: new Metrics(),
    log: createSilentLogger(),
  });
  await expect(again).rejects.toMatchObject({ code: "HEALTH_LISTEN" });
  expect(close).toHaveBeenCalledOnce();
});
