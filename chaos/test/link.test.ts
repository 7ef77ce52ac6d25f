import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { openLink, type Link } from "../src/parts/link.ts";

let link: Link;
let echo: ReturnType<typeof createServer>;
let far: Socket[];
let near: Socket[];

beforeEach(async () => {
  far = [];
  near = [];
  echo = createServer({ allowHalfOpen: true }, (socket) => {
    far.push(socket);
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => socket.write(chunk));
  }).listen(0, "127.0.0.1");
  await once(echo, "listening");
  link = await openLink("test");
  link.leadTo(`127.0.0.1:${(echo.address() as AddressInfo).port}`);
});

afterEach(async () => {
  for (const socket of near) socket.destroy();
  await link.close();
  for (const socket of far) socket.destroy();
  echo.close();
  await once(echo, "close");
});

async function client(localAddress = "127.0.0.1") {
  const [host, port] = link.address.split(":");
  const socket = connect({ host, port: Number(port), localAddress, allowHalfOpen: true });
  near.push(socket);
  const seen = { text: "", ended: false, closed: "" };
  socket.on("data", (chunk: Buffer) => (seen.text += chunk.toString()));
  socket.on("end", () => (seen.ended = true));
  socket.on("error", (error: NodeJS.ErrnoException) => (seen.closed = error.code ?? "?"));
  socket.on("close", () => (seen.closed ||= "close"));
  await once(socket, "connect");
  return { socket, seen };
}

it("passes bytes on, from the client's own address", async () => {
  const { socket, seen } = await client("127.0.0.3");
  socket.write("hello");
  await vi.waitFor(() => expect(seen.text).toBe("hello"));
  expect(far[0]?.remoteAddress).toBe("127.0.0.3");
  expect(link.open).toBe(1);
});

it("holds everything back while it is stalled, even on new connections, and loses nothing", async () => {
  const first = await client();
  link.stall();
  const second = await client();
  first.socket.write("one");
  second.socket.write("two");
  const { promise: later, resolve } = Promise.withResolvers<undefined>();
  setTimeout(() => resolve(undefined), 100);
  await later;
  expect([first.seen.text, second.seen.text]).toEqual(["", ""]);
  await link.heal();
  await vi.waitFor(() => expect([first.seen.text, second.seen.text]).toEqual(["one", "two"]));
});

it("resets what is open, and takes new connections", async () => {
  const { socket, seen } = await client();
  socket.write("x");
  await vi.waitFor(() => expect(seen.text).toBe("x"));
  link.reset();
  await vi.waitFor(() => expect(seen.closed).toBe("ECONNRESET"));
  const again = await client();
  again.socket.write("y");
  await vi.waitFor(() => expect(again.seen.text).toBe("y"));
});

it("tells only one side that the other has ended", async () => {
  const { socket, seen } = await client();
  socket.write("x");
  await vi.waitFor(() => expect(seen.text).toBe("x"));
  const heardBefore = far[0]?.bytesRead;
  link.halfClose("near");
  await vi.waitFor(() => expect(seen.ended).toBe(true));
  socket.write("more");
  await vi.waitFor(() => expect(far[0]?.bytesRead).toBe((heardBefore ?? 0) + 4));
  expect(seen.text).toBe("x");
});

it("refuses connections until it is healed", async () => {
  await link.refuse();
  await expect(client()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  await link.heal();
  const { socket, seen } = await client();
  socket.write("x");
  await vi.waitFor(() => expect(seen.text).toBe("x"));
});
