import { connect, type Socket } from "node:net";
import type { Document } from "mongodb";
import { hellos, ofAnyRole, type Fault } from "./fault.ts";
import { errorReply, writeConcernError } from "./server-errors.ts";
import {
  answeredBy,
  commandIn,
  commandWith,
  MessageSplitter,
  replyTo,
  rewritten,
  type Command,
} from "./wire-message.ts";

/** What to do with the reply to a command that the server has. */
interface Awaited {
  command: Command;
  fault: Fault | undefined;
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

/** One client connection, and the one to the server behind it. */
export class Line {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #deps: LineDeps;
  readonly #awaited = new Map<number, Awaited>();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** A monitor that wants to hear of each change, and what it was last told. */
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

  /** If this is a monitor's connection, tells it how the set looks now. */
  tellTopology(): void {
    const { requestId, hello } = this.#watcher ?? {};
    if (requestId === undefined || hello === undefined || this.#deps.isSilent()) return;
    this.#near.write(replyTo(requestId, this.#introduced(hello), true));
  }

  /** Interrupts the commands that the server has, whatever they have done so far. */
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
    // A request in an old opcode is the first hello of a connection.
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

  /**
   * Streaming hello: the client names what it knows, and is told what is newer, or after a while.
   */
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

  /** The server's hello as the proxy's own, with its own view of the set. */
  #introduced(reply: Document): Document {
    const me = this.#deps.address();
    const role = this.#deps.isSecondary()
      ? { isWritablePrimary: false, ismaster: false, secondary: true, primary: undefined }
      : { primary: me };
    return { ...reply, hosts: [me], me, ...role, topologyVersion: this.#deps.topology() };
  }
}

/** What the server is sent: it is not asked about a view of the set that is the proxy's. */
function asked(message: Buffer, command: Command | undefined, fault: Fault | undefined): Buffer {
  if (fault?.kind === "operation error") {
    return commandWith(message, { keep: (index) => index !== fault.index });
  }
  if (command === undefined || !hellos.has(command.name)) return message;
  const unsaid = { topologyVersion: undefined, maxAwaitTimeMS: undefined };
  return commandWith(message, { body: (body) => ({ ...body, ...unsaid }) });
}
