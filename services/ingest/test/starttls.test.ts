import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createTransport } from "nodemailer";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { recordLog } from "./recorded-log.ts";
import {
  anna,
  closeTestIngests,
  startTestIngest,
  stranger,
  withoutReceived,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

async function makeCertificate(name: string, dir: string): Promise<void> {
  const request = `req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=${name}`.split(" ");
  const files = ["-keyout", join(dir, "key.pem"), "-out", join(dir, "cert.pem")];
  await promisify(execFile)("openssl", [...request, ...files]);
}

const mail = "Subject: x\r\n\r\nHello\r\n";

describe("STARTTLS (RFC 3207)", () => {
  let dir: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-ingest-tls-"));
    env = { INGEST_TLS_CERT: join(dir, "cert.pem"), INGEST_TLS_KEY: join(dir, "key.pem") };
    await makeCertificate("mx.ingest.test", dir);
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));
  afterEach(closeTestIngests);

  it("is offered if there is a certificate, and the mail's Received says ESMTPS", async () => {
    const running = await startTestIngest({ env });
    const [host, port] = running.smtp.split(":");
    const transport = createTransport({
      host,
      port: Number(port),
      requireTLS: true,
      tls: { rejectUnauthorized: false },
    });
    const sent = await transport.sendMail({ envelope: { from: stranger, to: [anna] }, raw: mail });
    const { raw } = await running.stored(sent.response);
    expect(raw.toString()).toContain(" with ESMTPS id ");
    transport.close();
  });

  it("forgets what was said before it, and what was sent after it in the clear", async () => {
    const running = await startTestIngest({ env });
    using client = await SmtpDialogue.open(running.smtp);
    await client.say(`MAIL FROM:<${stranger}>`);
    expect(await client.startTls()).toMatch(/^220 2\.0\.0 /);
    expect(await client.say(`RCPT TO:<${anna}>`)).toMatch(/^503 5\.5\.1 /);
    await client.say("EHLO client.test");
    expect(await client.say("STARTTLS")).toMatch(/^503 5\.5\.1 /);
    expect(await client.deliver(stranger, [anna], mail)).toMatch(/^250 2\.0\.0 /);
  });

  it("reads commands and mails as without it, by our own input", async () => {
    const running = await startTestIngest({ env });
    const client = await SmtpDialogue.open(running.smtp);
    await client.startTls();
    await client.say("EHLO client.test");
    const reply = await client.deliver(stranger, [anna], "A: 1\r\n\r\na\n..b\r\n..c\r\n");
    const { raw } = await running.stored(reply);
    expect(withoutReceived(raw)).toBe("A: 1\r\n\r\na\r\n..b\r\n.c\r\n");
    expect(await client.say("BDAT 3 LAST")).toMatch(/^500 5\.5\.2 /);
    await client.closed();
  });

  it("counts a connection once, even if it changed to TLS", async () => {
    const running = await startTestIngest({ env: { ...env, INGEST_MAX_CONNECTIONS: "1" } });
    for (let count = 0; count < 3; count += 1) {
      await vi.waitFor(async () => {
        using client = await SmtpDialogue.open(running.smtp);
        expect(await client.startTls()).toMatch(/^220 /);
        const second = await SmtpDialogue.connect(running.smtp);
        expect(await second.reply()).toMatchObject({ code: 421 });
        second.close();
        expect(await client.say("QUIT")).toMatch(/^221 /);
      });
    }
  });

  it("shows a renewed certificate without a restart, and keeps the old one if the new one is bad", async () => {
    const own = await mkdtemp(join(tmpdir(), "rs-agent-ingest-renewed-"));
    onTestFinished(() => rm(own, { recursive: true, force: true }));
    const files = { INGEST_TLS_CERT: join(own, "cert.pem"), INGEST_TLS_KEY: join(own, "key.pem") };
    await makeCertificate("old.ingest.test", own);
    const { log, lines } = recordLog();
    const running = await startTestIngest({ env: files, log });
    const shown = async () => {
      using client = await SmtpDialogue.open(running.smtp);
      expect(await client.startTls()).toMatch(/^220 /);
      return client.peerName;
    };
    using early = await SmtpDialogue.open(running.smtp);
    await early.startTls();
    expect(await shown()).toBe("old.ingest.test");

    await writeFile(files.INGEST_TLS_KEY, "nonsense");
    const refused = "certificate not reloaded: the old one stays in use";
    await vi.waitFor(() => {
      const line = lines().find(({ msg }) => msg === refused);
      expect(line?.reason).toContain(`INGEST_TLS_KEY: ${files.INGEST_TLS_KEY}: no private key`);
    });
    expect(await shown()).toBe("old.ingest.test");

    await makeCertificate("new.ingest.test", own);
    await vi.waitFor(async () => expect(await shown()).toBe("new.ingest.test"));
    await early.say("EHLO client.test");
    expect(await early.deliver(stranger, [anna], mail)).toMatch(/^250 2\.0\.0 /);
  });

  it("does not start with an unusable key, and says which file it is", async () => {
    const wrong = join(dir, "wrong.pem");
    await writeFile(wrong, "nonsense");
    await expect(startTestIngest({ env: { ...env, INGEST_TLS_KEY: wrong } })).rejects.toMatchObject(
      {
        code: "CFG_INVALID",
        message: expect.stringContaining(`INGEST_TLS_KEY: ${wrong}: no private key`) as string,
      },
    );
  });
});
