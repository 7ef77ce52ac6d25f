import type { Clock } from "../clock.ts";
import type { Credit } from "../bus/wire.ts";
import { splitCredit } from "./credit-split.ts";
import { DispatcherLink, lastWordMs, type DispatcherLinkDeps } from "./dispatcher-link.ts";
import type { WorkerSession } from "./worker-session.ts";

const nothing: Credit = { tasks: 0, bytes: 0 };

export interface DispatcherLinksDeps {
  clock: Clock;
  heartbeatMs: number;
  /** What every link needs beside its endpoint. */
  link: Omit<DispatcherLinkDeps, "endpoint" | "onOpen" | "onSessionEnd">;
  /** What the worker takes from all dispatchers together, now. */
  capacity: () => Credit;
  onSessionOpen?: (() => void) | undefined;
  /** The session's tasks go to others. */
  onSessionEnd: (session: WorkerSession) => void;
}

/** A worker's links to all its dispatchers, and the credit that they share. */
export class DispatcherLinks {
  readonly #deps: DispatcherLinksDeps;
  readonly #links = new Map<string, DispatcherLink>();
  readonly #bySession = new Map<string, DispatcherLink>();
  #regrantWaits = false;
  #leaving = false;
  /** Has the worker to itself, or will as soon as the others have nothing here. */
  #sole: WorkerSession | undefined;
  #nextTickMs: number;

  constructor(deps: DispatcherLinksDeps) {
    this.#deps = deps;
    this.#nextTickMs = deps.clock.monotonicMs() + deps.heartbeatMs;
  }

  all(): DispatcherLink[] {
    return [...this.#links.values()];
  }

  ofSession(sessionId: string): DispatcherLink | undefined {
    return this.#bySession.get(sessionId);
  }

  /** The link whose `ready` carried this nonce and is not answered yet. */
  greetedBy(nonce: string | undefined): DispatcherLink | undefined {
    return this.all().find((link) => link.mode === "greeting" && link.nonce === nonce);
  }

  /** Opens a link to each endpoint that has none, and closes those that are gone and out of use. */
  reconcile(endpoints: ReadonlySet<string>): void {
    if (this.#leaving) return;
    for (const link of this.all()) {
      if (endpoints.has(link.endpoint) || link.isOn) continue;
      link.close();
      this.#links.delete(link.endpoint);
    }
    for (const endpoint of endpoints) {
      if (!this.#links.has(endpoint)) this.#links.set(endpoint, this.#create(endpoint));
    }
  }

  /** Heartbeats and silence, once per heartbeat interval. */
  tick(): void {
    const nowMs = this.#deps.clock.monotonicMs();
    const stoodStillMs = nowMs - this.#nextTickMs;
    this.#nextTickMs = nowMs + this.#deps.heartbeatMs;
    this.regrant();
    for (const link of this.all()) {
      if (stoodStillMs > this.#deps.heartbeatMs) link.forgive(stoodStillMs);
      link.beat();
      link.tick(nowMs);
    }
  }

  async announceBusy(ms: number): Promise<void> {
    await Promise.all(this.all().map((link) => link.announceBusy(ms)));
  }

  beat(): void {
    for (const link of this.all()) link.beat();
  }

  /** The allow list has changed. */
  recheckKeys(): void {
    for (const link of this.all()) link.recheckKey();
  }

  /** Splits the capacity again, once in this turn of the event loop. */
  regrantSoon(): void {
    if (this.#regrantWaits) return;
    this.#regrantWaits = true;
    setImmediate(() => {
      this.#regrantWaits = false;
      this.regrant();
    });
  }

  regrant(): void {
    const capacity = this.#deps.capacity();
    this.#sole = capacity.tasks === 0 ? undefined : this.#chooseSole();
    if (this.#sole !== undefined) {
      this.#grantSole(this.#sole, capacity.bytes);
      return;
    }
    const nowMs = this.#deps.clock.monotonicMs();
    const links = [...this.#bySession.values()];
    const busy = links.map(({ session }) => ({ busy: session?.isBusy(nowMs) ?? false }));
    const shares = splitCredit(capacity, busy);
    for (const [place, link] of links.entries()) link.grant(shares[place] ?? nothing, false);
  }

  /** A task is answered. */
  onAnswer(): void {
    if (this.#sole !== undefined) this.regrantSoon();
  }

  /** Who has it now, until its task is answered; else who wants it, in turn. */
  #chooseSole(): WorkerSession | undefined {
    const sessions = [...this.#bySession.values()].flatMap(({ session }) => session ?? []);
    const last = this.#sole === undefined ? -1 : sessions.indexOf(this.#sole);
    const current = sessions[last];
    if (current?.hasAlone === true || current?.wantsSole === true) return current;
    const inTurn = [...sessions.slice(last + 1), ...sessions.slice(0, last + 1)];
    return inTurn.find(({ wantsSole }) => wantsSole);
  }

  /** What kills as it comes in must not come from elsewhere: the others have seen that they have no credit. */
  #grantSole(sole: WorkerSession, bytes: number): void {
    const links = [...this.#bySession.values()];
    for (const link of links) if (link.session !== sole) link.grant(nothing, false);
    const others = links.flatMap(({ session }) => (session === sole ? [] : (session ?? [])));
    const isFree = others.every(({ isTold, hasTasks }) => isTold && !hasTasks);
    const link = this.#bySession.get(sole.id);
    link?.grant({ tasks: 1, bytes }, isFree && !sole.hasAlone);
  }

  /** `done`: everything is answered. */
  sayBye(done: boolean): void {
    this.#leaving = true;
    for (const link of this.all()) link.sayBye(done);
  }

  /** Takes leave with nothing unanswered, and closes as soon as the dispatchers can know of it. */
  async part(): Promise<void> {
    this.sayBye(true);
    const { promise: isOver, resolve } = Promise.withResolvers<undefined>();
    const limit = setTimeout(() => resolve(undefined), lastWordMs);
    await Promise.race([Promise.all(this.all().map((link) => link.flushed())), isOver]);
    clearTimeout(limit);
    this.close();
  }

  close(): void {
    this.#leaving = true;
    for (const link of this.all()) link.close();
  }

  #create(endpoint: string): DispatcherLink {
    return new DispatcherLink({
      ...this.#deps.link,
      endpoint,
      onOpen: (link) => this.#onOpen(link),
      onSessionEnd: (link, session) => this.#onSessionEnd(link, session),
    });
  }

  #onOpen(opened: DispatcherLink): void {
    const session = opened.session;
    if (session === undefined) return;
    this.#bySession.set(session.id, opened);
    for (const link of this.all()) {
      const same = link.session?.dispatcherIncarnation === session.dispatcherIncarnation;
      if (link !== opened && same) link.becomeDuplicate();
    }
    this.regrant();
    opened.beat();
    this.#deps.onSessionOpen?.();
  }

  #onSessionEnd(ended: DispatcherLink, session: WorkerSession): void {
    this.#bySession.delete(session.id);
    this.#deps.onSessionEnd(session);
    if (this.#leaving) return;
    for (const link of this.all()) if (link !== ended) link.revive();
    this.regrantSoon();
  }
}
