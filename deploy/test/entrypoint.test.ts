import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { serviceNames } from "@rs-agent/kit/system/service-names.ts";
import { programs } from "../agent/programs.ts";

const root = dirname(dirname(import.meta.dirname));
const entrypoint = join(root, "deploy", "agent", "entrypoint.ts");

function start(args: string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [entrypoint, ...args], {
    env: { PATH: process.env["PATH"], ...env },
  });
  return { child, end: endOf() };

  async function endOf() {
    const [stdout, stderr] = [text(child.stdout), text(child.stderr)];
    const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    return { code, signal, stdout: await stdout, stderr: await stderr };
  }
}

describe("the image's entry point", () => {
  it("knows each program's file", () => {
    const files = Object.values(programs).map(({ file }) => file);
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
    expect(Object.keys(programs)).toEqual(expect.arrayContaining([...serviceNames]));
  });

  it("runs a command of ours with its arguments and its exit code", async () => {
    const { code, stdout } = await start(["clamav-cli", "--help"]).end;
    expect(code).toBe(0);
    expect(stdout).toContain("Usage: clamav-cli");
    expect(await start(["rs-agent", "no-such-command"]).end).toMatchObject({ code: 64 });
  });

  it("runs a service, whose wrong settings end it with 78", async () => {
    const { code, stderr } = await start(["enricher"]).end;
    expect(code).toBe(78);
    expect(stderr).toContain("BUS_DISPATCHERS");
  });

  it("ends a service with 0 that is stopped before its database answered", async () => {
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const uri = `mongodb://127.0.0.1:${port}/?serverSelectionTimeoutMS=60000&directConnection=true`;
    const { child, end } = start(["relay"], { MONGODB_URI: uri });
    const [socket] = (await once(silent, "connection")) as [Socket];
    child.kill("SIGTERM");
    expect(await end).toMatchObject({ code: 0, signal: null });
    socket.destroy();
    silent.close();
  });

  it("runs any other program as it is", async () => {
    expect(await start(["ls", entrypoint]).end).toMatchObject({
      code: 0,
      stdout: `${entrypoint}\n`,
    });
    expect(await start(["ls", "/no/such/file"]).end).toMatchObject({ code: 2 });
  });

  it("says what there is where it knows no such program", async () => {
    const { code, stderr } = await start(["dispatcherr"]).end;
    expect(code).toBe(127);
    expect(stderr).toContain("services: ingest, dispatcher");
  });
});
