import { afterEach, describe, expect, it } from "vitest";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { recordLog } from "./recorded-log.ts";
import { anna, closeTestIngests, startTestIngest, stranger } from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: a secret subject\r\n\r\nA secret body.\r\n";

/** Starts ingest, has one recipient refused and one mail accepted, and returns the log. */
async function logOf(mode: string): Promise<{ text: string; lines: Record<string, unknown>[] }> {
  const { log, text, lines } = recordLog();
  const running = await startTestIngest({ log, env: { LOG_ADDRESSES: mode } });
  const client = await SmtpDialogue.open(running.smtp);
  await client.say(`MAIL FROM:<${stranger}>`);
  await client.say("RCPT TO:<someone@elsewhere.example>");
  await client.say(`RCPT TO:<${anna}>`);
  await client.say("DATA");
  client.send(mail);
  await running.stored(await client.say("."));
  client.close();
  const told = lines().filter(({ msg }) => msg === "refused" || msg === "mail accepted");
  return { text: text(), lines: told };
}

describe("the log", () => {
  afterEach(closeTestIngests);

  it("has one line for each refusal and each accepted mail, and nothing of its content", async () => {
    const { text, lines } = await logOf("plain");
    expect(lines).toMatchObject([
      {
        msg: "refused",
        client: "127.0.0.1",
        helo: "client.test",
        from: stranger,
        to: "someone@elsewhere.example",
        reply: 550,
        status: "5.7.1",
      },
      {
        msg: "mail accepted",
        from: stranger,
        to: [anna],
        protocol: "ESMTP",
        direction: "incoming",
      },
    ]);
    expect(text).not.toContain("secret");
  });

  it("shows addresses as LOG_ADDRESSES says", async () => {
    const hashed = await logOf("hash");
    expect(hashed.lines[1]).toMatchObject({ to: [sha256Hex(anna).slice(0, 16)] });
    const off = await logOf("off");
    for (const { text } of [hashed, off]) expect(text).not.toMatch(/northwind|partner|elsewhere/);
  });
});
