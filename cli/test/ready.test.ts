import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { serveIdle } from "../../shared/test/health/served.ts";
import { askReady } from "../src/ready.ts";
import { runCli } from "./run-cli.ts";

async function idle(reason?: string): Promise<string> {
  const service = await serveIdle([{ name: "database", whyNot: () => reason }]);
  onTestFinished(() => service.close());
  return service.health ?? "";
}

test("ready says that a service is ready, by HEALTH_HTTP or by URL", async () => {
  const address = await idle();
  expect(await askReady([], { HEALTH_HTTP: address })).toEqual({ exitCode: 0, text: "ready" });
  const everywhere = { HEALTH_HTTP: address.replace("127.0.0.1", "0.0.0.0") };
  expect(await askReady([], everywhere)).toEqual({ exitCode: 0, text: "ready" });
  const url = `http://${address}`;
  expect(await askReady(["--url", url], {})).toEqual({ exitCode: 0, text: "ready" });
  expect(await askReady(["--url", url, "--live"], {})).toEqual({ exitCode: 0, text: "alive" });
});

test("ready gives the reasons of a service that is not ready; it is alive all the same", async () => {
  const env = { HEALTH_HTTP: await idle("no answer for 7 s") };
  expect(await askReady([], env)).toEqual({ exitCode: 1, text: "database: no answer for 7 s" });
  expect(await askReady(["--live"], env)).toMatchObject({ exitCode: 0 });
  expect(await runCli(["ready"], env)).toEqual({
    out: "",
    err: "database: no answer for 7 s\n",
    code: 1,
  });
});

test("ready names what is wrong with its arguments", async () => {
  for (const args of [[], ["--url", "nowhere"], ["--url", "https://x"], ["--bogus"], ["x"]]) {
    expect(await askReady(args, {})).toMatchObject({ exitCode: 64 });
  }
  const env = { HEALTH_HTTP: "127.0.0.1:1" };
  expect(await askReady(["--timeout", "0"], env)).toMatchObject({ exitCode: 64 });
  expect(await askReady(["--help"], env)).toMatchObject({ exitCode: 0 });
});

test("ready trusts no answer: nobody, an answer without an end, another server", async () => {
  const server = createServer((request, response) => {
    if (request.url === "/readyz") response.writeHead(200).write("x".repeat(200_000));
    else response.writeHead(500).end("no JSON");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => server.closeAllConnections());
  onTestFinished(() => void server.close());
  const { port } = server.address() as { port: number };
  const url = `http://127.0.0.1:${port}`;
  expect((await askReady(["--url", url], {})).text).toContain("its answer does not end");
  expect(await askReady(["--url", url, "--live"], {})).toEqual({
    exitCode: 1,
    text: `${url}/healthz answers 500`,
  });
  expect((await askReady(["--url", "http://127.0.0.1:1"], {})).text).toContain("ECONNREFUSED");
});

test("a service whose event loop stands still is not alive", async () => {
  const script = join(import.meta.dirname, "../../shared/test/health/blocked-service.ts");
  const child = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const said = async () => String((await once(child.stdout, "data"))[0]).trim();
  const env = { HEALTH_HTTP: await said() };
  expect(await askReady(["--live"], env)).toEqual({ exitCode: 0, text: "alive" });
  child.stdin.write("block\n");
  expect(await said()).toBe("blocked");
  expect(await askReady(["--live", "--timeout", "1000"], env)).toMatchObject({
    exitCode: 1,
    text: expect.stringContaining("not within 1000 ms") as string,
  });
});

test("rs-agent ready loads nothing but Node: no module of a package", async () => {
  const script = join(import.meta.dirname, "../bin/rs-agent.mjs");
  const address = await idle();
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, "ready"], {
    env: { HEALTH_HTTP: address, NODE_DEBUG: "esm,module" },
  });
  expect(stdout).toBe("ready\n");
  expect(stderr).toContain("ready-main.ts");
  expect(stderr).not.toContain("/node_modules/");
});
