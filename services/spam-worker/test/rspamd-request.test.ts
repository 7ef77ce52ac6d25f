import fc from "fast-check";
import { expect, it } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { createRspamdEngine } from "../src/rspamd/engine.ts";
import { requestHeaders } from "../src/rspamd/request.ts";
import { mailToJudge, rspamdKnown } from "./engine-kit.ts";
import { startFakeRspamd } from "./fake-rspamd.ts";

const signal = new AbortController().signal;
const limits = { timeoutMs: 5_000, connectTimeoutMs: 1_000, maxReplyBytes: 20_000 };
const raw = "Subject: x\r\n\r\nx\r\n";
const client = { address: "198.51.100.7", name: "mail.example.net", helo: "client.example.net" };

it("tells rspamd about the SMTP transaction and whose mail it is, and sends the mail as it is", async () => {
  await using fake = await startFakeRspamd();
  const engine = createRspamdEngine({
    address: parseEngineAddress(fake.address),
    clock: systemClock,
    ...limits,
    ...rspamdKnown,
  });
  const smtp = { mailFrom: "", rcptTo: ["a@example.com", "Änne@example.com"], client };
  await engine.ask(mailToJudge(raw, { mailId: "m7", user: "anna@example.com", smtp }), {
    signal,
    timeoutMs: 5_000,
  });
  engine.close();
  const [request] = fake.requests;
  expect(request?.body).toBe(raw);
  expect(
    Buffer.from(request?.head ?? "", "latin1")
      .toString()
      .split("\r\n"),
  ).toEqual([
    "POST /checkv2 HTTP/1.1",
    "Content-Length: 17",
    "Content-Type: message/rfc822",
    "User-Agent: rs-agent",
    "Queue-Id: m7",
    "From: <>",
    "Rcpt: <a@example.com>",
    "Rcpt: <Änne@example.com>",
    "IP: 198.51.100.7",
    "Helo: client.example.net",
    "Hostname: mail.example.net",
    "Deliver-To: anna@example.com",
    `Host: ${fake.address}`,
    "Connection: keep-alive",
  ]);
});

it("says nothing about an unknown client", () => {
  const smtp = { mailFrom: "a@x.example", rcptTo: [], client: { address: "", name: "", helo: "" } };
  const headers = requestHeaders(mailToJudge(raw, { smtp }));
  for (const name of ["IP", "Helo", "Hostname", "Deliver-To"])
    expect(headers).not.toHaveProperty(name);
});

it("never says that the sender logged in: rspamd would leave out most rules", () => {
  expect(requestHeaders(mailToJudge(raw, { user: "anna@example.com" }))).not.toHaveProperty("User");
});

it("writes one line per header, whatever a stranger wrote", () => {
  const text = fc.string({ unit: "binary", maxLength: 200 });
  fc.assert(
    fc.property(
      text,
      fc.array(text, { maxLength: 5 }),
      text,
      text,
      text,
      (from, to, ip, name, helo) => {
        const smtp = { mailFrom: from, rcptTo: to, client: { address: ip, name, helo } };
        for (const value of Object.values(requestHeaders(mailToJudge(raw, { smtp }))).flat()) {
          // What node:http writes byte by byte, and nothing that ends a line.
          expect(value).toMatch(/^[\x20-\x7e\x80-\xff]*$/);
        }
      },
    ),
  );
});

it("keeps within what rspamd reads as a head, however many recipients there are", () => {
  const rcptTo = Array.from({ length: 10_000 }, (_, n) => `recipient-${String(n)}@example.com`);
  const headers = requestHeaders(
    mailToJudge(raw, { smtp: { mailFrom: "a@x.example", rcptTo, client } }),
  );
  const named = [headers["Rcpt"] ?? []].flat();
  expect(named[0]).toBe("<recipient-0@example.com>");
  expect(named.join("").length).toBeLessThan(40_000);
});

it("refuses a user name of the policy that would smuggle in a header", () => {
  const mail = mailToJudge(raw, { user: "a\r\nFile: /etc/passwd" });
  expect(() => requestHeaders(mail)).toThrow(/no user name for rspamd/);
});
