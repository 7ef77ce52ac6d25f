import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { Long, MongoClient, ObjectId, type Document } from "mongodb";
import { ConnectionString } from "mongodb-connection-string-url";
import {
  errorReply,
  writeConcernError,
  type CommandError,
  type WriteConcernErrorName,
} from "./server-errors.ts";
import {
  answeredBy,
  commandIn,
  commandWith,
  MessageSplitter,
  replyTo,
  rewritten,
  type Command,
} from "./wire-message.ts";

/** What becomes of a command. */
export type Fault =
  /** The server never sees it. */
  | { kind: "error"; error: CommandError }
  /** The server does it, and says this about the majority. */
  | { kind: "write concern"; error: WriteConcernErrorName }
  /** The server does all its operations but one, of which it says this. */
  | { kind: "operation error"; index: number; code: number; errmsg: string }
  /** The server does it, its reply comes so much later. */
  | { kind: "delay"; ms: number }
  /** The server does it, its reply never comes: `close` ends the connection instead. */
  | { kind: "lose reply"; close: boolean }
  /** The connection ends before the server has seen it. */
  | { kind: "lose command" };

export interface Rule {
  /** The names of commands: `update`, `insert`, `find`, `aggregate`, `getMore`, … */
  command: string | readonly string[];
  collection?: string;
  /** Only commands for which this is true. */
  when?: (command: Command) => boolean;
  /** Commands to which it happens; default 1. */
  times?: number;
  fault: Fault;
}

/** A rule that is in force. */
export interface Strike {
  /** Commands to which it has happened. */
  readonly hits: number;
  /** Nothing more of it. */
  end(): void;
}

/**
 * A MongoDB that fails as real ones do: a proxy before the server of the tests, which reads what is
 * said. It shows itself as a replica set of its own, so that clients discover it and wait for its
 * primary as they do in production.
 */
export interface MongoDbProxy {
  /** `127.0.0.1:port` */
  readonly address: string;
  readonly uri: string;
  /** Commands on this collection that came in, whatever became of them. */
  seen(command: string, collection: string): number;
  strike(rule: Rule): Strike;
  /**
   * The primary has stepped down: writes and reads are refused, commands under way interrupted, and
   * it calls itself a secondary until `restore`.
   */
  stepDown(): void;
  /** Ends all connections and refuses new ones until `restore`. */
  cut(): void;
  /** Ends all connections; new ones are taken, as after a restart. */
  reset(): void;
  /** Keeps all connections, and takes and passes nothing until `restore`; then all of it goes on. */
  stall(): void;
  /** Keeps all connections and swallows what comes until `restore`. */
  silence(): void;
  /** All is as it should be. */
  restore(): void;
  close(): Promise<void>;
}

type Mode = "open" | "cut" | "silent" | "stalled" | "stepped down";

/** What is to be done with the reply to a command that is at the server. */
interface Awaited {
  command: Command;
  fault: Fault | undefined;
}

export async function startMongoDbProxy(uri: string): Promise<MongoDbProxy> {
  const [target = ""] = new ConnectionString(uri).hosts;
  const lines = new Set<Line>();
  const strikes = new Set<{ rule: Rule; left: number; hits: number }>();
  const seen = new Map<string, number>();
  const state: { mode: Mode; counter: number } = { mode: "open", counter: 1 };
  const processId = new ObjectId();
  const topology = () => ({ processId, counter: Long.fromNumber(state.counter) });
  const nextTopology = () => {
    state.counter += 1;
    queueMicrotask(() => {
      for (const line of lines) line.tellTopology();
    });
    return topology();
  };

  const faultOf = (command: Command): Fault | undefined => {
    const key = `${command.name} ${command.collection ?? ""}`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
    for (const strike of strikes) {
      if (strike.left <= 0 || !fits(strike.rule, command)) continue;
      strike.left -= 1;
      strike.hits += 1;
      return strike.rule.fault;
    }
    return state.mode === "stepped down" ? refusalOf(command) : undefined;
  };

  const server = createServer({ noDelay: true }, (near) => {
    near.on("error", () => near.destroy());
    if (state.mode === "cut") {
      near.destroy();
      return;
    }
    const line = new Line(near, target, {
      faultOf,
      topology,
      nextTopology,
      isSilent: () => state.mode === "silent",
      isSecondary: () => state.mode === "stepped down",
      address: () => address,
      onEnd: () => lines.delete(line),
    });
    lines.add(line);
    if (state.mode === "stalled") line.stall();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const reset = () => {
    for (const line of [...lines]) line.end();
  };
  return {
    address,
    uri: `mongodb://${address}/?replicaSet=${await setNameOf(target)}`,
    seen: (command, collection) => seen.get(`${command} ${collection}`) ?? 0,
    strike(rule) {
      const strike = { rule, left: rule.times ?? 1, hits: 0 };
      strikes.add(strike);
      return {
        get hits() {
          return strike.hits;
        },
        end: () => {
          strikes.delete(strike);
        },
      };
    },
    stepDown() {
      state.mode = "stepped down";
      for (const line of lines) line.interrupt();
      nextTopology();
    },
    cut() {
      state.mode = "cut";
      reset();
    },
    reset,
    stall() {
      state.mode = "stalled";
      for (const line of lines) line.stall();
    },
    silence() {
      state.mode = "silent";
    },
    restore() {
      // What was swallowed is missing from the streams: only new connections make sense again.
      if (state.mode === "silent") reset();
      for (const line of lines) line.goOn();
      const wasDown = state.mode === "stepped down";
      state.mode = "open";
      if (wasDown) nextTopology();
    },
    async close() {
      reset();
      server.close();
      await once(server, "close");
    },
  };
}

function fits({ command, collection, when }: Rule, seen: Command): boolean {
  if (![command].flat().includes(seen.name)) return false;
  if (collection !== undefined && collection !== seen.collection) return false;
  return when === undefined || when(seen);
}

/** Commands that a node answers whatever its role is. */
const hellos = new Set(["hello", "isMaster", "ismaster"]);
const ofAnyRole = new Set([...hellos, "ping", "buildInfo", "endSessions", "killCursors"]);
const writes = new Set(["insert", "update", "delete", "findAndModify", "createIndexes"]);

/** What a secondary says: we ask nothing of one. */
function refusalOf({ name }: Command): Fault | undefined {
  if (ofAnyRole.has(name)) return undefined;
  const error = writes.has(name) ? "notWritablePrimary" : "notPrimaryNoSecondaryOk";
  return { kind: "error", error };
}

interface LineDeps {
  faultOf: (command: Command) => Fault | undefined;
  topology: () => Document;
  nextTopology: () => Document;
  isSilent: () => boolean;
  isSecondary: () => boolean;
  address: () => string;
  onEnd: () => void;
}

/** One client connection with the one to the server behind it. */
class Line {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #deps: LineDeps;
  readonly #awaited = new Map<number, Awaited>();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** A monitor that wants to hear of each change, with what it was told last. */
  #watcher: { requestId: number; hello: Document | undefined; beat: NodeJS.Timeout } | undefined;

  constructor(near: Socket, target: string, deps: LineDeps) {
    const [host, port] = target.split(":");
    this.#near = near;
    this.#far = connect({ host, port: Number(port), noDelay: true });
    this.#deps = deps;
    const requests = new MessageSplitter();
    const replies = new MessageSplitter();
    for (const socket of [near, this.#far]) {
      socket.on("error", () => this.end()).on("close", () => this.end());
    }
    near.on("data", (chunk: Buffer) => {
      for (const message of requests.push(chunk)) this.#onRequest(message);
    });
    this.#far.on("data", (chunk: Buffer) => {
      for (const message of replies.push(chunk)) this.#onReply(message);
    });
  }

  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    clearInterval(this.#watcher?.beat);
    this.#watcher = undefined;
    this.#near.destroy();
    this.#far.destroy();
    this.#deps.onEnd();
  }

  stall(): void {
    this.#near.pause();
    this.#far.pause();
  }

  goOn(): void {
    this.#near.resume();
    this.#far.resume();
  }

  /** Tells the monitor of this connection, if it is one's, how the set looks now. */
  tellTopology(): void {
    const { requestId, hello } = this.#watcher ?? {};
    if (requestId === undefined || hello === undefined || this.#deps.isSilent()) return;
    this.#near.write(replyTo(requestId, this.#introduced(hello), true));
  }

  /** The commands that are at the server are interrupted, whatever they have done until now. */
  interrupt(): void {
    for (const [requestId, { command }] of this.#awaited) {
      if (ofAnyRole.has(command.name)) continue;
      this.#awaited.set(requestId, { command, fault: { kind: "lose reply", close: false } });
      this.#answer(
        command,
        errorReply("interruptedDueToReplStateChange", command, this.#deps.nextTopology),
      );
    }
  }

  #onRequest(message: Buffer): void {
    if (this.#deps.isSilent()) return;
    const command = commandIn(message);
    const fault = command && this.#deps.faultOf(command);
    if (command !== undefined && hellos.has(command.name)) this.#watch(command);
    if (command !== undefined && fault?.kind === "error") {
      this.#answer(command, errorReply(fault.error, command, this.#deps.nextTopology));
    } else if (fault?.kind === "lose command") {
      this.end();
    } else {
      if (command !== undefined && !command.isUnacknowledged) {
        this.#awaited.set(command.requestId, { command, fault });
      }
      this.#far.write(asked(message, command, fault));
    }
  }

  #onReply(message: Buffer): void {
    if (this.#deps.isSilent()) return;
    const awaited = this.#awaited.get(answeredBy(message));
    this.#awaited.delete(answeredBy(message));
    const fault = awaited?.fault;
    // What was asked in an old opcode is the first hello of a connection.
    const isHello = awaited === undefined || hellos.has(awaited.command.name);
    if (awaited !== undefined && fault !== undefined) {
      this.#passUnder(fault, awaited.command, message);
    } else if (isHello) {
      this.#onHello(message);
    } else {
      this.#near.write(message);
    }
  }

  #passUnder(fault: Fault, command: Command, message: Buffer): void {
    switch (fault.kind) {
      case "write concern": {
        const added = writeConcernError(fault.error, command, this.#deps.nextTopology);
        this.#near.write(rewritten(message, (reply) => ({ ...reply, ...added })));
        break;
      }
      case "operation error":
        this.#near.write(rewritten(message, (reply) => ({ ...reply, writeErrors: [fault] })));
        break;
      case "delay": {
        const timer = setTimeout(() => {
          this.#timers.delete(timer);
          this.#near.write(message);
        }, fault.ms);
        this.#timers.add(timer);
        break;
      }
      case "lose reply":
        if (fault.close) this.end();
        break;
      default:
        throw new Error(`${fault.kind} reached the server`);
    }
  }

  /** Streaming hello: the client names what it knows, and is told of what is newer, or in a while. */
  #watch({ requestId, body }: Command): void {
    const known = body.topologyVersion as { counter: number } | undefined;
    const everyMs = Number(body.maxAwaitTimeMS);
    if (known === undefined || !(everyMs > 0)) return;
    clearInterval(this.#watcher?.beat);
    const beat = setInterval(() => this.tellTopology(), everyMs);
    this.#watcher = { requestId, hello: undefined, beat };
  }

  #onHello(message: Buffer): void {
    const watcher = this.#watcher;
    if (watcher?.requestId !== answeredBy(message)) {
      this.#near.write(rewritten(message, (reply) => this.#introduced(reply)));
      return;
    }
    rewritten(message, (reply) => (watcher.hello = reply));
    this.tellTopology();
  }

  #answer(command: Command, document: Document): void {
    this.#near.write(replyTo(command.requestId, document));
  }

  /**
   * The server's hello as the proxy's own, with its own view of the set.
   */
  #introduced(reply: Document): Document {
    const me = this.#deps.address();
    const role = this.#deps.isSecondary()
      ? { isWritablePrimary: false, ismaster: false, secondary: true, primary: undefined }
      : { primary: me };
    return { ...reply, hosts: [me], me, ...role, topologyVersion: this.#deps.topology() };
  }
}

/** What the server hears: it is not asked about a view of the set that is the proxy's. */
function asked(message: Buffer, command: Command | undefined, fault: Fault | undefined): Buffer {
  if (fault?.kind === "operation error") {
    return commandWith(message, { keep: (index) => index !== fault.index });
  }
  if (command === undefined || !hellos.has(command.name)) return message;
  const unsaid = { topologyVersion: undefined, maxAwaitTimeMS: undefined };
  return commandWith(message, { body: (body) => ({ ...body, ...unsaid }) });
}

/** The name of the replica set behind: a client that discovers one asks for it by name. */
async function setNameOf(target: string): Promise<string> {
  const client = new MongoClient(`mongodb://${target}/?directConnection=true`);
  try {
    const { setName } = await client.db("admin").command({ hello: 1 });
    return String(setName);
  } finally {
    await client.close();
  }
}
