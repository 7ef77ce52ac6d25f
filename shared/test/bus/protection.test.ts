import { expect, test } from "vitest";
import { isConcrete, parseEndpoint, resolveEndpoint } from "../../src/bus/endpoint.ts";
import { advertisedMailbox } from "../../src/bus/advertise.ts";
import { createBusProtection, plaintextPhrase } from "../../src/bus/protection.ts";
import { TerminalError } from "../../src/errors.ts";
import { openPool, openWorker } from "./pool-and-worker.ts";

const local = [
  "tcp://127.0.0.1:*",
  "tcp://127.8.9.1:5",
  "tcp://[::1]:*",
  "ipc:///tmp/x",
  "tcp://localhost:1",
];
const beyond = [
  "tcp://0.0.0.0:*",
  "tcp://*:5000",
  "tcp://[::]:1",
  "tcp://192.0.2.1:1",
  "tcp://mx.example.org:1",
];

test.each(local)("%s needs no protection", (endpoint) => {
  createBusProtection(undefined).check(endpoint, "bind");
});

test.each(beyond)("%s is refused without keys, unless it is explicitly allowed", (endpoint) => {
  expect(() => createBusProtection(undefined).check(endpoint, "bind")).toThrow(TerminalError);
  expect(() => createBusProtection("yes").check(endpoint, "bind")).toThrow(/BUS_ALLOW_PLAINTEXT/);
  createBusProtection(plaintextPhrase).check(endpoint, "bind");
});

test.each([
  "",
  "tcp://",
  "tcp://host",
  "tcp://host:70000",
  "udp://1.2.3.4:5",
  "tcp://a b:1",
  "inproc://x",
])("%j is not an address of the bus", (text) => {
  expect(() => parseEndpoint(text)).toThrow(expect.objectContaining({ code: "BUS_ADDRESS" }));
});

test("only an address with a port can be connected to as it stands", () => {
  expect(isConcrete(parseEndpoint("tcp://192.0.2.1:5"))).toBe(true);
  for (const text of ["tcp://192.0.2.1:*", "tcp://0.0.0.0:5", "tcp://*:5", "tcp://name:5"]) {
    expect(isConcrete(parseEndpoint(text))).toBe(false);
  }
});

test("a pool does not bind beyond this host", async () => {
  const opened = openPool({ bind: "tcp://0.0.0.0:*" });
  await expect(opened).rejects.toMatchObject({ code: "CFG_BUS_UNPROTECTED" });
});

test("a worker neither binds nor advertises beyond this host", () => {
  for (const env of [{ BUS_BIND: "tcp://0.0.0.0:*" }, { BUS_ADVERTISE: "tcp://192.0.2.1:*" }]) {
    expect(() => openWorker("tcp://127.0.0.1:1", { env })).toThrow(
      expect.objectContaining({ code: "CFG_BUS_UNPROTECTED" }),
    );
  }
});

test("a worker ends if its dispatcher's name turns out to be beyond this host", async () => {
  const { worker } = openWorker("tcp://dispatcher.test:5000", {
    lookup: () => Promise.resolve(["192.0.2.7"]),
  });
  await expect(worker.done).rejects.toMatchObject({ code: "CFG_BUS_UNPROTECTED" });
});

test("a name stands for all its addresses", async () => {
  const lookup = () => Promise.resolve(["127.0.0.1", "::1"]);
  expect(await resolveEndpoint(parseEndpoint("tcp://dispatcher.test:7"), lookup)).toEqual([
    { transport: "tcp", host: "127.0.0.1", port: 7 },
    { transport: "tcp", host: "::1", port: 7 },
  ]);
});

test("a mailbox on all addresses is advertised by the address that routes to the dispatcher", async () => {
  const dispatcher = "tcp://127.0.0.1:9";
  const bound = "tcp://0.0.0.0:5001";
  expect(await advertisedMailbox({ bound, advertise: undefined, dispatcher })).toBe(
    "tcp://127.0.0.1:5001",
  );
  expect(await advertisedMailbox({ bound, advertise: "tcp://127.0.0.2:*", dispatcher })).toBe(
    "tcp://127.0.0.2:5001",
  );
  expect(
    await advertisedMailbox({ bound: "tcp://127.0.0.3:1", advertise: undefined, dispatcher }),
  ).toBe("tcp://127.0.0.3:1");
});
