import { createHash } from "node:crypto";
import type { VirtualProcess, VirtualTime } from "../virtual-time.ts";
import type { Random } from "../random.ts";
import type { Line, Peer, TcpNetwork } from "./sockets.ts";

/** What a hop does at one point of a session in place of, or before, the right answer. */
export type Whim =
  | { kind: "none" }
  /** Gives this answer instead. */
  | { kind: "reply"; reply: string }
  /** Ends the connection without a word. */
  | { kind: "drop"; how: "close" | "reset" }
  /** Answers after this many milliseconds. */
  | { kind: "slow"; ms: number }
  /** Never answers. */
  | { kind: "mute" }
  /** Nothing passes on this connection for this long. */
  | { kind: "stall"; ms: number };

export type Point = "connect" | "ehlo" | "mail" | "rcpt" | "data" | "body" | "dot" | "rset";

/** One transaction as the hop sees it. */
export interface Received {
  hop: string;
  relay: VirtualProcess;
  recipients: string[];
  /** The Message-ID without its brackets and domain. */
  messageId: string;
  sha256: string;
  bytes: Buffer;
}

/** A body on its way. */
export interface Sending {
  relay: VirtualProcess;
  messageId: string;
  recipients: readonly string[];
}

export interface HopDeps {
  time: VirtualTime;
  random: Random;
  /** The whole reply to EHLO or LHLO. */
  greeting: string;
  /** Asked at each point. */
  whim: (point: Point) => Whim;
  /** The reply to this recipient; undefined: it is accepted. */
  refuses: (recipient: string) => string | undefined;
  /** How many recipients one transaction may have, and the reply to one more. */
  room: { recipients: number; refusal: string };
  /** The first byte of a body is given to the socket at this moment. */
  onBodyBegins: (sending: Sending) => void;
  /** The relay has heard the outcome, closes the connection, or is gone. */
  onLeft: (sending: Sending) => void;
  /** Whatever comes now, the hop no longer takes this mail. */
  onOver: (sending: Sending) => void;
  /** The hop has taken responsibility, whether or not the relay ever learns of it. */
  onAccepted: (received: Received) => void;
  /** The hop has seen the mail, and will never take it for this recipient. */
  onRefused: (messageId: string, recipient: string) => void;
  note: (relay: VirtualProcess, text: string) => void;
  /** The relay itself may be harmed here. */
  strike: (relay: VirtualProcess, point: Point) => void;
}

/** How long a hop waits for a silent client (RFC 5321 §4.5.3.2.7: at least 5 minutes). */
const hopPatienceMs = 8_000;

/** Listens at an address as a next hop. */
export function startNextHop(network: TcpNetwork, address: string, deps: HopDeps): void {
  network.listen(address, (line) => {
    const whim = deps.whim("connect");
    if (whim.kind === "mute") return "silent";
    if (whim.kind === "drop") return undefined;
    return new Session(address, line, deps, whim);
  });
}

class Session implements Peer {
  readonly #address: string;
  readonly #line: Line;
  readonly #deps: HopDeps;
  #text = "";
  #mode: "command" | "body" = "command";
  /** As far as the hop is concerned, the relay may send the body. */
  #invited = false;
  #bodyBegun = false;
  #recipients: string[] = [];
  #sending: Sending | undefined;
  #isLmtp = false;
  #over = false;
  /** It owes an answer, which comes later or never; until then it says nothing else. */
  #owes: "later" | "never" | undefined;
  #heardMs: number;

  constructor(address: string, line: Line, deps: HopDeps, greeting: Whim) {
    this.#address = address;
    this.#line = line;
    this.#deps = deps;
    this.#heardMs = deps.time.nowMs;
    this.#answer("220 hop.example ESMTP", greeting);
    this.#watch();
  }

  onSending(chunk: Buffer): void {
    if (!this.#invited || this.#bodyBegun || chunk.length === 0) return;
    this.#bodyBegun = true;
    this.#sending = {
      relay: this.#line.from,
      messageId: messageIdIn(chunk.toString("latin1")),
      recipients: this.#recipients,
    };
    this.#deps.onBodyBegins(this.#sending);
  }

  onData(chunk: Buffer): void {
    if (this.#over) return;
    this.#heardMs = this.#deps.time.nowMs;
    this.#text += chunk.toString("latin1");
    this.#takeAll();
  }

  /** Commands may come together (RFC 2920); they are answered in turn. */
  #takeAll(): void {
    while (!this.#over && this.#owes === undefined && this.#takeNext());
  }

  onLeaving(): void {
    if (this.#sending !== undefined) this.#deps.onLeft(this.#sending);
  }

  onClosed(): void {
    this.#over = true;
    this.#settle();
  }

  #settle(): void {
    if (this.#sending !== undefined) this.#deps.onOver(this.#sending);
    this.#sending = undefined;
  }

  #takeNext(): boolean {
    if (this.#mode === "body") return this.#takeBody();
    const end = this.#text.indexOf("\r\n");
    if (end < 0) return false;
    const command = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 2);
    this.#onCommand(command);
    return true;
  }

  #takeBody(): boolean {
    const end = this.#text.indexOf("\r\n.\r\n");
    if (end < 0) return false;
    const body = this.#text.slice(0, end + 2).replace(/^\./gm, "");
    this.#text = this.#text.slice(end + 5);
    this.#mode = "command";
    this.#invited = false;
    this.#bodyBegun = false;
    this.#onDot(body);
    return true;
  }

  #onCommand(command: string): void {
    const { whim, strike, note } = this.#deps;
    const [verb = ""] = command.toUpperCase().split(/[ :]/, 1);
    const address = /<([^>]*)>/.exec(command)?.[1] ?? "";
    note(this.#line.from, command);
    const point = verb.toLowerCase();
    if (point === "mail" || point === "rcpt" || point === "data") strike(this.#line.from, point);
    switch (verb) {
      case "EHLO":
      case "LHLO":
        this.#isLmtp = verb === "LHLO";
        return this.#answer(this.#deps.greeting, whim("ehlo"));
      case "MAIL":
        this.#recipients = [];
        return this.#answer("250 2.1.0 ok", whim("mail"));
      case "RCPT":
        return this.#onRecipient(address);
      case "DATA":
        return this.#onDataCommand(whim("data"));
      case "RSET":
        this.#recipients = [];
        return this.#answer("250 2.0.0 ok", whim("rset"));
      case "QUIT":
        this.#say("221 2.0.0 bye", 0);
        return this.#end("close");
      default:
        return this.#say("502 5.5.1 what?", 0);
    }
  }

  #onRecipient(address: string): void {
    const { refuses, room } = this.#deps;
    const isFull = this.#recipients.length >= room.recipients;
    const refusal = isFull ? room.refusal : refuses(address);
    const whim = this.#deps.whim("rcpt");
    if (refusal === undefined && whim.kind !== "reply") this.#recipients.push(address);
    this.#answer(refusal ?? "250 2.1.5 ok", whim);
  }

  #onDataCommand(whim: Whim): void {
    if (this.#recipients.length === 0) return this.#say("503 5.5.1 no recipients", 0);
    if (whim.kind === "reply") return this.#answer("", whim);
    this.#mode = "body";
    this.#invited = true;
    this.#answer("354 go on", whim);
    const inBody = this.#deps.whim("body");
    if (inBody.kind === "drop") {
      this.#deps.time.after(this.#deps.random.between(0, 3), undefined, () =>
        this.#end(inBody.how),
      );
    } else if (inBody.kind === "reply") {
      this.#answer("", inBody);
    } else if (inBody.kind === "stall") {
      this.#line.stallUntil(this.#deps.time.nowMs + inBody.ms);
    }
  }

  /**
   * Whether the mail is taken is decided here; whether the relay learns of it is another matter.
   */
  #onDot(body: string): void {
    const { whim, strike } = this.#deps;
    strike(this.#line.from, "dot");
    const decided = whim("dot");
    const recipients = this.#recipients;
    this.#recipients = [];
    const sending = this.#sending;
    const onSaid = () => {
      if (this.#sending === sending) this.#settle();
    };
    if (this.#isLmtp) return this.#answerEach(body, recipients, decided, onSaid);
    if (decided.kind !== "reply" && !this.#forgets(decided)) this.#take(body, recipients);
    this.#answer("250 2.0.0 taken", decided, onSaid);
  }

  /**
   * LMTP (RFC 2033): each recipient has its own answer, and something may happen between two of
   * them.
   */
  #answerEach(body: string, recipients: string[], decided: Whim, onSaid: () => void): void {
    const { random } = this.#deps;
    const isTroubled = decided.kind !== "none";
    const troubled = isTroubled ? random.int(0, recipients.length - 1) : recipients.length;
    const replies = recipients.map(() =>
      isTroubled && random.chance(0.3) ? random.pick(refusals) : "250 2.0.0 taken",
    );
    const isTaken = (_: string, place: number) => {
      if (replies[place]?.startsWith("250") !== true) return false;
      if (decided.kind === "reply") return place !== troubled;
      return place < troubled || !this.#forgets(decided);
    };
    const taken = recipients.filter(isTaken);
    if (taken.length > 0) this.#take(body, taken);
    for (const [place, recipient] of recipients.entries()) {
      if (replies[place]?.startsWith("5") === true) {
        this.#deps.onRefused(messageIdIn(body), recipient);
      }
    }
    const sayFrom = (first: number, end: number) => {
      for (const reply of replies.slice(first, end)) this.#say(reply, 0);
      if (end === recipients.length) onSaid();
    };
    sayFrom(0, troubled);
    if (troubled === recipients.length) return;
    const usual = replies[troubled] ?? "";
    this.#answer(usual, decided, () => sayFrom(troubled + 1, recipients.length));
  }

  #forgets(decided: Whim): boolean {
    return decided.kind === "drop" && this.#deps.random.chance(0.4);
  }

  #take(body: string, recipients: string[]): void {
    const bytes = Buffer.from(body, "latin1");
    this.#deps.onAccepted({
      hop: this.#address,
      relay: this.#line.from,
      recipients,
      messageId: messageIdIn(body),
      sha256: createHash("sha256").update(bytes).digest("hex"),
      bytes,
    });
  }

  #answer(usual: string, whim: Whim, onSaid: () => void = () => undefined): void {
    switch (whim.kind) {
      case "none":
        return this.#say(usual, 0, onSaid);
      case "reply":
        this.#say(whim.reply, 0, onSaid);
        if (whim.reply.startsWith("421")) this.#end("close");
        return;
      case "slow":
        return this.#say(usual, whim.ms, onSaid);
      case "stall":
        this.#line.stallUntil(this.#deps.time.nowMs + whim.ms);
        return this.#say(usual, 0, onSaid);
      case "drop":
        return this.#end(whim.how);
      case "mute":
        this.#owes = "never";
        return;
    }
  }

  #say(reply: string, delayMs: number, onSaid: () => void = () => undefined): void {
    const { time, note } = this.#deps;
    const say = () => {
      note(this.#line.from, reply);
      this.#line.write(`${reply}\r\n`);
      onSaid();
    };
    if (delayMs === 0) return say();
    this.#owes = "later";
    time.after(delayMs, undefined, () => {
      this.#owes = undefined;
      if (this.#over) return;
      say();
      this.#takeAll();
    });
  }

  #end(how: "close" | "reset"): void {
    if (this.#over) return;
    this.#over = true;
    this.#deps.note(this.#line.from, `connection ended: ${how}`);
    this.#settle();
    this.#line.end(how);
  }

  #watch(): void {
    const { time } = this.#deps;
    time.at(this.#heardMs + hopPatienceMs, undefined, () => {
      if (this.#over) return;
      if (this.#owes === "later") this.#heardMs = time.nowMs;
      if (time.nowMs < this.#heardMs + hopPatienceMs) return this.#watch();
      if (this.#owes === undefined) this.#say("421 4.4.2 too slow", 0);
      this.#end("close");
    });
  }
}

const refusals = ["452 4.2.2 full", "550 5.2.1 not this one"];

function messageIdIn(text: string): string {
  return /^Message-ID: <([^@>]+)@/im.exec(text)?.[1] ?? "";
}
