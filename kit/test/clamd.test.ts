import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, inject, it } from "vitest";
import { parseClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import { ClamdSession } from "@rs-agent/av-worker/clamd/session.ts";
import { eicar } from "@rs-agent/av-worker/eicar.ts";
import { zip } from "@rs-agent/av-worker/zip.ts";
import { testVirus } from "../src/engines/clamd-signatures.ts";
import { startClamd } from "../src/engines/clamd.ts";

const never = new AbortController().signal;

async function answerOf(address: string, mail: string): Promise<string> {
  const session = new ClamdSession(parseClamdAddress(address));
  const outcome = await session.scan({ kind: "bytes", bytes: Buffer.from(mail) }, never);
  session.destroy();
  return outcome.kind === "answered" ? outcome.reply : outcome.kind;
}

function mailWith(type: string, encoding: string, content: string): string {
  return [
    "From: a@example.org",
    "To: b@example.org",
    "MIME-Version: 1.0",
    'Content-Type: multipart/mixed; boundary="b"',
    "",
    "--b",
    "Content-Type: text/plain",
    "",
    "Hello.",
    "--b",
    `Content-Type: ${type}`,
    ...(encoding === "" ? [] : [`Content-Transfer-Encoding: ${encoding}`]),
    "",
    content,
    "--b--",
    "",
  ].join("\r\n");
}

const attached = mailWith("application/octet-stream", "base64", eicar.toString("base64"));
const zipped = zip([{ name: "eicar.com", content: eicar }]).toString("base64");

describe("the private clamd's own signatures", () => {
  it.each([
    ["EICAR in an attachment", attached, /^stream: Eicar\S* FOUND$/],
    ["EICAR in a zip", mailWith("application/zip", "base64", zipped), /^stream: Eicar\S* FOUND$/],
    ["EICAR in a mail inside a mail", mailWith("message/rfc822", "", attached), /Eicar\S* FOUND$/],
    [
      "the test virus of the kit as text",
      `Subject: x\r\n\r\n${testVirus}\r\n`,
      /^stream: RS\.Agent\S* FOUND$/,
    ],
    ["nothing in a plain mail", "Subject: x\r\n\r\nhello\r\n", /^stream: OK$/],
  ])("find %s", async (_what, mail, reply) => {
    expect(await answerOf(inject("clamd"), mail)).toMatch(reply);
  });
});

describe("startClamd", () => {
  let dir: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-clamd-"));
  });

  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("comes back on the port that it is given", async () => {
    const first = await startClamd({ dir });
    await first.stop();
    await first.ended;
    const second = await startClamd({ dir, port: first.port });
    expect(second.address).toBe(first.address);
    expect(second.pid).not.toBe(first.pid);
    await second.stop();
  });

  it.runIf(process.getuid?.() === 0)("becomes another user if we are root", async () => {
    const reports: string[] = [];
    const clamd = await startClamd({ dir, user: "clamav", report: (text) => reports.push(text) });
    expect(await answerOf(clamd.socketPath, attached)).toMatch(/FOUND$/);
    expect(reports).toEqual(["clamd loads its signatures"]);
    await clamd.stop();
  });

  it("says what is missing, and what clamd itself says is wrong", async () => {
    await expect(startClamd({ dir, program: join(dir, "clamd") })).rejects.toMatchObject({
      code: "SETUP_MISSING",
      message: expect.stringContaining("apt-get install clamav-daemon") as string,
    });
    await expect(startClamd({ dir, settings: { NoSuchOption: "yes" } })).rejects.toMatchObject({
      code: "SETUP_FAILED",
      message: expect.stringContaining("NoSuchOption") as string,
    });
  });

  it.runIf(process.getuid?.() === 0)("says that a user is missing", async () => {
    await expect(startClamd({ dir, user: "no-such-user" })).rejects.toMatchObject({
      code: "SETUP_MISSING",
    });
  });
});
