import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { maxHeaderBytes } from "@rs-agent/shared/mail/admission.ts";
import { inspectTrace, receivedField } from "@rs-agent/shared/mail/received.ts";
import {
  anna,
  ben,
  closeTestIngests,
  hostname,
  northwind,
  startTestIngest,
  stranger,
  tenantClient,
  type RunningIngest,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";

const mail = "Subject: x\r\n\r\nHello\r\n";

function ownReceived(mailId: string): string {
  return receivedField({
    client: { address: "192.0.2.1", name: "", helo: "x" },
    by: hostname,
    protocol: "ESMTP",
    mailId,
    at: new Date(0),
  }).toString();
}

describe("an SMTP session", () => {
  let running: RunningIngest;
  let client: SmtpDialogue;
  let before: number;
  const accepted = async () => (await running.database.mails.countOutcomes()).accepted;
  beforeAll(async () => {
    running = await startTestIngest({
      env: { MAX_MAIL_BYTES: "20000", INGEST_MAX_RECIPIENTS: "3" },
    });
  });
  afterAll(closeTestIngests);
  beforeEach(async () => {
    before = await accepted();
    client = await SmtpDialogue.open(running.smtp);
  });
  afterEach(() => client.close());

  it("announces what is honoured end to end and nothing else", async () => {
    client.send("EHLO client.test\r\n");
    const { lines } = await client.reply();
    expect(lines).toEqual([
      hostname,
      "PIPELINING",
      "8BITMIME",
      "ENHANCEDSTATUSCODES",
      "SIZE 20000",
    ]);
  });

  it.each([
    "MAIL FROM:<a@b.example> RET=FULL",
    "MAIL FROM:<a@b.example> ENVID=1",
    "MAIL FROM:<a@b.example> SMTPUTF8",
    "MAIL FROM:<a@b.example> AUTH=<>",
  ])("refuses the parameter of an extension that it did not offer: %s", async (command) => {
    expect(await client.say(command)).toMatch(/^555 5\.5\.4 parameter \w+ is not supported$/);
  });

  it("refuses DSN parameters of a recipient", async () => {
    await client.say(`MAIL FROM:<${stranger}>`);
    expect(await client.say(`RCPT TO:<${anna}> NOTIFY=SUCCESS`)).toMatch(/^555 5\.5\.4 /);
  });

  it.each(["AUTH PLAIN AGEAYg==", "XCLIENT ADDR=192.0.2.1", "STARTTLS", "BDAT 3 LAST", "EXPN x"])(
    "does not know %s",
    async (command) => {
      expect(await client.say(command)).toMatch(/^500 5\.5\.2 /);
    },
  );

  it("ends with BDAT, whose bytes are not commands", async () => {
    client.send(
      `MAIL FROM:<${stranger}>\r\nRCPT TO:<${anna}>\r\nBDAT 90 LAST\r\n` +
        `RSET\r\nMAIL FROM:<${stranger}>\r\nRCPT TO:<${ben}>\r\nDATA\r\n${mail}.\r\n`,
    );
    const codes: number[] = [];
    for (let code = 1; code !== 0; codes.push(code)) code = (await client.reply()).code;
    expect(codes).toEqual([250, 250, 500, 0]);
    expect(await accepted()).toBe(before);
  });

  it("refuses XFORWARD of a peer that is not listed", async () => {
    expect(await client.say("XFORWARD ADDR=127.0.0.2")).toMatch(/^550 5\.7\.0 /);
    expect(await client.deliver(anna, [stranger], mail)).toMatch(/^550 5\.7\.1 /);
  });

  it("is not an open relay: a foreign recipient from outside is refused", async () => {
    expect(await client.deliver(anna, [stranger], mail)).toMatch(/^550 5\.7\.1 relaying denied/);
  });

  it.each([
    "jonas%partner.example@northwind.example",
    "partner.example!jonas@northwind.example",
    '"jonas@partner.example"@northwind.example',
    "@northwind.example:jonas@partner.example",
    "jonas@northwind.example.partner.example",
    "jonas@[127.0.0.1]",
  ])("is not an open relay for %s either", async (recipient) => {
    expect(await client.deliver(anna, [recipient], mail)).toMatch(/^5(50|01) 5\.[17]\.[13] /);
    expect(await accepted()).toBe(before);
  });

  it("lets a tenant's client send anywhere", async () => {
    using inside = await SmtpDialogue.open(running.smtp, tenantClient);
    expect(await inside.deliver(anna, [stranger], mail)).toMatch(/^250 2\.0\.0 queued as /);
  });

  it("takes mail for postmaster without a domain", async () => {
    expect(await client.deliver(stranger, ["postmaster"], mail)).toMatch(/^250 2\.0\.0 /);
  });

  it.each([
    ["MAIL FROM:<jörg@partner.example>", /^553 5\.6\.7 /],
    ["MAIL FROM:<jonas@>", /^501 5\.1\.7 /],
    ["MAIL FROM:<jonas@-.example>", /^501 5\.1\.7 /],
    ["MAIL FROM:<jonas@1.2>", /^501 5\.1\.7 /],
    ["MAIL FROM:<jonas>", /^501 5\.1\.7 /],
    [`MAIL FROM:<${"a".repeat(320)}@partner.example>`, /^501 5\.1\.7 /],
    ["MAIL FROM:<jonas@partner.example> SIZE=x", /^501 5\.5\.4 /],
    ["MAIL FROM:<jonas@partner.example> SIZE=1 SIZE=2", /^501 5\.5\.4 /],
    ["MAIL FROM:<jonas@partner.example> SIZE=+0D+0A", /^501 5\.1\.7 /],
    ["MAIL FROM:<postmaster>", /^501 5\.1\.7 /],
    ["MAIL FROM:jonas@partner.example", /^501 5\.1\.7 /],
    ["MAIL FROM:<odd user@partner.example>", /^501 5\.1\.7 /],
    ['MAIL FROM:<jo"nas@partner.example>', /^501 5\.1\.7 /],
    ['MAIL FROM:<"jonas@partner.example>', /^501 5\.1\.7 /],
    ['MAIL FROM:<"jonas"x@partner.example>', /^501 5\.1\.7 /],
    ['MAIL FROM:<"jo\tnas"@partner.example>', /^501 5\.1\.7 /],
    ['MAIL FROM:<"jörg"@partner.example>', /^553 5\.6\.7 /],
    ["MAIL FROM:<jonas@partner.example> BODY=BINARYMIME", /^501 5\.5\.4 /],
  ])("refuses the malformed %s", async (command, reply) => {
    client.send(Buffer.from(`${command}\r\n`));
    const { code, lines } = await client.reply();
    expect(`${code} ${lines[0] ?? ""}`).toMatch(reply);
  });

  it("refuses one recipient too many for now, and takes the others", async () => {
    await client.say(`MAIL FROM:<${stranger}>`);
    for (const name of ["a", "b", "c"]) {
      expect(await client.say(`RCPT TO:<${name}@northwind.example>`)).toMatch(/^250 2\.1\.5 /);
    }
    expect(await client.say("RCPT TO:<d@northwind.example>")).toBe("452 4.5.3 too many recipients");
    expect(await client.say("RCPT TO:<a@northwind.example>")).toMatch(/^250 2\.1\.5 /);
    await client.say("DATA");
    client.send(mail);
    const { mail: record } = await running.stored(await client.say("."));
    expect(record.recipients).toHaveLength(3);
  });

  it("refuses a mail whose SIZE is over the limit before it is sent", async () => {
    expect(await client.say(`MAIL FROM:<${stranger}> SIZE=20001`)).toMatch(/^552 5\.3\.4 /);
    expect(await client.say(`MAIL FROM:<${stranger}> SIZE=20000`)).toMatch(/^250 /);
  });

  it("refuses a mail that turns out to be over the limit, and never keeps a part of it", async () => {
    const reply = await client.deliver(stranger, [anna], `${"x".repeat(20_000)}\r\n`);
    expect(reply).toMatch(/^552 5\.3\.4 /);
    expect(await accepted()).toBe(before);
    expect(await client.deliver(stranger, [anna], `${"x".repeat(19_998)}\r\n`)).toMatch(/^250 /);
  });

  it("counts a lone LF as the two bytes that it becomes", async () => {
    expect(await client.deliver(stranger, [anna], `${"\n".repeat(10_000)}\r\n`)).toMatch(
      /^552 5\.3\.4 /,
    );
  });

  it("stops a mail loop by the number of Received fields, and says so", async () => {
    const hop = "Received: from a by b with SMTP id 1; Fri, 05 Mar 2027 06:07:08 +0000\r\n";
    expect(await client.deliver(stranger, [anna], hop.repeat(101) + mail)).toBe(
      "554 5.4.6 mail loop: more than 100 Received fields",
    );
    expect(await client.deliver(stranger, [anna], hop.repeat(100) + mail)).toMatch(/^250 /);
  });

  it("stops a mail that passed us five times already, and says so", async () => {
    const own = ownReceived("abc");
    expect(await client.deliver(stranger, [anna], own.repeat(4) + mail)).toMatch(/^250 /);
    expect(await client.deliver(stranger, [anna], own.repeat(5) + mail)).toBe(
      "554 5.4.6 mail loop: it has passed here 5 times already",
    );
  });

  it("takes a mail that another tenant's server forwards through us, its third time", async () => {
    using inside = await SmtpDialogue.open(running.smtp, tenantClient);
    const first = await running.stored(await inside.deliver(anna, [stranger], mail));
    const second = await running.stored(
      await client.deliver(anna, [ben], first.raw.toString("latin1")),
    );
    const forward = Buffer.concat([
      Buffer.from(
        "Received: from mx.ingest.test by desk.northwind.example with ESMTP id 7;\r\n" +
          "\tFri, 05 Mar 2027 06:07:08 +0000\r\n",
      ),
      second.raw,
    ]);
    const third = await running.stored(
      await inside.deliver(ben, [stranger], forward.toString("latin1")),
    );
    const trace = inspectTrace(third.raw, hostname);
    expect(trace.ownIds).toEqual([third.mail._id, second.mail._id, first.mail._id]);
    expect(trace.receivedCount).toBe(4);
    expect(third.mail.direction).toBe("outgoing");
  });

  it("refuses a mail with NUL characters", async () => {
    expect(await client.deliver(stranger, [anna], "A: 1\r\n\r\na\0b\r\n")).toBe(
      "554 5.6.0 the mail has NUL characters",
    );
    expect(await accepted()).toBe(before);
  });

  it("ends after twenty refused recipients", async () => {
    await client.say(`MAIL FROM:<${stranger}>`);
    for (let count = 1; count < 20; count += 1) {
      expect(await client.say("RCPT TO:<x@elsewhere.example>")).toMatch(/^550 5\.7\.1 /);
    }
    expect(await client.say("RCPT TO:<x@elsewhere.example>")).toMatch(/^421 4\.7\.0 /);
    await client.closed();
  });

  it("ends at a command line longer than any honest one", async () => {
    client.send(`NOOP ${"x".repeat(5_000)}\r\n`);
    expect((await client.reply()).code).toBe(421);
    await client.closed();
  });

  it("forgets a mail whose client goes away before the final dot", async () => {
    await client.begin(stranger, [anna]);
    client.send(mail);
    client.close();
    using next = await SmtpDialogue.open(running.smtp);
    await running.stored(await next.deliver(stranger, [ben], mail));
    expect(await accepted()).toBe(before + 1);
  });

  it("takes a new domain as soon as the policies have it", async () => {
    const domains = ["northwind.example", "new.example"];
    expect(await client.deliver(stranger, ["a@new.example"], mail)).toMatch(/^550 /);
    await client.say("RSET");
    await running.database.policies.replace([northwind({ domains })]);
    await vi.waitFor(async () => {
      await client.say("RSET");
      expect(await client.deliver(stranger, ["a@new.example"], mail)).toMatch(/^250 /);
    });
  });
});

describe("a header that no step could process", () => {
  afterEach(closeTestIngests);

  const field = (name: string, bytes: number) =>
    `${name}: ${"x".repeat(bytes - name.length - 4)}\r\n`;
  const stored = "250 2.0.0 queued as ";

  it.each([
    ["of 5,000 fields", "X: y\r\n".repeat(5_000), stored],
    [
      "of more than 5,000 fields",
      "X: y\r\n".repeat(5_001),
      "552 5.3.4 the header has more than 5000 fields",
    ],
    [
      "of more than 5,000 lines that are not fields",
      "x\r\n".repeat(5_001),
      "552 5.3.4 the header has more than 5000 fields",
    ],
    ["of 4 MB", field("Subject", maxHeaderBytes), stored],
    [
      "of more than 4 MB",
      field("Subject", maxHeaderBytes + 1),
      "552 5.3.4 the header is larger than 4194304 bytes",
    ],
    [
      "of more than 4 MB in many fields, without a body",
      field("X", 64 * 1_024).repeat(65),
      "552 5.3.4 the header is larger than 4194304 bytes",
    ],
    ["that is small, before a body of 5 MB", `X: y\r\n\r\n${"x\r\n".repeat(1_700_000)}`, stored],
    ["that a first line with a blank makes empty", ` ${"x\r\n".repeat(5_001)}`, stored],
  ])("%s is taken or refused at the door", async (_, header, reply) => {
    const running = await startTestIngest();
    using client = await SmtpDialogue.open(running.smtp);
    expect(await client.deliver(stranger, [anna], `${header}\r\n`)).toContain(reply);
  });
});

describe("limits over all sessions", () => {
  afterEach(closeTestIngests);

  it("puts mail off while too many bytes are in flight (I7)", async () => {
    const running = await startTestIngest({
      env: { MAX_MAIL_BYTES: "100000", INGEST_MAX_BYTES_IN_FLIGHT: "240000" },
    });
    const slow = await Promise.all([1, 2].map(() => SmtpDialogue.open(running.smtp)));
    for (const client of slow) {
      await client.begin(stranger, [anna]);
      client.send(`${"x".repeat(90_000)}\r\n`);
    }
    const client = await SmtpDialogue.open(running.smtp);
    await vi.waitFor(async () => {
      await client.say("RSET");
      expect(await client.deliver(stranger, [anna], `${"x".repeat(50_000)}\r\n`)).toMatch(
        /^452 4\.3\.1 /,
      );
    });
    expect(await client.say(`MAIL FROM:<${stranger}> SIZE=90000`)).toMatch(/^452 4\.3\.1 /);
    for (const one of slow) expect(await one.say(".")).toMatch(/^250 2\.0\.0 /);
    await client.say("RSET");
    await vi.waitFor(async () => {
      const reply = await client.deliver(stranger, [anna], `${"x".repeat(50_000)}\r\n`);
      expect(reply).toMatch(/^250 2\.0\.0 /);
    });
    for (const one of [...slow, client]) one.close();
  });

  it("rejects connections over the limit, and takes new ones when others have gone", async () => {
    const running = await startTestIngest({ env: { INGEST_MAX_CONNECTIONS: "2" } });
    const first = await SmtpDialogue.open(running.smtp);
    using second = await SmtpDialogue.open(running.lmtp, undefined, "LHLO");
    using third = await SmtpDialogue.connect(running.smtp);
    expect(await third.reply()).toEqual({
      code: 421,
      lines: ["4.3.2 too many connections, try again later"],
    });
    await third.closed();
    first.close();
    await vi.waitFor(async () => {
      using fourth = await SmtpDialogue.connect(running.smtp);
      expect((await fourth.reply()).code).toBe(220);
    });
  });

  it("ends a session that says nothing, and one whose mail does not end", async () => {
    const running = await startTestIngest({
      env: { INGEST_IDLE_TIMEOUT_MS: "300", INGEST_DATA_TIMEOUT_MS: "600" },
    });
    using silent = await SmtpDialogue.open(running.smtp);
    using dripping = await SmtpDialogue.open(running.smtp);
    await dripping.begin(stranger, [anna]);
    const drip = setInterval(() => dripping.send("x\r\n"), 50);
    expect(await silent.reply()).toMatchObject({ code: 421 });
    expect(await dripping.reply()).toEqual({
      code: 421,
      lines: ["4.4.2 the mail did not arrive in time, closing connection"],
    });
    clearInterval(drip);
    expect((await running.database.mails.countOutcomes()).accepted).toBe(0);
  });

  it("disconnects a stranger who talks before the greeting", async () => {
    const running = await startTestIngest({ env: { INGEST_GREET_DELAY_MS: "2000" } });
    using hasty = await SmtpDialogue.connect(running.smtp);
    expect(await hasty.say("EHLO hasty.test")).toMatch(/^421 /);
  });

  it("puts mail off while no policy has the listener's tenant, and takes it as soon as one has", async () => {
    const env = { INGEST_SUBMISSION: "acme@127.0.0.1:0" };
    const running = await startTestIngest({ env });
    using client = await SmtpDialogue.open(running.submission);
    expect(await client.say(`MAIL FROM:<${anna}>`)).toMatch(/^451 4\.3\.5 .*tenant acme/);
    const acme = { _id: "tenant:acme", tenantId: "acme", domains: ["acme.example"], networks: [] };
    await running.database.policies.replace([northwind(), northwind(acme)]);
    await vi.waitFor(async () => {
      expect(await client.say(`MAIL FROM:<${anna}>`)).toMatch(/^250 /);
    });
  });

  it("lets only listed clients use a submission listener", async () => {
    const running = await startTestIngest({
      env: { INGEST_SUBMISSION_CLIENTS: "127.0.0.9" },
    });
    using stray = await SmtpDialogue.connect(running.submission);
    expect(await stray.reply()).toMatchObject({ code: 554 });
    using listed = await SmtpDialogue.open(running.submission, "127.0.0.9");
    expect(await listed.deliver(anna, [stranger], mail)).toMatch(/^250 2\.0\.0 /);
  });
});
