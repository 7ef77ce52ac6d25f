import fc from "fast-check";
import { createTransport } from "nodemailer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { headerFields } from "@rs-agent/shared/mail/header-fields.ts";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import {
  anna,
  ben,
  closeTestIngests,
  hostname,
  startTestIngest,
  stranger,
  tenantClient,
  withoutReceived,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail =
  "From: Jonas <jonas@partner.example>\r\nMessage-ID: <1@partner.example>\r\n\r\nHello\r\n";

let running: RunningIngest;
beforeAll(async () => {
  running = await startTestIngest();
});
afterAll(closeTestIngests);

/**
 * The content bytes as a client sends them: dots at the beginning of lines doubled (RFC 5321
 * §4.5.2).
 */
function dotStuffed(content: Buffer): Buffer {
  return Buffer.from(content.toString("latin1").replace(/(^|\r\n|\n)\./g, "$1.."), "latin1");
}

describe("a mail that is accepted", () => {
  it("is durable with body and record when its 250 comes (I1)", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const reply = await client.deliver(stranger, [anna, ben], mail);
    const { mail: record, raw } = await running.stored(reply);
    expect(record).toMatchObject({
      state: "incoming",
      next: "plan",
      origin: { via: "smtp", name: "smtp:127.0.0.1:0" },
      direction: "incoming",
      smtp: {
        mailFrom: stranger,
        rcptTo: [anna, ben],
        client: { address: "127.0.0.1", name: "", helo: "client.test" },
        params: { body: "7BIT" },
      },
      recipients: [
        { address: anna, outcome: "open" },
        { address: ben, outcome: "open" },
      ],
      header: {
        messageId: "<1@partner.example>",
        from: "Jonas <jonas@partner.example>",
        fromDomain: "partner.example",
      },
      body: { size: raw.length, sha256: sha256Hex(raw) },
      history: [{ event: "accepted" }],
    });
    expect(record.dueAt).toEqual(record.receivedAt);
  });

  it("begins with our Received field and is otherwise as it came", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const { mail: record, raw } = await running.stored(
      await client.deliver(stranger, [anna], mail),
    );
    const date = record.receivedAt.toUTCString().replace("GMT", "+0000");
    expect(raw.toString()).toBe(
      "Received: from client.test (unknown [127.0.0.1])\r\n" +
        `\tby ${hostname} (rs-agent) with ESMTP id ${record._id}\r\n` +
        `\tfor <${anna}>;\r\n\t${date}\r\n${mail}`,
    );
  });

  it("names no recipient in Received if there are several", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const { raw } = await running.stored(await client.deliver(stranger, [anna, ben], mail));
    expect(raw.toString()).not.toMatch(/^\tfor </m);
  });

  it("may have the null sender, no body and no header at all", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const { mail: record, raw } = await running.stored(await client.deliver("", [anna], ""));
    expect(record.smtp.mailFrom).toBe("");
    expect(withoutReceived(raw)).toBe("\r\n");
  });

  it("keeps every byte, whatever the content and however TCP cuts it", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const content = fc
      .array(
        fc.oneof(
          fc.constantFrom("\r\n", ".", "..", ".\r\n", "\r\n.", "\r\n..\r\n", "\xe4\xff\x80"),
          fc
            .string({ unit: "binary-ascii", maxLength: 12 })
            .map((text) => text.replace(/[\r\n\0]/g, "")),
        ),
        { maxLength: 40 },
      )
      .map((parts) => Buffer.from(`${parts.join("")}\r\n`, "latin1"));
    await fc.assert(
      fc.asyncProperty(content, fc.array(fc.nat(), { maxLength: 6 }), async (bytes, cuts) => {
        expect(await client.begin(stranger, [anna])).toMatch(/^354 /);
        const wire = dotStuffed(bytes);
        let from = 0;
        for (const cut of cuts.map((one) => one % (wire.length + 1)).sort((a, b) => a - b)) {
          client.send(wire.subarray(from, cut));
          from = cut;
          await new Promise((resolve) => setImmediate(resolve));
        }
        client.send(wire.subarray(from));
        const { raw } = await running.stored(await client.say("."));
        const isBody = /^[ \t]/.test(bytes.toString("latin1"));
        expect(withoutReceived(raw)).toBe(`${isBody ? "\r\n" : ""}${bytes.toString("latin1")}`);
      }),
      { numRuns: 60 },
    );
  });

  it("gets CRLF for each lone CR and LF, and a lone LF around a dot ends nothing", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const content = "A: 1\n\nbare\rcr\n.\nMAIL FROM:<x@y.example>\n.\r\nstill the mail\r.\r\nend\n";
    const { raw } = await running.stored(await client.deliver(stranger, [anna], `${content}\r\n`));
    const expected = canonicalize(Buffer.from(`${content}\r\n`)).toString();
    expect(withoutReceived(raw)).toBe(expected);
    expect(raw.toString().replace(/\r\n/g, "")).not.toMatch(/[\r\n]/);
  });

  it("keeps the dots after a lone LF or CR, which begins no line", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const { raw } = await running.stored(
      await client.deliver(stranger, [anna], "A: 1\r\n\r\na\n..b\r..c\r\n...d\r\n"),
    );
    expect(withoutReceived(raw)).toBe("A: 1\r\n\r\na\r\n..b\r\n..c\r\n..d\r\n");
  });

  it.each([" by evil.example (rs-agent)", "\tid 1", " ", "\t\t"])(
    "that begins with the blank line part %j has no header, and our Received ends before it",
    async (first) => {
      using client = await SmtpDialogue.open(running.smtp);
      const content = `${first}\r\nFrom: a@b.example\r\n\r\nbody\r\n`;
      const { mail: record, raw } = await running.stored(
        await client.deliver(stranger, [anna], content),
      );
      expect(withoutReceived(raw)).toBe(`\r\n${content}`);
      const [received, ...others] = [...headerFields(raw)];
      expect(others).toEqual([]);
      expect(raw.toString("latin1", 0, received?.end)).toMatch(/ \+0000\r\n$/);
      expect(record.header?.from).toBeUndefined();
    },
  );

  it("loses its NUL characters if INGEST_NUL=remove says so", async () => {
    const removing = await startTestIngest({ env: { INGEST_NUL: "remove" } });
    using client = await SmtpDialogue.open(removing.smtp);
    const { raw } = await removing.stored(
      await client.deliver(stranger, [anna], "A\0: 1\r\0\n\0\r\n\0.\r\nx\0\0y\r\n"),
    );
    expect(withoutReceived(raw)).toBe("A: 1\r\n\r\n.\r\nxy\r\n");
  });

  it.each([
    ['"odd user"@northwind.example', '"odd user"@northwind.example'],
    ['"a@b"@northwind.example', '"a@b"@northwind.example'],
    ['"a\\"\\ <b>: c"@Northwind.Example', '"a\\"\\ <b>: c"@northwind.example'],
    ['@mx.example:"odd user"@northwind.example', '"odd user"@northwind.example'],
    ['""@northwind.example', '""@northwind.example'],
  ])("for the quoted recipient %s keeps %s", async (given, kept) => {
    using client = await SmtpDialogue.open(running.smtp);
    expect(await client.say('MAIL FROM:<"sender x"@sender.example> SIZE=100')).toMatch(/^250 /);
    expect(await client.say(`RCPT TO:<${given}>`)).toMatch(/^250 /);
    await client.say("DATA");
    client.send(mail);
    const { mail: record, raw } = await running.stored(await client.say("."));
    expect(record.smtp).toMatchObject({ mailFrom: '"sender x"@sender.example', rcptTo: [kept] });
    expect(record.recipients.map(({ address }) => address)).toEqual([kept]);
    expect(raw.toString("latin1")).toContain(`for <${kept.replace(/[<>]/g, "?")}>;\r\n`);
    const found = await running.database.mails.find({ to: kept, limit: 10 });
    expect(found.map(({ _id }) => _id)).toContain(record._id);
  });

  it("is found by its recipient, quoted or not if that is the same", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const { mail: record } = await running.stored(
      await client.deliver(stranger, ['"V\\ip"@northwind.example'], mail),
    );
    expect(record.smtp.rcptTo).toEqual(['"V\\ip"@northwind.example']);
    for (const to of ["vip@northwind.example", '"vip"@northwind.example']) {
      expect((await running.database.mails.find({ to, limit: 1 }))[0]?._id).toBe(record._id);
    }
  });

  it("takes a mail of 4 MB from nodemailer byte by byte", async () => {
    const big = `${mail}${"0123456789abcdef".repeat(4).concat("\r\n").repeat(64_000)}`;
    const [host, port] = running.smtp.split(":");
    const transport = createTransport({ host, port: Number(port), ignoreTLS: true });
    const sent = await transport.sendMail({
      envelope: { from: stranger, to: [anna] },
      raw: big,
    });
    const { raw } = await running.stored(sent.response);
    expect(withoutReceived(raw) === big).toBe(true);
    transport.close();
  });

  it("is marked 8BITMIME if it was declared so, or if its bytes say so", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const eightBit = Buffer.from("A: 1\r\n\r\n\xe4\r\n", "latin1");
    const { mail: found } = await running.stored(await client.deliver(stranger, [anna], eightBit));
    expect(found.smtp.params).toEqual({ body: "8BITMIME" });
    expect(await client.say(`MAIL FROM:<${stranger}> BODY=8BITMIME SIZE=100`)).toMatch(/^250 /);
    await client.say(`RCPT TO:<${anna}>`);
    await client.say("DATA");
    client.send(mail);
    const { mail: declared } = await running.stored(await client.say("."));
    expect(declared.smtp.params).toEqual({ body: "8BITMIME" });
  });

  it("may come pipelined, several in one packet", async () => {
    using client = await SmtpDialogue.open(running.smtp);
    const envelope = `MAIL FROM:<${stranger}>\r\nRCPT TO:<${anna}>\r\nDATA\r\n`;
    client.send(`${envelope}${mail}.\r\n${envelope}${mail}.\r\nQUIT\r\n`);
    const codes: number[] = [];
    for (let count = 0; count < 9; count += 1) codes.push((await client.reply()).code);
    expect(codes).toEqual([250, 250, 354, 250, 250, 250, 354, 250, 221]);
    await client.closed();
  });

  it("is outgoing by the client's network, whoever its sender claims to be", async () => {
    using inside = await SmtpDialogue.open(running.smtp, tenantClient);
    const outgoing = await running.stored(await inside.deliver(anna, [stranger], mail));
    expect(outgoing.mail.direction).toBe("outgoing");
    using outside = await SmtpDialogue.open(running.smtp);
    const forged = await running.stored(await outside.deliver(anna, [ben], mail));
    expect(forged.mail.direction).toBe("incoming");
  });

  it("is outgoing on a submission listener, and its record says so", async () => {
    using client = await SmtpDialogue.open(running.submission);
    const { mail: record } = await running.stored(await client.deliver(anna, [stranger], mail));
    expect(record).toMatchObject({
      direction: "outgoing",
      origin: { via: "smtp", name: "submission:127.0.0.1:0", outgoing: true },
    });
  });

  it("belongs to the tenant that its listener names, whatever network the client is in", async () => {
    const env = { INGEST_SUBMISSION: "northwind@127.0.0.1:0" };
    const own = await startTestIngest({ env });
    using client = await SmtpDialogue.open(own.submission);
    const { mail: record } = await own.stored(await client.deliver(anna, [stranger], mail));
    expect(record).toMatchObject({
      direction: "outgoing",
      origin: { name: "submission:northwind@127.0.0.1:0", outgoing: true, tenantId: "northwind" },
    });
  });

  it("has the domain of its addresses in lower case and ASCII", async () => {
    using client = await SmtpDialogue.open(running.smtp, tenantClient);
    const { mail: record } = await running.stored(
      await client.deliver("Big.Local@xn--mnchen-3ya.Example", ["Jonas@PARTNER.example"], mail),
    );
    expect(record.smtp.mailFrom).toBe("Big.Local@xn--mnchen-3ya.example");
    expect(record.smtp.rcptTo).toEqual(["Jonas@partner.example"]);
  });
});
