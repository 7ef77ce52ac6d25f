import { execFileSync, spawn } from "node:child_process";
import { chmod, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { connect, createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { relayConfigSchema } from "../src/config.ts";
import { openSession } from "../src/hop-session.ts";
import { loadOutgoing } from "../src/outgoing-bytes.ts";
import { resultsOf } from "../src/transcript.ts";
import { rawMail, readyRecord, routeTo } from "./ready-mail.ts";
import { quickSettings } from "./running-relay.ts";

/** Debian's postfix brings it; without it there is nothing to compare with. */
const installed = isInstalled();
const { timeouts } = loadConfig(relayConfigSchema, quickSettings("none"));

/** Postfix's own test server, so that our idea of SMTP is compared not only with itself. */
describe.skipIf(!installed)("against postfix's smtp-sink", () => {
  it.each([
    ["takes the mail", [], "sent", "250 2.0.0 Ok"],
    ["hangs up after MAIL", ["-q", "MAIL"], "deferred", ""],
    ["hangs up after RCPT", ["-q", "RCPT"], "deferred", ""],
    ["hangs up after DATA", ["-q", "DATA"], "deferred", ""],
    ["hangs up after the final dot (I8)", ["-q", "."], "unknown", ""],
    ["answers MAIL with 421", ["-Q", "MAIL"], "deferred", "421"],
    ["answers RCPT with 421", ["-Q", "RCPT"], "deferred", "421"],
    ["answers the final dot with 421", ["-Q", "."], "deferred", "421"],
    ["refuses RCPT for good", ["-f", "RCPT"], "refused", "500"],
    ["refuses the mail for good", ["-f", "."], "refused", "500"],
    ["refuses the mail for now", ["-r", "."], "deferred", "450"],
    ["knows no PIPELINING", ["-p"], "sent", "250 2.0.0 Ok"],
    ["hangs up after the final dot, without PIPELINING (I8)", ["-p", "-q", "."], "unknown", ""],
    ["takes the mail by LMTP", ["-L"], "sent", "250 2.2.0 Ok"],
  ] as const)("%s", async (_title, faults, kind, reply) => {
    const { port } = await smtpSink(faults);
    const protocol = (faults as readonly string[]).includes("-L") ? "lmtp" : "smtp";
    const results = await sendTo(port, ["one@rcpt.example", "two@rcpt.example"], protocol);
    expect(results.map((result) => result.kind)).toEqual([kind, kind]);
    for (const result of results) {
      if (result.kind !== "unknown") expect(result.reply).toContain(reply);
    }
  });

  it("finds the bytes that we sent in its dump", async () => {
    const dir = await mkdtemp(join(tmpdir(), "relay-test-smtp-sink-"));
    await chmod(dir, 0o777);
    onTestFinished(() => rm(dir, { recursive: true }));
    const { port } = await smtpSink(["-R", dir, "-d", "mail."]);
    await sendTo(port, ["one@rcpt.example"], "smtp");
    const [name = ""] = await vi.waitFor(async () => {
      const names = await readdir(dir);
      expect(names).toHaveLength(1);
      return names;
    });
    const dump = await readFile(join(dir, name), "latin1");
    // It writes lone LF, and lines of its own first.
    expect(dump).toContain(rawMail.toString("latin1").replaceAll("\r\n", "\n"));
  });
});

async function sendTo(port: number, recipients: string[], protocol: "smtp" | "lmtp") {
  const signal = new AbortController().signal;
  const common = {
    hostname: "relay.example",
    timeouts,
    ca: undefined,
    credential: undefined,
    certificate: undefined,
  };
  const route = routeTo(port, { protocol });
  const opened = await openSession({ route, signal, ...common });
  if (opened.kind === "failed") throw new Error(opened.failure.reply);
  onTestFinished(() => opened.session.destroy("the test is over"));
  const mail = await loadOutgoing(readyRecord({ route }), () => Promise.resolve(rawMail));
  const mailFrom = "a@sender.example";
  const transcript = await opened.session.transact({
    mailFrom,
    recipients,
    mail,
    mayBegin: () => true,
  });
  return resultsOf(transcript, recipients.length, protocol);
}

async function smtpSink(options: readonly string[]): Promise<{ port: number }> {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const child = spawn("smtp-sink", [...user, ...options, `127.0.0.1:${port}`, "10"], {
    stdio: "ignore",
  });
  onTestFinished(async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  await vi.waitFor(async () => {
    const probe = connect(port, "127.0.0.1");
    await once(probe, "connect");
    probe.destroy();
  });
  return { port };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

function isInstalled(): boolean {
  try {
    execFileSync("sh", ["-c", "command -v smtp-sink"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
