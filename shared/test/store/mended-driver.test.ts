import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { createClient } from "../../src/store/connection.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();

/** All sockets that are opened until the test ends. */
function openedSockets(): readonly Socket[] {
  const sockets: Socket[] = [];
  const onSocket = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
  subscribe("net.client.socket", onSocket);
  onTestFinished(() => {
    unsubscribe("net.client.socket", onSocket);
  });
  return sockets;
}

/** Ends the socket just before the next write to it, as if the server went away then. */
function endBeforeWrite(socket: Socket, driverKnows: boolean): void {
  const write = socket.write.bind(socket);
  socket.write = (...given: unknown[]) => {
    socket.destroy();
    if (driverKnows) socket.emit("close", false);
    return (write as (...given: unknown[]) => boolean)(...given);
  };
}

it.each([
  ["as it is written", false],
  // The driver looks before it compresses a command, which takes a moment.
  ["just before it is written", true],
])("a command whose connection ends %s is asked again immediately", async (_, driverKnows) => {
  const sockets = openedSockets();
  const client = createClient(database().uri);
  onTestFinished(() => client.close());
  const ask = () => client.db(database().name).collection("mails").countDocuments({});
  await ask();
  const before = sockets.length;
  for (const socket of sockets) endBeforeWrite(socket, driverKnows);
  expect(await ask()).toBe(0);
  expect(sockets.length).toBeGreaterThan(before);
});
