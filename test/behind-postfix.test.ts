import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTransport } from "nodemailer";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { people } from "../start/samples/samples.ts";
import { startFrontPostfix, type FrontPorts, type FrontPostfix } from "./support/front-postfix.ts";
import { verifyByMailDkim } from "./support/mail-dkim.ts";
import { useWholeSystem } from "./support/use-system.ts";
import { mailIdIn, type Relayed } from "./support/whole-system.ts";

const { anna, ben, jonas } = people;
const [name = "", domain = ""] = anna.split("@");
const user = { name, domain, password: "correct horse" };
/** A stranger's address, neither in `mynetworks` nor in a tenant's networks. */
const elsewhere = "127.0.0.9";
const archive = "archive@northwind.example";
const sales = "sales@northwind.example";
const limit = 100_000;

/** What this Postfix has in addition to the recipe. */
function siteSettings([host = "", port = ""]: string[]): string {
  const hop = `smtp:[${host}]:${port}`;
  return `
myhostname = mx.northwind.example
mydestination = localhost
mynetworks = 127.0.0.1/32
relay_domains = northwind.example
default_transport = ${hop}
relay_transport = ${hop}
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
virtual_alias_maps = inline:{ { ${sales} = ${anna}, ${jonas} } }
recipient_canonical_maps = inline:{ { info@northwind.example = ${anna} } }
recipient_bcc_maps = inline:{ { ${ben} = ${archive} } }
message_size_limit = ${limit}
`;
}

interface Mail {
  from?: string;
  to: string;
  subject: string;
  text?: string;
}

function textOf({ from = anna, to, subject, text = "Grüße aus Hamburg\r\n" }: Mail): string {
  const header = [`From: ${from}`, `To: ${to}`, `Subject: ${subject}`, "MIME-Version: 1.0"];
  const type = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit";
  return [...header, type, "", text].join("\r\n");
}

/** Only root can start Postfix. */
describe.runIf(process.getuid?.() === 0)("behind a Postfix set up as docs/postfix.md says", () => {
  let ports: FrontPorts;
  let postfix: FrontPostfix;
  let dir: string;

  const whole = useWholeSystem(async () => {
    const [incoming, outgoing, back] = [await freePort(), await freePort(), await freePort()];
    ports = { smtp: await freePort(), submission: await freePort(), incoming, outgoing, back };
    return {
      smtp: `127.0.0.1:${incoming}`,
      policy: `default: { route: { nextHop: "127.0.0.1:${back}" } }`,
      serviceEnv: {
        ingest: {
          INGEST_XFORWARD_PEERS: "127.0.0.1",
          INGEST_SUBMISSION: `northwind@127.0.0.1:${outgoing}`,
        },
      },
    };
  });

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-postfix-"));
    await chmod(dir, 0o755);
    const main = siteSettings(whole().system.nextHop.address.split(":"));
    postfix = await startFrontPostfix({ dir, ports, user, main });
  });
  afterAll(async () => {
    await postfix.stop();
    await rm(dir, { recursive: true, force: true });
  });

  async function send(mail: Mail, { via = "smtp", from = elsewhere, signedIn = false } = {}) {
    const { from: sender = anna, to } = mail;
    const transport = createTransport({
      host: "127.0.0.1",
      port: via === "smtp" ? ports.smtp : ports.submission,
      localAddress: from,
      name: "client.example",
      ignoreTLS: true,
      ...(signedIn && { auth: { user: anna, pass: user.password } }),
    });
    try {
      const envelope = { from: sender, to: [to], use8BitMime: true };
      return await transport.sendMail({ envelope, raw: textOf(mail) });
    } finally {
      transport.close();
    }
  }

  /** What has reached the last hop with that subject, once it has all these recipients. */
  const arrived = (subject: string, recipients: readonly string[]) =>
    vi.waitFor(async () => {
      const all = (await whole().relayed()).filter(({ bytes }) =>
        bytes.toString("latin1").includes(`\r\nSubject: ${subject}\r\n`),
      );
      const to = all.flatMap(({ rcptTo }) => rcptTo).sort();
      if (to.length < recipients.length)
        throw new Error(`${subject}: ${to.join()} so far\n${await postfix.log()}`);
      expect(to).toEqual([...recipients].sort());
      return all;
    });

  async function recordOf({ bytes }: Relayed) {
    return whole().record(mailIdIn(bytes) ?? "");
  }

  async function expectSigned(mail: Relayed) {
    const seen = await verifyByMailDkim(mail.bytes, {
      key: whole().dkimKey,
      file: join(dir, "mail"),
    });
    expect(seen).toEqual({ result: "pass", signatures: ["northwind.example rs1"] });
  }

  it("a stranger's mail is delivered as incoming, with the client that Postfix saw", async () => {
    await send({ from: jonas, to: anna, subject: "from outside" });
    const [mail] = await arrived("from outside", [anna]);
    const { direction, smtp } = await recordOf(mail as Relayed);
    expect({ direction, ...smtp.client }).toMatchObject({
      direction: "incoming",
      address: elsewhere,
      helo: "client.example",
    });
    expect(mail?.bytes.toString()).toContain("Grüße aus Hamburg\r\n");
  });

  it("a stranger may not send to strangers", async () => {
    const sent = send({ from: jonas, to: people.winner, subject: "relay me" });
    await expect(sent).rejects.toThrow(/554 5\.7\.1 .*Relay access denied/);
  });

  it.each(["smtp", "submission"])(
    "a user who signs in at %s from anywhere sends out, signed",
    async (via) => {
      const subject = `signed in at ${via}`;
      await send({ to: jonas, subject }, { via, signedIn: true });
      const [mail] = await arrived(subject, [jonas]);
      const { direction, smtp, plan } = await recordOf(mail as Relayed);
      expect({ direction, tenantId: plan?.tenantId, address: smtp.client.address }).toEqual({
        direction: "outgoing",
        tenantId: "northwind",
        address: elsewhere,
      });
      await expectSigned(mail as Relayed);
    },
  );

  it("a client of mynetworks sends out, signed", async () => {
    await send({ to: jonas, subject: "from the office" }, { from: "127.0.0.1" });
    const [mail] = await arrived("from the office", [jonas]);
    await expectSigned(mail as Relayed);
  });

  it("mail of local programs goes out, signed", async () => {
    await postfix.sendmail(textOf({ to: jonas, subject: "from cron" }));
    const [mail] = await arrived("from cron", [jonas]);
    expect(await recordOf(mail as Relayed)).toMatchObject({ direction: "outgoing" });
    await expectSigned(mail as Relayed);
  });

  it.each([
    ["an alias, which leads out", sales, [anna, jonas]],
    ["a canonical address", "info@northwind.example", [anna]],
    ["one whose mail is copied", ben, [ben, archive]],
  ])("a mail to %s is mapped once, on its way back", async (what, to, recipients) => {
    await send({ from: people.winner, to, subject: what });
    const [mail] = await arrived(what, recipients);
    expect((await recordOf(mail as Relayed)).smtp.rcptTo).toEqual([to]);
  });

  it("a mail as large as Postfix takes comes through, though it has grown", async () => {
    // What Postfix counts besides the mail is its own affair; the header fields that we add are
    // more than one step.
    const step = `${"x".repeat(70)}\r\n`;
    const sizes = Array.from({ length: 100 }, (_, less) => Math.floor(limit / step.length) - less);
    const isTaken = async (lines: number) =>
      send({ from: jonas, to: anna, subject: "large", text: step.repeat(lines) }).then(
        () => true,
        (error: unknown) => !/552 5\.3\.4/.test(String(error)),
      );
    let taken = sizes.shift() ?? 0;
    while (!(await isTaken(taken))) taken = sizes.shift() ?? 0;
    const [mail] = await arrived("large", [anna]);
    expect(mail?.size).toBeGreaterThan(taken * step.length);
  });

  it("offers strangers only what is kept all the way", async () => {
    const socket = connect({ host: "127.0.0.1", port: ports.smtp, localAddress: elsewhere });
    socket.setEncoding("latin1");
    await once(socket, "data");
    socket.write("EHLO client.example\r\n");
    const [reply] = (await once(socket, "data")) as [string];
    socket.destroy();
    expect(reply).toMatch(/8BITMIME/);
    expect(reply).not.toMatch(/SMTPUTF8|DSN/);
  });

  it("neither of the two sends anything back to any sender", async () => {
    const outcomes = await whole().database.mails.countOutcomes();
    expect(outcomes).toMatchObject({ bounced: 0, dead: 0, open: 0 });
    expect(await postfix.log()).not.toMatch(/status=(bounced|deferred)|sender non-delivery/);
  });
});
