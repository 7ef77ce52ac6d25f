import { expect, it, onTestFinished } from "vitest";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { runFlood } from "../src/flood.ts";
import { floodOptions } from "../src/options.ts";
import { reportPage } from "../src/report/page.ts";
import { reportText } from "../src/report/text.ts";
import { dotStuffed, SmtpSession } from "@rs-agent/kit/smtp/smtp-session.ts";
import { startStalledServer } from "./stalled-server.ts";

/** Hands copies on as a relay would: each number this many times. */
async function relay(port: number, run: string, copies: readonly number[]): Promise<void> {
  const session = await SmtpSession.open({ host: "127.0.0.1", port, name: "relay.example" });
  for (const number of copies) {
    const rcptTo = `TO.${run}.${number}.0@A.example`;
    await session.say("MAIL FROM:<x@x.example>\r\n");
    await session.say(`RCPT TO:<${rcptTo}>\r\n`);
    await session.say("DATA\r\n");
    const head = `Received: from x\r\nX-Flood-Id: ${run}.${number}\r\nSubject: x\r\n`;
    expect(await session.say(`${head}\r\nX-Flood-Id: ${run}.99\r\n.\r\n`)).toMatch(/^250/);
  }
  session.close();
}

it("notices what does not arrive and what comes twice, and the report says so", async () => {
  const server = await startStalledServer();
  onTestFinished(() => server.close());
  const sinkPort = await freePort();
  let relayed: Promise<void> | undefined;
  let opening = "";
  const result = await runFlood(
    floodOptions(
      {
        ...{ tenants: "a.example", mix: "clean", size: "1k", rate: "10:1s,20:1s", seed: "1" },
        ...{ sink: `127.0.0.1:${String(sinkPort)}`, check: true, wait: "4s" },
      },
      { smtp: `127.0.0.1:${server.port}`, database: undefined, processes: [] },
    ),
    {
      signal: new AbortController().signal,
      onSecond: ({ accepted, at }) => {
        const run = /^flood (\w+):/.exec(opening)?.[1] ?? "";
        const numbers = Array.from({ length: 29 }, (_, number) => number);
        if (at > 1 && accepted === 0) relayed ??= relay(sinkPort, run, [...numbers, 3]);
      },
      say: (text) => (opening ||= text),
    },
  );
  await relayed;
  expect(result.sink).toEqual({
    ...{ expected: 30, delivered: 29, copies: 30, duplicates: 1, strangers: 0 },
  });
  expect(result.check).toMatchObject({ holds: false, findings: { lost: 1, duplicate: 1 } });
  expect(result.check?.examples.map(({ kind, number }) => [kind, number])).toEqual([
    ["duplicate", 3],
    ["lost", 29],
  ]);
  expect(result.ended).toBe("nothing moves");

  const text = reportText(result);
  expect(text).toContain("DOES NOT HOLD: lost 1, duplicate 1 (nothing moves)");
  expect(text.split("\n").filter((line) => line.length > 80)).toEqual([]);

  const page = reportPage({ ...result, replies: { "</script><b>550": 1 } });
  expect(page).not.toContain("</script><b>");
  expect(page).not.toMatch(/(?:src|href)=|@import|url\(/);
  const data = /id="result">(.*)<\/script>/.exec(page)?.[1] ?? "";
  expect(JSON.parse(data)).toMatchObject({ run: result.run, timeline: result.timeline });
});

it("sends lines that begin with a dot correctly", () => {
  const stuffed = dotStuffed(Buffer.from(".a\r\n.\r\nb.\r\n..c\r\n"));
  expect(stuffed.toString()).toBe("..a\r\n..\r\nb.\r\n...c\r\n");
  const plain = Buffer.from("a\r\n");
  expect(dotStuffed(plain)).toBe(plain);
});
