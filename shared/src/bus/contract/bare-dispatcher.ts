import { Push } from "zeromq";
import type { Clock } from "../../clock.ts";
import { newToken } from "../../ids.ts";
import type { Logger } from "../../logger.ts";
import { decodeMessage, encodeMessages, maxHeadBytes, type IncomingPart } from "../codec.ts";
import { growthBytes, Mailbox } from "../mailbox.ts";
import type { BusProtection } from "../protection.ts";
import { readyHeadSchema, type ReadyHead } from "../wire.ts";

/** One head that the worker has sent, and when (monotonic milliseconds). */
export interface Said {
  head: Record<string, unknown>;
  atMs: number;
}

export interface BareDispatcherDeps {
  /** Where the worker is told that a dispatcher is. */
  bind: string;
  actorId: string;
  protection: BusProtection;
  maxMailBytes: number;
  clock: Clock;
  log: Logger;
}

/**
 * A dispatcher without judgement: it says just what it is told to, frame by frame, and keeps all that
 * it hears. For the contract suite of workers.
 */
export class BareDispatcher {
  readonly endpoint: string;
  readonly said: Said[] = [];
  readonly #deps: BareDispatcherDeps;
  readonly #mailbox: Mailbox;
  readonly #incarnation = newToken();
  readonly #timer: NodeJS.Timeout;
  #push: Push | undefined;
  #sending: Promise<unknown> = Promise.resolve();
  #woken = Promise.withResolvers<undefined>();
  /** Of the session that is open. */
  ready: ReadyHead | undefined;
  session = "";
  sequence = 0;
  /** It says nothing by itself any more. */
  isSilent = false;
  wantsSole = false;

  constructor(deps: BareDispatcherDeps) {
    this.#deps = deps;
    this.#mailbox = Mailbox.open({
      ...deps,
      maxFrameBytes: Math.max(deps.maxMailBytes + growthBytes, maxHeadBytes),
    });
    this.endpoint = this.#mailbox.endpoint;
    void this.#read();
    this.#timer = setInterval(() => {
      if (!this.isSilent && this.session !== "") this.beat();
    }, 1_000);
  }

  get nowMs(): number {
    return this.#deps.clock.monotonicMs();
  }

  /** Answers the worker's newest `ready` by a session of its own. */
  open(ready: ReadyHead): void {
    this.#push?.close();
    const { protection } = this.#deps;
    const { keys } = protection;
    const curve =
      keys === undefined || ready.publicKey === undefined
        ? {}
        : keys.clientOptions(ready.publicKey);
    this.#push = new Push({ ...curve, linger: 0, ipv6: ready.mailbox.includes("[") });
    this.#push.connect(ready.mailbox);
    this.ready = ready;
    this.session = newToken();
    this.sequence = 0;
    this.isSilent = false;
    this.beat();
  }

  beat(): void {
    this.send({
      kind: "heartbeat",
      incarnation: this.#incarnation,
      link: this.ready?.link,
      heard: this.heard,
      ...(this.wantsSole ? { wantsSole: true } : {}),
    });
  }

  /** The number of the last heartbeat of this session. */
  get heard(): number {
    return Number(this.all("heartbeat").at(-1)?.head["beat"] ?? 0);
  }

  /** In this session, unless the fields say otherwise. */
  send(fields: Record<string, unknown> & { kind: string }, body?: Buffer): void {
    const head = { v: 1, from: this.#deps.actorId, session: this.session, ...fields };
    const sized = body === undefined ? head : { bytes: body.length, ...head };
    const part = { head: sized as never, body };
    for (const frames of encodeMessages([part])) this.sendFrames(frames);
  }

  /** These very frames, whatever they are. */
  sendFrames(frames: Buffer[]): void {
    const push = this.#push;
    this.#sending = this.#sending.then(() => push?.send(frames)).catch(() => undefined);
  }

  /** What it has said of a kind in this session (`ready`: in any). */
  all(kind: string): Said[] {
    return this.said.filter(
      ({ head }) => head["kind"] === kind && (kind === "ready" || head["session"] === this.session),
    );
  }

  /** The first thing said that fits, now or within this time; undefined: there is none. */
  async await<T>(look: () => T | undefined, withinMs: number): Promise<T | undefined> {
    const untilMs = this.nowMs + withinMs;
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      const leftMs = untilMs - this.nowMs;
      if (leftMs <= 0) return undefined;
      const wait = Promise.withResolvers<undefined>();
      const timer = setTimeout(() => wait.resolve(undefined), leftMs);
      await Promise.race([this.#woken.promise, wait.promise]);
      clearTimeout(timer);
    }
  }

  /** The newest `ready` that no session has answered. */
  unanswered(): ReadyHead | undefined {
    const last = readyHeadSchema.safeParse(this.all("ready").at(-1)?.head);
    return last.success && last.data.link !== this.ready?.link ? last.data : undefined;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#push?.close();
    this.#mailbox.close();
  }

  async #read(): Promise<void> {
    const each = ({ head }: IncomingPart) => {
      this.said.push({ head, atMs: this.nowMs });
      this.#woken.resolve(undefined);
      this.#woken = Promise.withResolvers();
    };
    const dropped = () => each({ head: { kind: "undecodable" }, body: undefined });
    for await (const frames of this.#mailbox) decodeMessage(frames, [1], each, dropped);
  }
}
