import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalize, withoutNul } from "@rs-agent/shared/mail/canonical.ts";
import {
  anna,
  ben,
  closeTestIngests,
  startTestIngest,
  stranger,
  withoutReceived,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const lineEnds = ["\n", "\r", "\r\n", "\n\r", "\r\r", "\n\n", "\r\r\n", "\0\r\n", "\x85"];
/** Everything that some server might take for the end of a mail, except the one true end. */
const falseEnds = lineEnds
  .flatMap((before) => lineEnds.map((after) => `${before}.${after}`))
  .filter((form) => !form.includes("\r\n.\r\n"));
/** The same at the very beginning of DATA, where a dot needs no line end before it. */
const falseBeginnings = [".\n", ".\r", ".\r\r\n", ".\n\r", ".\0\r\n", "\n.\r\n", "\r.\r\n"];

/** A second transaction, as it would be pipelined after the end of the first mail. */
const second =
  `MAIL FROM:<evil@partner.example>\r\nRCPT TO:<${ben}>\r\nDATA\r\n` +
  "Subject: smuggled\r\n\r\nnever a mail of its own";

describe("one body is one mail (SMTP smuggling)", () => {
  let running: RunningIngest;
  let accepted = 0;
  beforeAll(async () => {
    running = await startTestIngest({ env: { INGEST_NUL: "remove" } });
  });
  afterAll(closeTestIngests);

  /**
   * Sends the content in the given pieces; the mail must contain all of it, and be the only one.
   */
  const isOneMail = async (client: SmtpDialogue, pieces: string[]) => {
    const sent = JSON.stringify(pieces.map((piece) => piece.slice(0, 60)));
    expect(await client.begin(stranger, [anna]), sent).toMatch(/^354 /);
    for (const piece of pieces) {
      client.send(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.send("\r\n.\r\nNOOP\r\n");
    const { code, lines } = await client.reply();
    const { mail, raw } = await running.stored(`${code} ${lines[0] ?? ""}`);
    // The only reply to all of that, apart from the NOOP's.
    expect((await client.reply()).lines[0], sent).toMatch(/^2\.0\.0 OK/);
    const content = Buffer.from(`${pieces.join("")}\r\n`, "latin1");
    expect(withoutReceived(raw), sent).toBe(canonicalize(withoutNul(content)).toString("latin1"));
    expect(mail.smtp).toMatchObject({ mailFrom: stranger, rcptTo: [anna] });
    accepted += 1;
  };
  const eachIn = (forms: string[], deliveries: (form: string) => string[][]) =>
    Promise.all(
      forms.map(async (form) => {
        using client = await SmtpDialogue.open(running.smtp);
        for (const pieces of deliveries(form)) await isOneMail(client, pieces);
      }),
    );

  it("no form but CRLF.CRLF ends it, however the packets are cut", async () => {
    const head = "Subject: first\r\n\r\nfirst body";
    expect(falseEnds).toHaveLength(78);
    await eachIn(falseEnds, (form) => [
      [`${head}${form}${second}`],
      ...Array.from(form, (_, cut) => [head + form.slice(0, cut), form.slice(cut) + second]),
      [head, ...Array.from(form), second],
    ]);
  });

  it("nor does one at the very beginning of DATA", async () => {
    await eachIn(falseBeginnings, (form) => [[form + second], [...Array.from(form), second]]);
  });

  it("no false end with a NUL begins another mail if NUL is refused, nor does its refusal", async () => {
    const strict = await startTestIngest();
    const withNul = [...falseEnds, ...falseBeginnings].filter((form) => form.includes("\0"));
    expect(withNul).toHaveLength(17);
    const client = await SmtpDialogue.open(strict.smtp);
    for (const form of withNul) {
      expect(await client.begin(stranger, [anna])).toMatch(/^354 /);
      client.send(`Subject: first\r\n\r\nfirst body${form}${second}\r\n.\r\nNOOP\r\n`);
      const replies = [await client.reply(), await client.reply()];
      expect(replies.map(({ code, lines }) => `${code} ${lines[0] ?? ""}`)).toEqual([
        "554 5.6.0 the mail has NUL characters",
        "250 2.0.0 OK",
      ]);
    }
    client.close();
    expect((await strict.database.mails.countOutcomes()).accepted).toBe(0);
  });

  it("there are as many mails as there were transactions", async () => {
    expect(accepted).toBeGreaterThan(300);
    expect(await running.database.mails.countOutcomes()).toMatchObject({ accepted, holds: true });
    expect(await running.database.mails.find({ to: ben, limit: 1 })).toEqual([]);
  });
});
