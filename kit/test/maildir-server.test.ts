import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTransport } from "nodemailer";
import { expect, it, onTestFinished } from "vitest";
import { startMaildirServer } from "../src/smtp/maildir-server.ts";

async function running(options: Partial<Parameters<typeof startMaildirServer>[0]> = {}) {
  const dir = await mkdtemp(join(tmpdir(), "maildir-test-"));
  const server = await startMaildirServer({ dir, ...options });
  onTestFinished(async () => {
    await server.stop();
    await rm(dir, { recursive: true });
  });
  const lmtp = options.lmtp ?? false;
  const client = createTransport({ host: server.host, port: server.port, ignoreTLS: true, lmtp });
  const send = (raw: Buffer, to = ["b@example.net"]) =>
    client.sendMail({ envelope: { from: "a@example.org", to }, raw });
  return { server, send };
}

it("writes each mail byte for byte into new, and leaves nothing in tmp", async () => {
  const { server, send } = await running();
  const mails = [
    Buffer.from("Subject: 1\r\n\r\n.dot\r\n..\r\n.\r\n\r\n"),
    Buffer.from("Subject: 2\r\n\r\n\x00\xff\xe4 8 bit\r\n", "latin1"),
    Buffer.alloc(18 * 200_000, "0123456789abcdef\r\n"),
  ];
  for (const mail of mails) await send(mail);
  const names = await readdir(join(server.dir, "new"));
  const found = await Promise.all(names.map((name) => readFile(join(server.dir, "new", name))));
  expect(new Set(found.map((mail) => mail.toString("latin1")))).toEqual(
    new Set(mails.map((mail) => mail.toString("latin1"))),
  );
  expect(await readdir(join(server.dir, "tmp"))).toEqual([]);
  expect(server.delivered).toBe(3);
});

it("answers what it is told to answer, to each recipient", async () => {
  const { server, send } = await running({
    answer: (moment) =>
      moment.step === "recipient" && moment.address.startsWith("no@") ? "550 5.1.1 no" : undefined,
  });
  const sent = await send(Buffer.from("Subject: 1\r\n\r\n"), ["no@example.net", "yes@example.net"]);
  expect(sent.accepted).toEqual(["yes@example.net"]);
  expect(sent.rejectedErrors?.[0]?.response).toBe("550 5.1.1 no");
  expect(server.delivered).toBe(1);
});

it("hangs up after the dot with the mail written, when told so", async () => {
  const { server, send } = await running({
    answer: ({ step }) => (step === "mail" ? "drop" : undefined),
  });
  await expect(send(Buffer.from("Subject: 1\r\n\r\n"))).rejects.toThrow();
  expect(server.delivered).toBe(1);
});

it("speaks LMTP: one reply for each recipient", async () => {
  const { send } = await running({
    lmtp: true,
    answer: (moment) =>
      moment.step === "mail" && moment.recipient.startsWith("full@") ? "452 4.2.2 full" : undefined,
  });
  const sent = await send(Buffer.from("Subject: 1\r\n\r\n"), ["a@example.net", "full@example.net"]);
  expect(sent.accepted).toEqual(["a@example.net"]);
  expect(sent.rejected).toEqual(["full@example.net"]);
});
