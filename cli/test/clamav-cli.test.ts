import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, inject, it } from "vitest";
import { startFakeClamd } from "../../services/av-worker/test/fake-clamd.ts";
import { canaryMail } from "@rs-agent/av-worker/canary-mails.ts";
import { readPathReply } from "../src/clamav/path-reply.ts";
import { runClamavCli } from "../src/clamav/program.ts";
import { barOf } from "../src/clamav/progress-bar.ts";

let dir: string;
let clamd: string[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "rs-agent-clamav-cli-"));
  const [host = "", port = ""] = inject("clamd").split(":");
  clamd = ["--host", host, "--port", port];
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function run(args: string[], stdin: string | Buffer = "", usual?: string) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const code = await runClamavCli(args, { stdout, stderr, stdin: Readable.from([stdin]) }, usual);
  stdout.end();
  stderr.end();
  return { code, stdout: await text(stdout), stderr: await text(stderr) };
}

async function files(contents: Record<string, Buffer | string>): Promise<void> {
  for (const [name, content] of Object.entries(contents)) {
    await mkdir(join(dir, name, ".."), { recursive: true });
    await writeFile(join(dir, name), content);
  }
}

const clean = canaryMail("clean", "cli");
const eicar = canaryMail("eicar", "cli");
const encrypted = canaryMail("encrypted", "cli");

describe("clamav-cli questions", () => {
  it("pings, tells version and statistics, and reloads", async () => {
    expect(await run([...clamd, "ping"])).toMatchObject({ code: 0, stdout: "PONG\n" });
    expect((await run([...clamd, "version"])).stdout).toMatch(/^ClamAV 1\.\S+\n$/);
    expect((await run([...clamd, "stats"])).stdout).toContain("STATE: VALID");
    expect(await run([...clamd, "reload"])).toMatchObject({ code: 0, stdout: "RELOADING\n" });
  });

  it("asks the usual clamd if the options name none, or only its host", async () => {
    const usual = `${inject("clamd")},192.0.2.1:3310`;
    const addressOf = async (...args: string[]) => {
      const { stdout } = await run([...args, "--json", "ping"], "", usual);
      return JSON.parse(stdout) as unknown;
    };
    const asked = { address: inject("clamd"), pong: true };
    expect(await addressOf()).toEqual(asked);
    expect(await addressOf("--host", "127.0.0.1")).toEqual(asked);
    expect(await addressOf("--host", "localhost")).toMatchObject({ pong: true });
    const socket = await run(["--json", "ping"], "", inject("clamdSocket"));
    expect(JSON.parse(socket.stdout)).toEqual({ address: inject("clamdSocket"), pong: true });
    const other = await run(["--host", "127.0.0.2", "--timeout", "2", "ping"], "", usual);
    expect(other).toMatchObject({ code: 2 });
    expect(other.stderr).toContain("127.0.0.2:3310");
  });

  it("also uses a unix socket, and says all of it as JSON", async () => {
    const { code, stdout } = await run(["--socket", inject("clamdSocket"), "--json", "version"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ name: "clamd", address: inject("clamdSocket") });
  });

  it("ends with 2 if there is no clamd, in words or JSON, without a stack trace", async () => {
    for (const command of [["ping"], ["scan", dir]]) {
      const { code, stderr } = await run(["--host", "127.0.0.1", "--port", "1", ...command]);
      expect(code).toBe(2);
      expect(stderr).toMatch(/^AV_ENGINE_AWAY: clamd at 127\.0\.0\.1:1: .*ECONNREFUSED[^\n]*\n$/);
    }
    const { stdout } = await run(["--port", "1", "--json", "ping"]);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "AV_ENGINE_AWAY" } });
  });

  it("ends with 2 at its deadline if clamd is silent", async () => {
    const silent = createServer((socket) => socket.on("error", () => undefined).resume());
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const port = String((silent.address() as AddressInfo).port);
    const { code, stderr } = await run(["--port", port, "--timeout", "0.1", "ping"]);
    silent.close();
    expect(code).toBe(2);
    expect(stderr).toMatch(/^AV_TIMEOUT: /);
  });

  it("explains itself, and ends with 2, never 1, if it is called wrongly", async () => {
    const help = await run(["--help"]);
    expect(help.code).toBe(0);
    for (const word of ["ping", "version", "stats", "reload", "scan", "--host", "Exit codes"]) {
      expect(help.stdout).toContain(word);
    }
    expect(help.stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
    for (const args of [[], ["bogus"], ["scan"], ["--port", "x", "ping"], ["ping", "--nope"]]) {
      expect((await run(args)).code).toBe(2);
    }
  });
});

describe("clamav-cli scan", () => {
  it("ends with 0 if all is clean, in clamdscan's words", async () => {
    await files({ "a.eml": clean, "deep/er/b.eml": "hello" });
    const { code, stdout, stderr } = await run([...clamd, "scan", dir]);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toContain(`${dir}/a.eml: OK\n`);
    expect(stdout).toContain(`${dir}/deep/er/b.eml: OK\n`);
    expect(stdout).toMatch(/SCAN SUMMARY -+\nScanned files: 2\nInfected files: 0\nTime: /);
  });

  it("ends with 1 if something is found, whatever else happened", async () => {
    await files({ "bad.eml": eicar, "sealed.eml": encrypted, "good.eml": clean });
    const { code, stdout } = await run([...clamd, "scan", dir, join(dir, "nowhere")]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/bad\.eml: Eicar-Test-Signature\.UNOFFICIAL FOUND\n/);
    expect(stdout).toMatch(/sealed\.eml: NOT CHECKED \(encrypted: Heuristics\.Encrypted\.Zip\)\n/);
    expect(stdout).toMatch(/nowhere: No such file or directory ERROR\n/);
    expect(stdout).toMatch(/Infected files: 1\nNot checked: 1\nTotal errors: 1\n/);
  });

  it("ends with 3 if something could not be looked into", async () => {
    await files({ "sealed.eml": encrypted, "good.eml": clean, "large.eml": "x".repeat(3_000) });
    const sealed = await run([...clamd, "scan", join(dir, "sealed.eml")]);
    expect(sealed.code).toBe(3);
    const large = await run([...clamd, "scan", "--max-size", "2K", dir, "--no-summary"]);
    expect(large.code).toBe(3);
    expect(large.stdout).toContain("large.eml: NOT CHECKED (too-large: 3000 bytes");
  });

  it("ends with 2 if a file does not exist", async () => {
    await files({ "good.eml": clean });
    const { code } = await run([...clamd, "scan", join(dir, "good.eml"), join(dir, "nowhere")]);
    expect(code).toBe(2);
  });

  it("scans by path with --disk, and calls no link, empty file or special file clean", async () => {
    await files({ "bad.eml": eicar, "good.eml": clean, empty: "" });
    await symlink(join(dir, "bad.eml"), join(dir, "link.eml"));
    const { code, stdout } = await run([...clamd, "--json", "scan", "--disk", dir]);
    expect(code).toBe(1);
    const report = JSON.parse(stdout) as { files: { path: string; result: string }[] };
    const results = report.files.map(({ path, result }) => [path.slice(dir.length + 1), result]);
    expect(Object.fromEntries(results)).toEqual({
      "bad.eml": "infected",
      "good.eml": "clean",
      empty: "skipped",
      "link.eml": "skipped",
    });
    const link = await run([...clamd, "scan", "--disk", join(dir, "link.eml")]);
    expect(link).toMatchObject({ code: 1 });
  });

  it("asks clamd itself for a path that is not on this machine", async () => {
    const { code, stdout } = await run([...clamd, "scan", "--disk", "/not/on/this/machine"]);
    expect(code).toBe(2);
    expect(stdout).toMatch(/\/not\/on\/this\/machine: .*No such file or directory\. ERROR\n/);
  });

  it("scans standard input", async () => {
    expect(await run([...clamd, "scan", "-"], clean)).toMatchObject({ code: 0 });
    const found = await run([...clamd, "scan", "--infected", "--no-summary", "-"], eicar);
    expect(found).toMatchObject({
      code: 1,
      stdout: "stdin: Eicar-Test-Signature.UNOFFICIAL FOUND\n",
    });
  });

  it("does not let a file name steer the terminal", async () => {
    await files({ "\x1b[31mred\n.eml": clean });
    const { stdout } = await run([...clamd, "scan", "--no-summary", dir]);
    expect(stdout).toBe(`${dir}/\\x1b[31mred\\x0a.eml: OK\n`);
  });

  it("runs as a program, on the machine's own Node", async () => {
    await files({ "bad.eml": eicar });
    const program = fileURLToPath(new URL("../bin/clamav-cli.mjs", import.meta.url));
    const child = spawn(program, [...clamd, "scan", "--no-summary", dir]);
    const [output] = await Promise.all([text(child.stdout), once(child, "close")]);
    expect(output).toBe(`${dir}/bad.eml: Eicar-Test-Signature.UNOFFICIAL FOUND\n`);
    expect(child.exitCode).toBe(1);
  });
});

describe("readPathReply", () => {
  const word = fc.constantFrom("/a", "/a/b", ": ", "OK", " FOUND", "Virus", " ERROR", "", " ");

  it("calls clean only `OK` for exactly the path that was asked for (I2)", () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (parts) => {
        const reply = parts.join("");
        const { outcome } = readPathReply(reply, "/a");
        expect(outcome.result === "clean").toBe(reply === "/a: OK");
      }),
    );
  });

  it("calls whatever ends with FOUND found, unless it is only a heuristic (I2)", () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (parts) => {
        const { outcome } = readPathReply(`${parts.join("")} FOUND`, "/a");
        expect(outcome.result).toBe("infected");
      }),
    );
  });

  it("takes the file that clamd names, and the class of what it found", () => {
    expect(readPathReply("/a/x: y.eml: Worm FOUND", "/a")).toEqual({
      path: "/a/x: y.eml",
      outcome: { result: "infected", names: ["Worm"] },
    });
    expect(readPathReply("/a: Odd: name FOUND", "/a")).toEqual({
      path: "/a",
      outcome: { result: "infected", names: ["Odd: name"] },
    });
    expect(readPathReply("/a/z: Odd: Heuristics.Encrypted.Zip FOUND", "/a").outcome).toEqual({
      result: "infected",
      names: ["Heuristics.Encrypted.Zip"],
    });
    expect(readPathReply("/a/z: Heuristics.Encrypted.Zip FOUND", "/a").outcome).toMatchObject({
      result: "not-checked",
      reason: "encrypted",
    });
  });
});

describe("a name that would steer a terminal", () => {
  it("is shown escaped, and whole in JSON", async () => {
    const name = "a\x1b[31mred: \u202eb\r\n";
    const fake = await startFakeClamd({
      fault: ({ id }) => ({
        raw: Buffer.from(`${id}: stream: ${name} FOUND\0`, "utf8").toString("latin1"),
      }),
    });
    const at = ["--port", String(fake.port)];
    const shown = await run([...at, "scan", "--no-summary", "-"], clean);
    const json = await run([...at, "--json", "scan", "-"], clean);
    await fake.close();
    expect(shown).toMatchObject({
      code: 1,
      stdout: "stdin: a\\x1b[31mred: \\u{202e}b\\x0d\\x0a FOUND\n",
    });
    expect(JSON.parse(json.stdout)).toMatchObject({ files: [{ names: [name] }] });
  });
});

describe("barOf", () => {
  it("is never wider than the terminal", () => {
    const widths = fc.integer({ min: 1, max: 200 });
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), widths, (share, columns) => {
        expect(barOf(share, 12, 345, columns).length).toBeLessThan(columns);
      }),
    );
    expect(barOf(0.5, 1, 2, 45)).toBe("[###########           ]  50 %  1 of 2 files");
  });
});
