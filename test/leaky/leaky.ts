import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { expect, it } from "vitest";

it("leaves a child process, a server, a socket and a timer open", async () => {
  spawn("sleep", ["30"], { stdio: "ignore" });
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await once(connect(port, "127.0.0.1"), "connect");
  setInterval(() => undefined, 1_000);
  // None of these is a leak: they have ended, or let the process end.
  clearTimeout(setTimeout(() => undefined, 60_000));
  setInterval(() => undefined, 1_000).unref();
  expect(port).toBeGreaterThan(0);
});
