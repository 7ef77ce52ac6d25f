import type { Socket } from "node:net";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { connectTo, type EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { Mode } from "@rs-agent/shared/mode.ts";
import { framesOf, type ScanInput } from "./frames.ts";
import { ReplyReader } from "./reply-reader.ts";
import { isAnswer, nameOf, parseSessionReply, quote } from "./replies.ts";

/** Enough for the longest path (4,096 bytes) and the longest name. */
const maxReplyChars = 16 * 1024;

/**
 * One IDSESSION of clamd(8): many scans at once on one socket; each reply carries the number of its
 * command.
 *
 * 1. A reply belongs to a scan only by the id of one in flight, and OK counts only for a mail that
 *    was sent in full. Any other reply, or one unknown to clamd(8), breaks the session: no scan in
 *    it is answered by guesswork.
 * 2. A broken session answers every scan in it with `broken`: not clean, and not the mail's fault.
 * 3. The protocol cannot cancel a scan in flight, so its abort tears the session down.
 */

/**
 * What became of one scan. `broken` may be tried elsewhere; `aborted` was done by its own signal.
 * `died`: clamd went away with the mail in hand. `wasSent`: clamd had at least part of it.
 */
export type SessionOutcome =
  | { kind: "answered"; reply: string }
  | { kind: "broken"; reason: "engine-away" | "engine-error"; detail: string; died: boolean }
  | { kind: "aborted"; wasSent: boolean };

/** Why a session ended. Only `broken` says something about clamd's health. */
export type SessionEnd =
  | { kind: "closed" }
  | { kind: "torn-down" }
  | { kind: "broken"; reason: "engine-away" | "engine-error"; detail: string; died: boolean };

export interface SessionLimits {
  connectTimeoutMs: number;
  /** We end a session that had no scan for this long, before clamd does. */
  idleMs: number;
}

export const defaultSessionLimits: SessionLimits = { connectTimeoutMs: 5_000, idleMs: 10_000 };

interface Scan {
  input: ScanInput;
  /** 0 until the first byte is about to be written, then its command number. */
  id: number;
  sent: boolean;
  /** The first outcome counts. */
  settle(outcome: SessionOutcome): void;
}

const modes = { connecting: [], open: ["connecting"], over: ["connecting", "open"] } as const;

export class ClamdSession {
  /** Settles once, when the session takes no more scans. */
  readonly ended: Promise<SessionEnd>;
  readonly #socket: Socket;
  readonly #limits: SessionLimits;
  readonly #reader = new ReplyReader(maxReplyChars);
  readonly #outbox: Scan[] = [];
  readonly #sentOrSending = new Map<number, Scan>();
  readonly #idleTimer: NodeJS.Timeout;
  readonly #connectTimer: NodeJS.Timeout;
  #settleEnd: (end: SessionEnd) => void = () => undefined;
  #lastId = 0;
  #unsentBytes = 0;
  #pumping = false;
  readonly #mode = new Mode<keyof typeof modes>("a session with clamd", modes, "connecting");

  /** Starts to connect immediately; a failure to do so breaks the session. */
  constructor(address: EngineAddress, limits: SessionLimits = defaultSessionLimits) {
    this.#limits = limits;
    this.ended = new Promise((resolve) => (this.#settleEnd = resolve));
    this.#socket = connectTo(address);
    this.#socket.once("connect", () => this.#begin());
    this.#socket.on("data", (chunk) => this.#read(chunk));
    this.#socket.on("error", (error) => {
      this.#break("engine-away", messageOf(error), this.#mode.is("open"));
    });
    this.#socket.on("close", () => this.#closedByClamd());
    this.#socket.on("end", () => this.#closedByClamd());
    this.#connectTimer = setTimeout(() => {
      this.#break("engine-away", `no connection within ${limits.connectTimeoutMs} ms`);
    }, limits.connectTimeoutMs);
    this.#idleTimer = setTimeout(() => this.#closeIfIdle(), limits.idleMs);
  }

  get inFlight(): number {
    return this.#outbox.length + this.#sentOrSending.size;
  }

  /** Bytes that must be written before those of a new scan. */
  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** Bytes given to the socket that the kernel has not taken: bounded by one chunk. */
  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  get isOver(): boolean {
    return this.#mode.is("over");
  }

  /** Never rejects. The input's bytes must not change until it settles. */
  scan(input: ScanInput, signal: AbortSignal): Promise<SessionOutcome> {
    if (signal.aborted) return Promise.resolve({ kind: "aborted", wasSent: false });
    if (this.isOver) {
      const detail = "session is over";
      return Promise.resolve({ kind: "broken", reason: "engine-away", detail, died: false });
    }
    return new Promise((resolve) => {
      const abort = () => this.#abort(scan);
      const scan: Scan = {
        input,
        id: 0,
        sent: false,
        settle: (outcome) => {
          signal.removeEventListener("abort", abort);
          resolve(outcome);
        },
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#outbox.push(scan);
      this.#unsentBytes += sizeOf(input);
      void this.#pump();
    });
  }

  /** Ends the session now; what is in flight is answered `broken`. */
  destroy(): void {
    this.#finish({ kind: "torn-down" }, "the session was ended");
  }

  #begin(): void {
    clearTimeout(this.#connectTimer);
    this.#mode.enter("open");
    this.#socket.write("zIDSESSION\0");
    void this.#pump();
  }

  /** Writes one scan after another; the only writer once the session has begun. */
  async #pump(): Promise<void> {
    if (this.#pumping || !this.#mode.is("open")) return;
    this.#pumping = true;
    for (let scan = this.#outbox.shift(); scan !== undefined; scan = this.#outbox.shift()) {
      if (this.isOver) break;
      await this.#send(scan);
    }
    this.#pumping = false;
  }

  async #send(scan: Scan): Promise<void> {
    scan.id = ++this.#lastId;
    this.#sentOrSending.set(scan.id, scan);
    for (const frames of framesOf(scan.input)) {
      this.#socket.cork();
      for (const frame of frames) this.#socket.write(frame);
      this.#socket.uncork();
      if (this.#socket.writableNeedDrain) await this.#drained();
      if (this.isOver) return;
    }
    scan.sent = true;
    this.#unsentBytes -= sizeOf(scan.input);
  }

  /**
   * Back-pressure: clamd reads as fast as it can, and we keep at most one chunk in memory ahead of
   * it.
   */
  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#socket.off("drain", done).off("close", done);
        resolve();
      };
      this.#socket.on("drain", done).on("close", done);
    });
  }

  #read(chunk: Buffer): void {
    for (const line of this.#reader.push(chunk)) {
      if (this.isOver) return;
      this.#take(line);
    }
    if (this.#reader.isTooLong) this.#break("engine-error", "a reply from clamd has no end");
  }

  #take(line: string): void {
    const reply = parseSessionReply(line);
    const scan = reply === undefined ? undefined : this.#sentOrSending.get(reply.id);
    if (reply === undefined || scan === undefined) {
      this.#break("engine-error", `clamd answered ${quote(line)}, which belongs to no scan`);
      return;
    }
    if (!isAnswer(reply.text, nameOf(scan.input))) {
      this.#break("engine-error", `clamd answered ${quote(line)}`);
      return;
    }
    if (!scan.sent && reply.text === `${nameOf(scan.input)}: OK`) {
      this.#break("engine-error", `clamd answered ${quote(line)} before it had the whole mail`);
      return;
    }
    this.#sentOrSending.delete(reply.id);
    scan.settle({ kind: "answered", reply: reply.text });
    // clamd has lost its place in our stream after an answer in the middle of it, and closes.
    if (!scan.sent)
      this.#finish({ kind: "torn-down" }, "clamd answered in the middle of another stream");
    if (this.inFlight === 0) this.#idleTimer.refresh();
  }

  #abort(scan: Scan): void {
    const place = this.#outbox.indexOf(scan);
    if (place >= 0) {
      this.#outbox.splice(place, 1);
      this.#unsentBytes -= sizeOf(scan.input);
      scan.settle({ kind: "aborted", wasSent: false });
      return;
    }
    if (this.#sentOrSending.delete(scan.id)) {
      scan.settle({ kind: "aborted", wasSent: true });
      this.#finish({ kind: "torn-down" }, "another scan's deadline ended the session");
    }
  }

  #closeIfIdle(): void {
    if (this.isOver) return;
    if (this.inFlight > 0) {
      this.#idleTimer.refresh();
      return;
    }
    if (this.#mode.is("open")) this.#socket.end("zEND\0");
    this.#finish({ kind: "closed" }, "the session was idle");
  }

  #closedByClamd(): void {
    if (this.inFlight === 0 && !this.#reader.hasPartial) {
      this.#finish({ kind: "closed" }, "clamd closed the session");
      return;
    }
    const how = this.#reader.hasPartial ? "in the middle of a reply" : "with scans unanswered";
    this.#break("engine-away", `clamd closed the session ${how}`, true);
  }

  #break(reason: "engine-away" | "engine-error", detail: string, died = false): void {
    this.#finish({ kind: "broken", reason, detail, died }, detail);
  }

  #finish(end: SessionEnd, detail: string): void {
    if (this.isOver) return;
    this.#mode.enter("over");
    clearTimeout(this.#idleTimer);
    clearTimeout(this.#connectTimer);
    if (this.#socket.writableEnded) this.#socket.destroySoon();
    else this.#socket.destroy();
    const reason = end.kind === "broken" ? end.reason : "engine-away";
    const died = end.kind === "broken" && end.died;
    const sent = [...this.#sentOrSending.values()];
    this.#sentOrSending.clear();
    this.#unsentBytes = 0;
    // The session's owner learns of it first, so that no scan is retried at a broken clamd.
    this.#settleEnd(end);
    for (const scan of sent) scan.settle({ kind: "broken", reason, detail, died });
    for (const scan of this.#outbox.splice(0)) {
      scan.settle({ kind: "broken", reason, detail, died: false });
    }
  }
}

function sizeOf(input: ScanInput): number {
  return input.kind === "bytes" ? input.bytes.length : 0;
}
