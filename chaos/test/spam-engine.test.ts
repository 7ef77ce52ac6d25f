import { inject, expect, it, onTestFinished } from "vitest";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { createSpamdClient } from "@rs-agent/spam-worker/spamd/client.ts";
import { gtube } from "@rs-agent/spam-worker/canary.ts";
import { engineVersion } from "../src/parts/spam-engine-version.ts";
import { startSpamEngine, type Judged } from "../src/parts/spam-engine-process.ts";

const limits = { timeoutMs: 20_000, connectTimeoutMs: 5_000, maxReplyBytes: 1_000_000 };
const signal = new AbortController().signal;

async function start() {
  const judged: Judged[] = [];
  const engine = await startSpamEngine(inject("spamd"), (each) => judged.push(each));
  onTestFinished(() => engine.stop());
  return {
    judged,
    client: createSpamdClient({ address: parseEngineAddress(engine.address), ...limits }),
  };
}

function mail(number: number, text: string): Buffer[] {
  const lines = [
    `Received: from x (x [192.0.2.1])`,
    `\tby test (rs-agent) with ESMTP id mail${number}; Fri, 1 Jan 2027 00:00:00 +0000`,
    `From: a@stranger.example`,
    `Message-ID: <${number}.1@stranger.example>`,
    ``,
    text,
    ``,
  ];
  return [Buffer.from(lines.join("\r\n"))];
}

it("judges as spamd does, and says that it is not spamd", async () => {
  const { client, judged } = await start();
  expect(
    await client.report([Buffer.from(`Subject: x\r\n\r\n${gtube()}\r\n`)], { signal }),
  ).toMatchObject({
    kind: "answer",
    spam: true,
    rules: [{ name: "GTUBE", score: 1000 }, { name: "RDNS_NONE" }],
  });
  const ham = [Buffer.from("Subject: x\r\n\r\nhello\r\n")];
  expect(await client.report(ham, { signal })).toMatchObject({ spam: false });
  const headers = await client.headers(ham, { signal });
  expect("headers" in headers && headers.headers.toString()).toContain(engineVersion);
  // Canaries are not mails.
  expect(judged).toEqual([]);
});

it("passes mail on to SpamAssassin, as much at once as it has room for, and returns its answers", async () => {
  const { client, judged } = await start();
  const answers = await Promise.all(
    [1, 2, 3].map((number) => client.report(mail(number, "hello"), { signal })),
  );
  for (const answer of answers) expect(answer.kind).toBe("answer");
  const judges = () => judged.map(({ judge }) => judge).sort();
  await expect.poll(judges).toEqual(["ours", "spamd", "spamd"]);
});
