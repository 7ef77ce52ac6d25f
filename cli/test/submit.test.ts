import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startSmtpSink, type SmtpSink } from "@rs-agent/kit/smtp/smtp-sink.ts";
import { runCli } from "./run-cli.ts";

/** A real SMTP peer that refuses `no@…`, and every mail that asks to be refused. */
let sink: SmtpSink;
let address: string;
let received: { from: string; to: readonly string[]; raw: Buffer }[] = [];

beforeAll(async () => {
  sink = await startSmtpSink({
    onRecipient: (to) => (to.startsWith("no@") ? "550 5.7.1 relaying denied" : undefined),
    async onMail(mail, { mailFrom: from, rcptTo: to }) {
      const raw = await buffer(mail);
      received.push({ from, to, raw });
      return raw.includes("refuse me") ? "451 4.3.0 cannot store" : undefined;
    },
  });
  address = `${sink.host}:${String(sink.port)}`;
});
afterAll(() => sink.stop());
beforeEach(() => {
  received = [];
});

const raw = Buffer.from("Subject: \xfc\r\n\r\n.dot\r\n8 bit: \xe4\r\n", "latin1");
const files = {
  "a.eml": raw,
  "b.eml": Buffer.from("Subject: b\r\n\r\nb\r\n"),
  "bad.eml": "x: y\r\n\r\nrefuse me\r\n",
};
const submit = (...args: string[]) => runCli(["submit", ...args, "--smtp", address], {}, files);

test("hands in each file, byte for byte", async () => {
  const { out, code } = await submit(
    "a.eml",
    "b.eml",
    "--from",
    "a@x.example",
    "--to",
    "b@y.example",
    "c@y.example",
  );
  expect(code).toBe(0);
  expect(out.split("\n")[0]).toMatch(/^a\.eml: b@y\.example, c@y\.example: 250 /);
  expect(received.map(({ from, to }) => [from, to])).toEqual([
    ["a@x.example", ["b@y.example", "c@y.example"]],
    ["a@x.example", ["b@y.example", "c@y.example"]],
  ]);
  expect(received[0]?.raw.equals(raw)).toBe(true);
});

test("the null sender is handed in as such", async () => {
  await submit("b.eml", "--from", "", "--to", "b@y.example");
  expect(received[0]?.from).toBe("");
});

test("shows each refused recipient with the server's reply, and fails", async () => {
  const { out, code } = await submit(
    "b.eml",
    "--from",
    "a@x.example",
    "--to",
    "no@y.example,b@y.example",
    "--json",
  );
  expect(code).toBe(1);
  expect(JSON.parse(out)).toMatchObject([
    {
      file: "b.eml",
      accepted: ["b@y.example"],
      rejected: [{ address: "no@y.example", reply: "550 5.7.1 relaying denied" }],
    },
  ]);
});

test("a mail that is refused as a whole fails with the reply, and the next one is handed in", async () => {
  const { out, code } = await submit(
    "bad.eml",
    "b.eml",
    "--from",
    "a@x.example",
    "--to",
    "b@y.example",
  );
  expect(code).toBe(1);
  expect(out).toContain("bad.eml: b@y.example: refused: 451 4.3.0 cannot store");
  expect(out).toContain("b.eml: b@y.example: 250 ");
});

test("a server that is away is one line with its code", async () => {
  const away = runCli(
    ["submit", "b.eml", "--smtp", "127.0.0.1:1", "--from", "", "--to", "b@y.example"],
    {},
    files,
  );
  await expect(away).rejects.toMatchObject({ code: "CLI_SUBMIT_REFUSED" });
});
