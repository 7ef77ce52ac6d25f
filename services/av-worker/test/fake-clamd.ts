import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { eicar } from "../src/eicar.ts";

/** One scan that the fake was asked for. */
export interface AskedScan {
  id: number;
  /** The streamed bytes, or the path of SCAN. */
  content: Buffer;
  path?: string;
}

/**
 * What the fake does with a scan in place of the right reply: sends the bytes of `raw`, keeps
 * `silence`, or sends `raw` and then closes.
 */
export type Fault = { raw?: string; close?: boolean; silence?: boolean; inPieces?: boolean };

export interface FakeOptions {
  /** A fault for this scan, or undefined for the right reply. */
  fault?: (scan: AskedScan) => Fault | undefined;
  /** Fault at the moment when INSTREAM begins, before any of its bytes. */
  faultAtBegin?: (id: number) => Fault | undefined;
  streamMaxBytes?: number;
  /** Stops reading from every connection, so that the peer's writes back up. */
  deaf?: boolean;
  listen?: string | number;
}

/**
 * Speaks the real protocol of clamd(8) on a real socket, with faults that a real clamd does not
 * show.
 */
export interface FakeClamd extends AsyncDisposable {
  address: string;
  port: number;
  scans: AskedScan[];
  /** How many connections have come in so far. */
  connections: number;
  options: FakeOptions;
  openConnections(): number;
  /** Takes connections and bytes, and answers nothing more: hung, or in a blocking reload. */
  freeze(): void;
  /** Answers everything that was asked meanwhile. */
  thaw(): void;
  close(): Promise<void>;
}

export async function startFakeClamd(options: FakeOptions = {}): Promise<FakeClamd> {
  const open = new Set<Socket>();
  const frozen = { is: false, thawed: new Set<() => void>() };
  const server: Server = createServer({ pauseOnConnect: options.deaf === true });
  const fake: FakeClamd = {
    address: "",
    port: 0,
    scans: [],
    connections: 0,
    options,
    openConnections: () => open.size,
    freeze: () => (frozen.is = true),
    thaw() {
      frozen.is = false;
      for (const goOn of frozen.thawed) goOn();
    },
    async close() {
      for (const socket of open) socket.destroy();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
    [Symbol.asyncDispose]: () => fake.close(),
  };
  server.on("connection", (socket) => {
    fake.connections++;
    open.add(socket);
    socket.on("close", () => open.delete(socket)).on("error", () => undefined);
    if (options.deaf !== true) serve(socket, fake, frozen);
  });
  const { listen = 0 } = options;
  if (typeof listen === "string") server.listen(listen);
  else server.listen(listen, "127.0.0.1");
  await once(server, "listening");
  if (typeof listen === "string") return Object.assign(fake, { address: listen });
  fake.port = (server.address() as AddressInfo).port;
  fake.address = `127.0.0.1:${fake.port}`;
  return fake;
}

function serve(
  socket: Socket,
  fake: FakeClamd,
  frozen: { is: boolean; thawed: Set<() => void> },
): void {
  let buffered: Buffer = Buffer.alloc(0);
  let inSession = false;
  let commands = 0;
  let stream: { id: number; chunks: Buffer[]; size: number } | undefined;

  const reply = (id: number, text: string) => {
    socket.write(`${inSession ? `${id}: ` : ""}${text}\0`);
    if (!inSession) socket.end();
  };
  const answer = (scan: AskedScan) => {
    fake.scans.push(scan);
    const fault = fake.options.fault?.(scan);
    if (fault === undefined) reply(scan.id, rightReply(scan));
    else void commit(socket, fault);
  };

  /** One step: a chunk of the stream or a command; false if more bytes are needed. */
  const step = (): boolean => (stream === undefined ? takeCommand() : takeChunk(stream));

  const takeChunk = (current: { id: number; chunks: Buffer[]; size: number }): boolean => {
    if (buffered.length < 4) return false;
    const size = buffered.readUInt32BE(0);
    if (current.size + size > (fake.options.streamMaxBytes ?? Infinity)) {
      reply(current.id, "INSTREAM size limit exceeded. ERROR");
      socket.end();
      buffered = Buffer.alloc(0);
      return false;
    }
    if (buffered.length < 4 + size) return false;
    const chunk = buffered.subarray(4, 4 + size);
    buffered = buffered.subarray(4 + size);
    if (size > 0) {
      current.chunks.push(chunk);
      current.size += size;
      return true;
    }
    stream = undefined;
    answer({ id: current.id, content: Buffer.concat(current.chunks) });
    return true;
  };

  const takeCommand = (): boolean => {
    const end = buffered.indexOf(0);
    if (end < 0) return false;
    const command = buffered.subarray(0, end).toString("utf8");
    buffered = buffered.subarray(end + 1);
    if (command === "zIDSESSION") {
      inSession = true;
      return true;
    }
    const id = ++commands;
    if (command === "zEND") socket.end();
    else if (command === "zINSTREAM") {
      const fault = fake.options.faultAtBegin?.(id);
      if (fault === undefined) stream = { id, chunks: [], size: 0 };
      else void commit(socket, fault);
    } else if (command.startsWith("zSCAN ")) {
      answer({ id, content: Buffer.alloc(0), path: command.slice("zSCAN ".length) });
    } else reply(id, otherReply(command));
    return true;
  };

  const goOn = () => {
    while (!frozen.is && step());
  };
  frozen.thawed.add(goOn);
  socket.on("close", () => frozen.thawed.delete(goOn));
  socket.on("data", (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    goOn();
  });
}

async function commit(socket: Socket, fault: Fault): Promise<void> {
  if (fault.silence === true) return;
  const raw = Buffer.from(fault.raw ?? "", "latin1");
  if (fault.inPieces === true) {
    for (const byte of raw) {
      await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
      await new Promise(setImmediate);
    }
  } else if (raw.length > 0) socket.write(raw);
  if (fault.close === true) socket.end();
}

function rightReply({ content, path }: AskedScan): string {
  const name = path ?? "stream";
  if (path?.includes("missing") === true) {
    return `${path}: File path check failure: No such file or directory. ERROR`;
  }
  const text = content.toString("latin1");
  if (text.includes(".encrypted@rs-agent")) return `${name}: Heuristics.Encrypted.Zip FOUND`;
  if (text.includes(".encrypted-pdf@rs-agent")) return `${name}: Heuristics.Encrypted.PDF FOUND`;
  if (text.includes(".limit@rs-agent")) {
    return `${name}: Heuristics.Limits.Exceeded.MaxRecursion FOUND`;
  }
  const signs = [eicar.toString("latin1"), eicar.toString("base64").slice(0, 60)];
  const found = signs.some((sign) => text.includes(sign));
  return found ? `${name}: Eicar-Test-Signature FOUND` : `${name}: OK`;
}

function otherReply(command: string): string {
  switch (command) {
    case "zPING":
      return "PONG";
    case "zVERSION":
      return "ClamAV 1.4.3/27712/Sun Jul 27 08:35:46 2025";
    case "zRELOAD":
      return "RELOADING";
    case "zSTATS":
      return "POOLS: 1\n\nSTATE: VALID PRIMARY\nEND";
    default:
      return "UNKNOWN COMMAND";
  }
}
