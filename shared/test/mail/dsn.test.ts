import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { canonicalize } from "../../src/mail/canonical.ts";
import { sendDsn } from "../../src/life/report.ts";
import { createDsn, mayBounce, type DsnRequest } from "../../src/mail/dsn.ts";
import { recordVersion, type BodyRef, type MailRecord } from "../../src/mail/record.ts";

const mail: MailRecord = {
  _id: "abc",
  v: recordVersion,
  state: "relaying",
  origin: { via: "smtp", name: "mx" },
  smtp: {
    mailFrom: "sender@example.org",
    rcptTo: ["one@example.net"],
    client: { address: "", name: "", helo: "" },
  },
  recipients: [],
  receivedAt: new Date("2026-06-01T10:00:00Z"),
  body: { id: "b", form: "document", size: 1, sha256: "0".repeat(64) },
  header: { messageId: "<1@example.org>" },
  verdicts: {},
  history: [],
};

const request: DsnRequest = {
  mail,
  proof: { kind: "proven", detail: "SPF pass for example.org" },
  failed: [
    {
      address: "one@example.net",
      status: "5.1.1",
      reply: "550-5.1.1 no such user\n550 5.1.1 " + "and many words of explanation ".repeat(10),
      remoteMta: "mx.example.net",
    },
    { address: "bj\u00f6rn@example.net", status: "5.6.7", reply: "no SMTPUTF8" },
  ],
  reason: "the next mail server refused it",
  original: Buffer.from("From: sender@example.org\r\nSubject: words\r\n\r\nbody, not returned\r\n"),
  reportingMta: "relay.example.org",
  now: new Date("2026-06-01T10:05:00Z"),
};

/** What Python's email package, which knows RFC 3464, reads from it. */
function read(raw: Buffer) {
  const program = `
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, status, header = list(m.iter_parts())
groups = [dict(g.items()) for g in status.get_payload()]
returned = header.get_payload(decode=True)
print(json.dumps({
  "type": m.get_content_type(), "report": m.get_param("report-type"),
  "headers": {k: str(v) for k, v in m.items()}, "defects": [str(d) for p in m.walk() for d in p.defects],
  "types": [p.get_content_type() for p in (text, status, header)],
  "text": text.get_content(), "groups": groups, "returned": returned.decode("latin1"),
}))`;
  const out = execFileSync("python3", ["-c", program], { input: raw, encoding: "utf8" });
  return JSON.parse(out) as {
    type: string;
    report: string;
    headers: Record<string, string>;
    defects: string[];
    types: string[];
    text: string;
    groups: Record<string, string>[];
    returned: string;
  };
}

it("makes a report that another implementation of RFC 3464 reads as one", () => {
  const { raw } = createDsn(request);
  const report = read(raw);
  expect(report.defects).toEqual([]);
  expect(report).toMatchObject({ type: "multipart/report", report: "delivery-status" });
  expect(report.types).toEqual(["text/plain", "message/delivery-status", "text/rfc822-headers"]);
  expect(report.headers).toMatchObject({
    To: "sender@example.org",
    From: "Mail Delivery System <MAILER-DAEMON@relay.example.org>",
    "Auto-Submitted": "auto-replied",
    "In-Reply-To": "<1@example.org>",
    Date: "Mon, 01 Jun 2026 10:05:00 +0000",
  });
  const [perMail, first, second] = report.groups;
  expect(perMail).toMatchObject({
    "Reporting-MTA": "dns; relay.example.org",
    "Arrival-Date": "Mon, 01 Jun 2026 10:00:00 +0000",
  });
  expect(first).toMatchObject({
    "Final-Recipient": "rfc822; one@example.net",
    Action: "failed",
    Status: "5.1.1",
    "Remote-MTA": "dns; mx.example.net",
  });
  expect(first?.["Diagnostic-Code"]).toMatch(
    /^smtp; 550-5\.1\.1 no such user 550 5\.1\.1 and many/,
  );
  expect(second).toMatchObject({
    "Final-Recipient": "utf-8; bj\\x{F6}rn@example.net",
    "Diagnostic-Code": "X-RadicalSpam; no SMTPUTF8",
  });
  expect(report.text).toContain("bj\u00f6rn@example.net");
  expect(report.returned).toBe("From: sender@example.org\r\nSubject: words\r\n");
});

it("is canonical 7-bit mail with short lines, whatever the failed mail's header is", () => {
  const original = Buffer.concat([
    Buffer.from(`Subject: \xe4\xf6 \x80\r\nX-Long: ${"x".repeat(5_000)}\r\n`, "latin1"),
    Buffer.from(`X-More: ${"y".repeat(70_000)}\r\n\r\nbody\r\n`),
  ]);
  const { raw } = createDsn({ ...request, original });
  expect(canonicalize(raw)).toBe(raw);
  expect(raw.every((byte) => byte < 128)).toBe(true);
  expect(
    Math.max(
      ...raw
        .toString()
        .split("\r\n")
        .map((line) => line.length),
    ),
  ).toBeLessThan(999);
  const report = read(raw);
  expect(report.defects).toEqual([]);
  expect(report.returned).toBe(`Subject: \xe4\xf6 \x80\r\nX-Long: ${"x".repeat(5_000)}\r\n`);
});

it("keeps the delivery status 7bit, however long a word of the reply or an address is", () => {
  const word = "x".repeat(1_500);
  const url = `https://hop.example/why?${"y".repeat(300)}`;
  const reply = `550 5.7.1 ${word} see ${url} for more`;
  const address = `${"\u{1f600}".repeat(200)}@example.net`;
  const failed = [
    { address: "one@example.net", status: "5.7.1", reply, remoteMta: "mx.example.net" },
    { address, status: "5.6.7", reply: word, remoteMta: word },
  ];
  const { raw } = createDsn({ ...request, failed });
  const text = raw.toString("latin1");
  const [status = ""] = text.split("Content-Type: message/delivery-status\r\n").slice(1);
  expect(status).toMatch(/^Content-Transfer-Encoding: 7bit\r\n\r\n/);
  const lengths = text.split("\r\n").map((line) => line.length);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(998);
  const report = read(raw);
  expect(report.defects).toEqual([]);
  const said = report.groups[1]?.["Diagnostic-Code"];
  expect(said?.replaceAll(/\s/g, "")).toBe(`smtp;${reply}`.replaceAll(" ", ""));
  expect(said).toContain(url);
  expect(report.groups[2]?.["Final-Recipient"]?.replaceAll(/\s/g, "")).toBe(
    `utf-8;${"\\x{1F600}".repeat(200)}@example.net`,
  );
});

it("lets nothing in a reply, an address or a Message-ID become a field of its own", () => {
  const evil = {
    ...request,
    mail: {
      ...mail,
      smtp: { ...mail.smtp, mailFrom: "a@example.org>\r\nBcc: <x@example.org" },
      header: { messageId: "<1@example.org>\r\nX-Evil: 1" },
    },
    failed: [
      { address: "b@example.net\r\nX-Evil: 1", status: "5.0.0", reply: "550 no\r\nX-Evil: 1" },
    ],
    reportingMta: "relay\r\nX-Evil: 1",
  };
  const report = read(createDsn(evil).raw);
  const names = [report.headers, ...report.groups].flatMap((fields) => Object.keys(fields));
  expect(names).not.toContain("X-Evil");
  expect(names).not.toContain("Bcc");
});

it("lets nothing in a reason or a reply steer the reader's terminal", () => {
  const odd = {
    ...request,
    failed: [{ address: "b@example.net", status: "5.7.1", reply: "550 a\x1b[2J\n550 \u202eb" }],
    reason: "infected: Wurm\x1b[31m.B\u00e4cker\r\n\u009bx",
  };
  const text = read(createDsn(odd).raw).text.replaceAll("\r\n", "\n");
  expect(text).toContain("the recipients below: infected: Wurm [31m.B\u00e4cker x.\n");
  expect(text).toContain("\n    550 a [2J\n    550  b\n");
  expect(text).not.toMatch(/[^\P{C}\n]/u);
});

it("gives the same failure the same id, and another failure another id", () => {
  const { id } = createDsn(request);
  const [first, second] = request.failed;
  const turned = [second, first].filter((one) => one !== undefined);
  expect(createDsn({ ...request, failed: turned, now: new Date() }).id).toBe(id);
  expect(createDsn({ ...request, reason: "its time in the queue is over" }).id).not.toBe(id);
  expect(createDsn({ ...request, failed: turned.slice(1) }).id).not.toBe(id);
});

it("stores the body before the mail, which waits for its plan from the null sender", async () => {
  const stored: string[] = [];
  let record: MailRecord | undefined;
  const body: BodyRef = { id: "new", form: "document", size: 1, sha256: "1".repeat(64) };
  const store = {
    bodies: {
      put: () => {
        stored.push("body");
        return Promise.resolve(body);
      },
    },
    mails: {
      insert: (inserted: MailRecord) => {
        stored.push("mail");
        record = inserted;
        return Promise.resolve();
      },
    },
  };
  const id = await sendDsn(store, request);
  expect(stored).toEqual(["body", "mail"]);
  expect(record).toMatchObject({
    _id: id,
    state: "incoming",
    next: "plan",
    origin: { via: "dsn", name: "abc" },
    smtp: { mailFrom: "", rcptTo: ["sender@example.org"] },
    body,
  });
});

it("is not made for the null sender, nor about another report", () => {
  expect(mayBounce(mail)).toBe(true);
  expect(mayBounce({ ...mail, smtp: { ...mail.smtp, mailFrom: "" } })).toBe(false);
  expect(mayBounce({ ...mail, origin: { via: "dsn", name: "x" } })).toBe(false);
});

it("names quoted local parts as they are (RFC 5321 §4.1.2)", () => {
  const quoted = { ...mail, smtp: { ...mail.smtp, mailFrom: '"sender  x"@sender.example' } };
  const failed = [{ address: '"odd user"@acme.example', status: "5.1.1", reply: "no such user" }];
  const { raw } = createDsn({ ...request, mail: quoted, failed });
  const report = read(raw);
  expect(raw.toString("latin1")).toContain('\r\nTo: <"sender  x"@sender.example>\r\n');
  expect(report.groups[1]?.["Final-Recipient"]).toBe('rfc822; "odd user"@acme.example');
  expect(report.text).toContain('<"odd user"@acme.example>');
  expect(report.defects).toEqual([]);
});
