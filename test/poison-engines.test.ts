import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { startAvWorker } from "../services/av-worker/src/av-worker.ts";
import { avWorkerConfigSchema } from "../services/av-worker/src/config.ts";
import { startFakeClamd } from "../services/av-worker/test/fake-clamd.ts";
import {
  openBench,
  plainMail,
  tenant,
  type Bench,
} from "../services/dispatcher/test/in-process.ts";
import { spamWorkerConfigSchema } from "../services/spam-worker/src/config.ts";
import { startSpamWorker } from "../services/spam-worker/src/spam-worker.ts";
import { startFakeSpamd } from "../services/spam-worker/test/fake-spamd.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";

const marker = "kills the engine";
const innocents = 20;
const clock = systemClock;
const log = createSilentLogger();

/** An engine on a port of its own that ends when it gets the marked mail, and is then restarted. */
interface Engine {
  address: string;
  deaths: () => number;
}

async function mortal(
  startAt: (port: number, onMarked: () => void) => Promise<{ close: () => Promise<void> }>,
): Promise<Engine> {
  const port = await freePort();
  let deaths = 0;
  let running: { close: () => Promise<void> } | undefined;
  let isOver = false;
  const start = async () => {
    const own = await startAt(port, () => {
      if (running !== own) return;
      running = undefined;
      deaths += 1;
      void own.close().then(async () => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        if (!isOver) await start();
      });
    });
    running = own;
  };
  await start();
  onTestFinished(async () => {
    isOver = true;
    await running?.close();
  });
  return { address: `127.0.0.1:${port}`, deaths: () => deaths };
}

async function mailsOf(bench: Bench) {
  const poison = await bench.mail({ raw: plainMail(marker) });
  const others = await Promise.all(Array.from({ length: innocents }, () => bench.mail()));
  return { poison, others };
}

async function expectOneDead(bench: Bench, poison: string, others: readonly string[]) {
  await vi.waitFor(async () => expect((await bench.get(poison)).state).toBe("dead"));
  await vi.waitFor(async () => {
    for (const id of others) expect((await bench.get(id)).state).toBe("ready");
  });
  expect((await bench.get(poison)).reason).toMatch(
    /^3 workers or engines died or hung on it, the last one alone with it in /,
  );
}

it("the mail that kills clamd is dead after three of them, and nothing else is", async () => {
  const bench = await openBench();
  await bench.policy(`\ndefault:\n  spam: off\n${tenant}`);
  const { endpoint } = await bench.dispatcher();
  bench.worker("enrich");
  const clamd = await mortal((listen, onMarked) =>
    startFakeClamd({
      listen,
      fault: ({ content }) => {
        if (!content.includes(marker)) return undefined;
        onMarked();
        return { silence: true };
      },
    }),
  );
  const worker = startAvWorker({
    config: loadConfig(avWorkerConfigSchema, {
      BUS_DISPATCHERS: endpoint,
      AV_CLAMD: clamd.address,
      ACTOR_ID: "virus-1",
    }),
    clock,
    log,
  });
  onTestFinished(() => worker.close());
  const { poison, others } = await mailsOf(bench);
  await expectOneDead(bench, poison, others);
  expect(clamd.deaths()).toBe(3);
});

it("the mail that kills spamd is dead after three of them, and nothing else is", async () => {
  const bench = await openBench();
  await bench.policy(`\ndefault:\n  virus: off\n${tenant}`);
  const { endpoint } = await bench.dispatcher();
  bench.worker("enrich");
  const spamd = await mortal((listen, onMarked) =>
    startFakeSpamd(({ body }) => {
      if (!body.includes(marker)) return undefined;
      onMarked();
      return { chunks: [], then: "hang" };
    }, listen),
  );
  const worker = startSpamWorker({
    config: loadConfig(spamWorkerConfigSchema, {
      BUS_DISPATCHERS: endpoint,
      SPAM_SPAMD: spamd.address,
      ACTOR_ID: "spam-1",
    }),
    clock,
    log,
  });
  onTestFinished(() => worker.close());
  const { poison, others } = await mailsOf(bench);
  await expectOneDead(bench, poison, others);
  expect(spamd.deaths()).toBe(3);
});
