import { Pull, Push } from "zeromq";
import { expect, onTestFinished, test, vi } from "vitest";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { decodeMessage, maxHeadBytes } from "../../src/bus/codec.ts";
import { createBusProtection } from "../../src/bus/protection.ts";
import { PushSender, type PushSenderOptions } from "../../src/bus/push-sender.ts";

async function openPull(address = "tcp://127.0.0.1:*"): Promise<{ pull: Pull; endpoint: string }> {
  const pull = new Pull({ linger: 0 });
  await pull.bind(address);
  onTestFinished(() => pull.close());
  return { pull, endpoint: pull.lastEndpoint ?? "" };
}

function openSender(endpoint: string, options: Partial<PushSenderOptions> = {}): PushSender {
  const sender = new PushSender({
    endpoint,
    protection: createBusProtection(undefined),
    serverKey: undefined,
    maxParts: 100_000,
    maxBytes: 1_000_000,
    onConnected: () => undefined,
    onDisconnected: () => undefined,
    onRefused: () => undefined,
    onUnsendable: () => undefined,
    ...options,
  });
  onTestFinished(() => sender.close());
  return sender;
}

/** The `place` fields and bodies of this many heads, as they arrive. */
async function receive(pull: Pull, count: number) {
  const arrived: { place: unknown; body: string | undefined }[] = [];
  while (arrived.length < count) {
    decodeMessage(
      await pull.receive(),
      [1],
      ({ head, body }) => arrived.push({ place: head["place"], body: body?.toString() }),
      (cause) => expect.fail(cause),
    );
  }
  return arrived;
}

test("everything given arrives whole and in order, though nobody waits between sends", async () => {
  const { pull, endpoint } = await openPull();
  const sender = openSender(endpoint);
  const wanted = [];
  for (let place = 0; place < 5_000; place += 1) {
    const body = place % 3 === 0 ? `mail ${String(place)}` : undefined;
    wanted.push({ place, body });
    const head = { v: 1, place };
    if (body === undefined) sender.send(head);
    else sender.send({ ...head, bytes: body.length }, Buffer.from(body));
  }
  expect(await receive(pull, 5_000)).toEqual(wanted);
});

test("what waits is bounded in parts and in bytes (I7)", async () => {
  const { endpoint } = await openPull();
  const few = openSender(endpoint, { maxParts: 3 });
  expect([1, 2, 3, 4].map((place) => few.send({ v: 1, place }))).toEqual([true, true, true, false]);
  const small = openSender(endpoint, { maxBytes: 10 });
  const give = (bytes: number) => small.send({ v: 1, bytes }, Buffer.alloc(bytes));
  expect([give(100), give(1)]).toEqual([true, false]);
});

test("nothing is given to a peer that is not there", async () => {
  const endpoint = `tcp://127.0.0.1:${await freePort()}`;
  const sender = openSender(endpoint);
  sender.send({ v: 1, place: 1 });
  expect(sender.connected).toBe(false);
  const { pull } = await openPull(endpoint);
  expect(await receive(pull, 1)).toEqual([{ place: 1, body: undefined }]);
  expect(sender.connected).toBe(true);
});

test("the end of a peer is noticed", async () => {
  const { pull, endpoint } = await openPull();
  const onConnected = vi.fn();
  const onDisconnected = vi.fn();
  openSender(endpoint, { onConnected, onDisconnected });
  await vi.waitFor(() => expect(onConnected).toHaveBeenCalledOnce());
  pull.close();
  await vi.waitFor(() => expect(onDisconnected).toHaveBeenCalledOnce());
});

test("a closed sender takes nothing, and finish delivers what it was given before", async () => {
  const { pull, endpoint } = await openPull();
  const connected = Promise.withResolvers<undefined>();
  const sender = openSender(endpoint, { onConnected: () => connected.resolve(undefined) });
  await connected.promise;
  sender.send({ v: 1, place: 1 });
  await sender.finish(1_000);
  expect(sender.send({ v: 1, place: 2 })).toBe(false);
  expect(await receive(pull, 1)).toEqual([{ place: 1, body: undefined }]);
});

test("only the head that is too large is dropped", async () => {
  const { pull, endpoint } = await openPull();
  const onUnsendable = vi.fn();
  const sender = openSender(endpoint, { onUnsendable });
  sender.send({ v: 1, place: 1 });
  sender.send({ v: 1, place: 2, text: "x".repeat(maxHeadBytes) });
  sender.send({ v: 1, place: 3 });
  expect((await receive(pull, 2)).map(({ place }) => place)).toEqual([1, 3]);
  expect(onUnsendable).toHaveBeenCalledOnce();
});

test("a peer that goes away between zeromq's look and its write breaks nothing: the part waits for it", async () => {
  const { pull, endpoint } = await openPull();
  const sender = openSender(endpoint);
  const gone = Object.assign(new Error("Operation was not possible"), { code: "EAGAIN" });
  const send = vi.spyOn(Push.prototype, "send").mockRejectedValueOnce(gone);
  onTestFinished(() => send.mockRestore());
  sender.send({ v: 1, place: 1 });
  expect(await receive(pull, 1)).toEqual([{ place: 1, body: undefined }]);
  expect(send).toHaveBeenCalledTimes(2);
});
