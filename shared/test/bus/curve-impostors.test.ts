import { expect, onTestFinished, test, vi } from "vitest";
import { Context, Pull } from "zeromq";
import { BusKeys } from "../../src/bus/bus-keys.ts";
import { encodeMessages, type OutgoingHead } from "../../src/bus/codec.ts";
import { createCurveKey, type CurveKey } from "../../src/bus/curve-key.ts";
import { systemClock } from "../../src/clock.ts";
import { newToken } from "../../src/ids.ts";
import { createHandler, createMemoryLog, untilFree, virusTask } from "./pool-and-worker.ts";
import {
  handshakeOf,
  linesLike,
  makeKeyFolder,
  openKeyedPool,
  openKeyedPush,
  openKeyedWorker,
} from "./keyed-actors.ts";

/** A `ready` for virus tasks that claims this about itself. */
function readyHead(parts: { from: string; mailbox: string; publicKey: string }): OutgoingHead {
  const incarnation = newToken();
  return {
    v: 1,
    kind: "ready",
    incarnation,
    link: newToken(),
    task: "virus",
    versions: [1],
    ...parts,
  };
}

function framesOf(head: OutgoingHead): Buffer[] {
  const [frames = []] = encodeMessages([{ head }]);
  return frames;
}

/** A mailbox with this key that lets everybody in; it keeps what comes. */
async function openLaxMailbox(key: CurveKey): Promise<{ endpoint: string; messages: Buffer[][] }> {
  const context = new Context();
  const options = { curveServer: true, curveSecretKey: key.secretKey };
  const pull = new Pull({ context, linger: 0, ...options });
  onTestFinished(() => pull.close());
  await pull.bind("tcp://127.0.0.1:*");
  const messages: Buffer[][] = [];
  void (async () => {
    for await (const frames of pull) messages.push(frames);
  })();
  return { endpoint: pull.lastEndpoint ?? "", messages };
}

test("an enricher that claims to be an av-worker gets no task, whichever key it names", async () => {
  const folder = makeKeyFolder();
  const { enricher, dispatcher, "av-worker": avWorker } = folder.keys;
  const { pool, lines } = await openKeyedPool(folder);
  const mailbox = await openLaxMailbox(enricher);
  const push = openKeyedPush(pool.endpoint, enricher, dispatcher.publicKey);

  const own = { from: "virus-9", mailbox: mailbox.endpoint, publicKey: enricher.publicKey };
  await push.send(framesOf(readyHead(own)));
  await vi.waitFor(() => expect(pool.dropped().unlisted).toBe(1));

  await push.send(framesOf(readyHead({ ...own, publicKey: avWorker.publicKey })));
  const text = /worker's mailbox: it holds another key than the one listed/;
  await vi.waitFor(() => expect(linesLike(lines, text)).toHaveLength(1));
  expect(pool.free("virus").tasks).toBe(0);
  expect(mailbox.messages).toEqual([]);
});

test("the lax mailbox of these tests hears something if it has the listed key", async () => {
  const folder = makeKeyFolder();
  const { dispatcher, "av-worker": avWorker } = folder.keys;
  const { pool } = await openKeyedPool(folder);
  const { endpoint, messages } = await openLaxMailbox(avWorker);
  const push = openKeyedPush(pool.endpoint, avWorker, dispatcher.publicKey);
  const { publicKey } = avWorker;
  await push.send(framesOf(readyHead({ from: "virus-9", mailbox: endpoint, publicKey })));
  await vi.waitFor(() => expect(messages.length).toBeGreaterThan(0));
});

test("a ready in another worker's name neither ends its session nor its tasks", async () => {
  const folder = makeKeyFolder();
  const { enricher, dispatcher, "av-worker": avWorker } = folder.keys;
  const { pool, results, lost } = await openKeyedPool(folder);
  const finish = Promise.withResolvers<undefined>();
  const handle = async () => {
    await finish.promise;
    return { output: { kind: "clean" as const } };
  };
  const { worker } = openKeyedWorker(folder, pool.endpoint, "av-worker", {
    handler: createHandler({ handle }),
  });
  await untilFree(pool);
  const mail = Buffer.from("mail\r\n");
  pool.place("virus", virusTask(mail), mail);

  const push = openKeyedPush(pool.endpoint, enricher, dispatcher.publicKey);
  const lax = await openLaxMailbox(enricher);
  for (const mailbox of [worker.mailbox, lax.endpoint]) {
    const forged = { from: "virus-1", mailbox, publicKey: avWorker.publicKey };
    await push.send(framesOf(readyHead(forged)));
  }
  await vi.waitFor(() => expect(pool.refused()).toBeGreaterThan(0));
  finish.resolve(undefined);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(lost).toEqual([]);
});

test("a worker's mailbox takes nobody but dispatchers", async () => {
  const folder = makeKeyFolder();
  const { pool } = await openKeyedPool(folder);
  const { worker, lines } = openKeyedWorker(folder, pool.endpoint);
  const { enricher, dispatcher, "av-worker": own } = folder.keys;
  const refused = openKeyedPush(worker.mailbox, enricher, own.publicKey);
  expect(await handshakeOf(refused)).toBe("refused");
  const taken = openKeyedPush(worker.mailbox, dispatcher, own.publicKey);
  expect(await handshakeOf(taken)).toBe("accepted");
  const text = /peer refused: its key is listed for enricher, not for dispatcher/;
  expect(linesLike(lines, text)).toEqual([
    expect.objectContaining({ publicKey: enricher.publicKey, name: "enricher" }),
  ]);
});

test("a listed public key without its secret half opens nothing", async () => {
  const folder = makeKeyFolder();
  const { pool } = await openKeyedPool(folder);
  const { dispatcher, "av-worker": avWorker } = folder.keys;
  const { secretKey } = createCurveKey();
  const stolen = { publicKey: avWorker.publicKey, secretKey };
  const push = openKeyedPush(pool.endpoint, stolen, dispatcher.publicKey);
  expect(await handshakeOf(push)).not.toBe("accepted");
});

test("if nobody answers for the keys, nobody gets in", async () => {
  const folder = makeKeyFolder();
  const { log } = createMemoryLog();
  const { BUS_KEY_FILE: keyFile, BUS_ALLOW_FILE: allowFile } = folder.env("dispatcher");
  const keys = new BusKeys({ keyFile, allowFile, kind: "dispatcher", clock: systemClock, log });
  const pull = new Pull({ ...keys.serverOptions, linger: 0 });
  onTestFinished(() => pull.close());
  pull.bindSync("tcp://127.0.0.1:*");
  keys.close();
  const failed = new Promise((resolve) => pull.events.on("handshake:error:other", resolve));
  const { dispatcher, "av-worker": avWorker } = folder.keys;
  const push = openKeyedPush(pull.lastEndpoint ?? "", avWorker, dispatcher.publicKey);
  let accepted = false;
  push.events.on("handshake", () => (accepted = true));
  await failed;
  expect(accepted).toBe(false);
});
