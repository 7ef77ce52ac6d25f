import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterEach, expect, it, onTestFinished, vi } from "vitest";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { newToken } from "@rs-agent/shared/ids.ts";
import { startMongoDbProxy } from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { spawnIngest } from "./ingest-process.ts";
import {
  anna,
  closeTestIngests,
  startTestIngest,
  stranger,
  tenantClient,
} from "./running-ingest.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

afterEach(closeTestIngests);

it("counts what it accepted by direction, and what it refused by its reply", async () => {
  const metrics = new Metrics();
  const { smtp } = await startTestIngest({ metrics, env: { INGEST_MAX_CONNECTIONS: "1" } });
  const client = await SmtpDialogue.open(smtp);
  const data = "Subject: x\r\n\r\nHello\r\n";
  for (let n = 0; n < 3; n += 1) {
    expect(await client.deliver(stranger, [anna], data)).toMatch(/^250 /);
  }
  expect(await client.begin(stranger, ["b@elsewhere.example"])).toMatch(/^550 5\.7\.1 /);
  expect(await client.say("MAIL FROM:<a@b.example> ENVID=1")).toMatch(/^503|^555/);
  const second = await SmtpDialogue.connect(smtp);
  expect(await second.reply()).toMatchObject({ code: 421 });
  client.close();
  const own = await vi.waitFor(async () => {
    const dialogue = await SmtpDialogue.connect(smtp, tenantClient);
    expect((await dialogue.reply()).code).toBe(220);
    return dialogue;
  });
  await own.say("EHLO client.test");
  expect(await own.deliver(anna, ["b@elsewhere.example"], data)).toMatch(/^250 /);
  own.close();
  const text = await metrics.text();
  for (const line of [
    'rs_agent_ingest_mails_accepted_total{direction="incoming"} 3',
    'rs_agent_ingest_mails_accepted_total{direction="outgoing"} 1',
    'rs_agent_ingest_refusals_total{reply="550",status="5.7.1"} 1',
    "rs_agent_ingest_in_flight_bytes 0",
    "rs_agent_ingest_overloaded 0",
  ]) {
    expect(text).toContain(`${line}\n`);
  }
  expect(text).toMatch(/rs_agent_ingest_refusals_total\{reply="421",status="4\.3\.2"\} [1-9]/);
});

it("the process serves its health on HEALTH_HTTP until it has drained", async () => {
  const proxy = await startMongoDbProxy(mongodbUri());
  onTestFinished(() => proxy.close());
  const child = spawnIngest({
    MONGODB_URI: `${proxy.uri}&serverSelectionTimeoutMS=1000`,
    MONGODB_DB: `ingest_${newToken().slice(0, 12)}`,
    HEALTH_HTTP: "127.0.0.1:0",
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const exited = once(child, "exit");
  const address = await new Promise<string>((resolve) => {
    createInterface(child.stderr).on("line", (line) => {
      const { msg, http } = JSON.parse(line) as { msg?: string; http?: string };
      if (msg === "health is served") resolve(http ?? "");
    });
  });
  const status = async (path: string) => (await fetch(`http://${address}${path}`)).status;
  expect([await status("/healthz"), await status("/readyz")]).toEqual([200, 200]);
  proxy.cut();
  await vi.waitFor(async () => expect(await status("/readyz")).toBe(503));
  expect(await status("/healthz")).toBe(200);
  proxy.restore();
  await vi.waitFor(async () => expect(await status("/readyz")).toBe(200));
  const metrics = await (await fetch(`http://${address}/metrics`)).text();
  expect(metrics).toMatch(/^rs_agent_info\{service="ingest",node="v24/m);
  child.kill("SIGTERM");
  expect(await exited).toEqual([0, null]);
  await expect(fetch(`http://${address}/healthz`)).rejects.toThrow("fetch failed");
});
