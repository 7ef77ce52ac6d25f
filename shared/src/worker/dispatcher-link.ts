import type { Clock } from "../clock.ts";
import { advertisedMailbox } from "../bus/advertise.ts";
import type { OutgoingHead } from "../bus/codec.ts";
import { refusalTexts, type HandshakeFailure } from "../bus/handshake.ts";
import type { BusProtection } from "../bus/protection.ts";
import { PushSender } from "../bus/push-sender.ts";
import type { BusTiming } from "../bus/timing.ts";
import type { ByeHead, Credit, HeartbeatHead, SessionKind } from "../bus/wire.ts";
import { RsError, messageOf } from "../errors.ts";
import { newToken } from "../ids.ts";
import { Mode } from "../mode.ts";
import type { Logger } from "../logger.ts";
import type { Engine } from "../checks/finding.ts";
import { DispatcherKey } from "./dispatcher-key.ts";
import { linkModes, type LinkMode } from "./link-mode.ts";
import { WorkerSession } from "./worker-session.ts";

/** How long a last word may still be delivered after the link is closed. */
export const lastWordMs = 1_000;
/** A dispatcher that stays out of reach is mentioned this often. */
const complainEveryMs = 60_000;

/** What a worker (or a relay, which is one without credit) says about itself in `ready` and in heartbeats. */
export interface SelfDescription {
  engine: Engine | undefined;
  spools: readonly string[];
  /** Why the credit is zero, if it is. */
  unable: string | undefined;
}

export interface DispatcherLinkDeps {
  /** The dispatcher's result socket. */
  endpoint: string;
  workerId: string;
  incarnation: string;
  task: SessionKind;
  versions: readonly number[];
  bound: string;
  advertise: string | undefined;
  maxWaitingBytes: number;
  protection: BusProtection;
  clock: Clock;
  log: Logger;
  timing: BusTiming;
  self: () => SelfDescription;
  onOpen: (link: DispatcherLink) => void;
  /** The session's tasks go to others; called before the link opens another. */
  onSessionEnd: (link: DispatcherLink, session: WorkerSession) => void;
  onFatal: (error: unknown) => void;
}

/** A worker's way to one dispatcher: the socket to it, and the session that comes and goes on it. */
export class DispatcherLink {
  readonly endpoint: string;
  readonly #deps: DispatcherLinkDeps;
  readonly #key: DispatcherKey | undefined;
  readonly #mode = new Mode("a link to a dispatcher", linkModes, "connecting");
  #sinceMs = 0;
  #sender: PushSender | undefined;
  #nonce = "";
  #mailbox: string;
  #session: WorkerSession | undefined;
  readonly #complainedAtMs = new Map<string, number>();

  constructor(deps: DispatcherLinkDeps) {
    this.#deps = deps;
    this.endpoint = deps.endpoint;
    this.#mailbox = deps.advertise ?? deps.bound;
    const { keys } = deps.protection;
    this.#key = keys === undefined ? undefined : new DispatcherKey(keys);
    this.#connect();
  }

  get mode(): LinkMode {
    return this.#mode.now;
  }

  /** A session is on. */
  get isOn(): boolean {
    return this.#mode.is("open", "leaving");
  }

  get session(): WorkerSession | undefined {
    return this.#session;
  }

  get nonce(): string {
    return this.#nonce;
  }

  get mailbox(): string {
    return this.#mailbox;
  }

  /** A heartbeat that echoes our `ready`: the session that it names is on. */
  open(head: HeartbeatHead): void {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#session?.id !== head.session) {
      this.#endSession();
      this.#session = new WorkerSession(head, nowMs);
      this.#enter("open");
      this.#complainedAtMs.clear();
      this.#deps.log.info({ dispatcher: head.from, endpoint: this.endpoint }, "session is open");
      this.#deps.onOpen(this);
    }
    this.#session.heard(nowMs);
    this.#session.update(head);
  }

  /** Gives a head of this session to the socket. False: it cannot go out. */
  send(head: OutgoingHead, body?: Buffer): boolean {
    return this.#sender?.send(head, body) ?? false;
  }

  /** Settles when what was sent is on its way even if this process then blocks. */
  async flushed(): Promise<void> {
    await this.#sender?.flushed();
  }

  /** Says that this process will be silent for this long, before it is. */
  async announceBusy(ms: number): Promise<void> {
    if (this.#session === undefined) return;
    this.#session.busyUntil = this.#deps.clock.now().getTime() + ms;
    this.beat();
    await this.flushed();
  }

  /** Sets the grant; a change is sent immediately. */
  grant(credit: Credit, isSole: boolean): void {
    if (this.#session?.setGrant(credit, isSole) === true) this.beat();
  }

  /** Tells the dispatcher how things are. */
  beat(): void {
    const session = this.#session;
    if (session === undefined || !this.isOn) return;
    const { incarnation, self, clock } = this.#deps;
    const { engine, spools, unable } = self();
    session.beats += 1;
    this.send({
      ...this.#common("heartbeat", session),
      incarnation,
      beat: session.beats,
      ...(session.isSole ? { sole: true } : {}),
      credit: session.grant,
      lastSeen: session.lastSeen,
      lastDone: session.lastDone,
      spools,
      ...(engine === undefined ? {} : { engine }),
      ...(unable === undefined ? {} : { unable }),
      ...(session.busyUntil > clock.now().getTime() ? { busyUntil: session.busyUntil } : {}),
    });
  }

  /** Looks at the silence. */
  tick(nowMs: number): void {
    const { timing, log } = this.#deps;
    if (this.isOn && this.#session !== undefined) {
      if (nowMs - this.#session.lastHeardMs < timing.silentMs) return;
      const { dispatcherId: dispatcher } = this.#session;
      log.warn({ dispatcher, endpoint: this.endpoint }, "dispatcher has fallen silent");
      this.#reconnect();
      return;
    }
    if (nowMs - this.#sinceMs < timing.silentMs) return;
    if (this.#mode.is("connecting"))
      this.#complain(`this ${this.#who} cannot reach the dispatcher`);
    if (this.#mode.is("parted", "refused")) this.#reconnect();
    if (!this.#mode.is("greeting")) return;
    this.#complain("the dispatcher does not answer: it cannot reach this mailbox, or refuses it");
    this.#reconnect();
  }

  forgive(ms: number): void {
    this.#sinceMs += ms;
    this.#session?.heard(this.#session.lastHeardMs + ms);
  }

  /** The dispatcher said bye. */
  receiveBye(bye: ByeHead): void {
    if (this.#session === undefined) return;
    if (!bye.done) {
      this.#session.part();
      return;
    }
    this.#endSession();
    if (this.#mode.is("leaving")) this.close();
    else this.#enter("parted");
  }

  /** Takes nothing new in this session (`done`: and has answered everything). */
  sayBye(done: boolean): void {
    if (this.#session === undefined || !this.isOn) {
      this.close();
      return;
    }
    this.#enter("leaving");
    this.send({ ...this.#common("bye", this.#session), done });
  }

  /** Another link leads to the same dispatcher: keep quiet until it is gone. */
  becomeDuplicate(): void {
    this.#endSession();
    this.#sender?.close();
    this.#sender = undefined;
    this.#enter("duplicate");
  }

  /** Starts again. */
  revive(): void {
    if (this.#mode.is("duplicate")) this.#connect();
  }

  /** The allow list has changed: what it no longer names ends, what it names may be tried. */
  recheckKey(): void {
    if (this.#key === undefined || this.#mode.is("leaving", "closed", "duplicate")) return;
    if (!this.#mode.is("refused")) {
      if (this.#key.isListed) return;
      const { log } = this.#deps;
      const { current: publicKey } = this.#key;
      log.warn({ dispatcher: this.endpoint, publicKey }, "dispatcher's key is revoked");
      this.#endSession();
    }
    this.#reconnect();
  }

  close(): void {
    if (this.#mode.is("closed")) return;
    const hasLastWord = this.#mode.is("leaving");
    this.#enter("closed");
    this.#sender?.close(hasLastWord ? lastWordMs : 0);
    this.#endSession();
  }

  #enter(mode: LinkMode): void {
    this.#mode.enter(mode);
    this.#sinceMs = this.#deps.clock.monotonicMs();
  }

  #connect(): void {
    this.#key?.begin();
    this.#dial();
  }

  #dial(): void {
    const serverKey = this.#key?.current;
    if (this.#key !== undefined && serverKey === undefined) {
      this.#giveUpFor("the allow list names no key for a dispatcher");
      return;
    }
    this.#enter("connecting");
    this.#sender = new PushSender({
      endpoint: this.endpoint,
      protection: this.#deps.protection,
      serverKey,
      maxParts: 10_000,
      maxBytes: this.#deps.maxWaitingBytes,
      onConnected: () => void this.#greet(),
      onDisconnected: () => this.#onDisconnected(),
      onRefused: (failure) => this.#onRefused(failure),
      onUnsendable: () => this.#deps.log.error({ endpoint: this.endpoint }, "head is too large"),
    });
  }

  /** A fresh socket: what hangs in the old one's connection may hang for minutes. */
  #reconnect(): void {
    this.#sender?.close();
    if (this.#mode.is("leaving")) this.close();
    else this.#connect();
  }

  /** Another listed key may be the right one; if none is, all are tried again after a while. */
  #onRefused(failure: HandshakeFailure): void {
    this.#sender?.close();
    const mayDial = failure === "broken" && !this.#mode.is("leaving");
    if (mayDial && this.#key?.next() === true) this.#dial();
    else
      this.#giveUpFor(`the dispatcher does not take this ${this.#who}: ${refusalTexts[failure]}`);
  }

  #giveUpFor(reason: string): void {
    this.#sender?.close();
    this.#sender = undefined;
    if (this.#mode.is("leaving")) this.close();
    else this.#enter("refused");
    this.#complain(reason);
  }

  #onDisconnected(): void {
    this.#endSession();
    if (this.#mode.is("leaving")) this.close();
    else this.#enter("connecting");
  }

  async #greet(): Promise<void> {
    const { workerId, incarnation, task, versions, bound, advertise, protection } = this.#deps;
    try {
      const dispatcher = this.endpoint;
      this.#mailbox = await advertisedMailbox({ bound, advertise, dispatcher });
      protection.check(this.#mailbox, "advertise");
    } catch (error) {
      if (error instanceof RsError) this.#deps.onFatal(error);
      else this.#complain(`no address to advertise: ${messageOf(error)}`);
      return;
    }
    if (!this.#mode.is("connecting", "parted")) return;
    this.#nonce = newToken();
    this.#enter("greeting");
    const { engine, spools } = this.#deps.self();
    const { keys } = protection;
    this.send({
      v: Math.min(...versions),
      from: workerId,
      kind: "ready",
      incarnation,
      link: this.#nonce,
      task,
      versions,
      mailbox: this.#mailbox,
      ...(keys === undefined ? {} : { publicKey: keys.own.publicKey }),
      spools,
      ...(engine === undefined ? {} : { engine }),
    });
  }

  get #who(): "relay" | "worker" {
    return this.#deps.task === "relay" ? "relay" : "worker";
  }

  #endSession(): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    session.end();
    this.#deps.onSessionEnd(this, session);
  }

  #complain(what: string): void {
    const nowMs = this.#deps.clock.monotonicMs();
    if (nowMs - (this.#complainedAtMs.get(what) ?? -Infinity) < complainEveryMs) return;
    this.#complainedAtMs.set(what, nowMs);
    const publicKey = this.#deps.protection.keys?.own.publicKey;
    const us = { mailbox: this.#mailbox, ...(publicKey === undefined ? {} : { publicKey }) };
    this.#deps.log.warn({ dispatcher: this.endpoint, ...us }, what);
  }

  #common<K extends string>(kind: K, session: WorkerSession) {
    return { v: session.version, from: this.#deps.workerId, kind, session: session.id };
  }
}
