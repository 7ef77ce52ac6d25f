import { RetryableError } from "@rs-agent/shared/errors.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { BodyRef } from "@rs-agent/shared/mail/record.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { MailStore } from "@rs-agent/shared/store/mails.ts";
import { merged, type MailChange } from "@rs-agent/shared/life/change.ts";
import { untilAnswered } from "@rs-agent/shared/store/until-answered.ts";
import type { HeldMail } from "./held-mail.ts";

export interface HeldMailsDeps {
  mails: Pick<MailStore, "write" | "renew">;
  readBody: (ref: BodyRef) => Promise<Buffer>;
  /** Called with the raw mail before it counts as loaded: nothing is sent until this has settled. */
  onRead: (held: HeldMail, raw: Buffer) => Promise<void>;
  clock: Pick<Clock, "monotonicMs">;
  log: Logger;
  leaseMs: number;
  maxMails: number;
  maxBytes: number;
  cancelTask: (taskId: string) => void;
  /** Aborts when the dispatcher stops now. */
  closing: AbortSignal;
  /** What was known of the mail is written, and the lease given up by it. */
  onFinished: (held: HeldMail) => void;
  /** A mail has left: there is room again, and nothing of it may stay on disk. */
  onLeft: (held: HeldMail) => void;
}

/**
 * The mails that this dispatcher holds by lease, and the only place that writes them.
 * 1. What is here is bounded by number and by bytes (I7).
 * 2. Every write is guarded by the lease token; a stale one ends our part in the mail (I3).
 * 3. A lease that could not be renewed in time is treated as lost.
 * 4. While the database is away, what is known is kept and written when it is back, as long as the
 *    lease lasts.
 */
export class HeldMails {
  readonly #deps: HeldMailsDeps;
  readonly #held = new Map<string, HeldMail>();
  readonly #byTask = new Map<string, HeldMail>();
  #bytes = 0;
  #isAway = false;

  constructor(deps: HeldMailsDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#held.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  room(): number {
    return Math.max(0, this.#deps.maxMails - this.#held.size);
  }

  has(mailId: string): boolean {
    return this.#held.has(mailId);
  }

  /** False if this mail is held here already under another token: the older hold ends. */
  add(held: HeldMail): void {
    const before = this.#held.get(held.mail._id);
    if (before !== undefined) this.#leave(before);
    this.#held.set(held.mail._id, held);
  }

  /** To be asked before others are made to work on it: false once the lease is over, whatever timers did. */
  isOurs(held: HeldMail): boolean {
    if (!held.over && held.validUntilMs <= this.#deps.clock.monotonicMs()) this.#lost(held);
    return !held.over;
  }

  /** Reads the raw mail; false if there is no room for it now. A mail alone always fits. */
  load(held: HeldMail): Promise<boolean> {
    if (held.raw !== undefined) return Promise.resolve(true);
    const { size } = held.mail.body;
    if (this.#bytes > 0 && this.#bytes + size > this.#deps.maxBytes) return Promise.resolve(false);
    held.loading ??= this.#read(held, size);
    return held.loading;
  }

  async #read(held: HeldMail, size: number): Promise<boolean> {
    this.#bytes += size;
    held.loadedBytes = size;
    const raw = await this.untilAnswered(held, () => this.#deps.readBody(held.mail.body));
    await this.#deps.onRead(held, raw);
    if (!held.over) held.raw = raw;
    return !held.over;
  }

  taskSent(held: HeldMail, taskId: string, kind: TaskKind): void {
    held.asked.delete(kind);
    held.tasks.set(taskId, kind);
    held.attempts.set(kind, (held.attempts.get(kind) ?? 0) + 1);
    this.#byTask.set(taskId, held);
  }

  /** The mail of a task that is at a worker. */
  ofTask(taskId: string): HeldMail | undefined {
    return this.#byTask.get(taskId);
  }

  /** The same, once its result or loss has come. */
  takeTask(taskId: string): HeldMail | undefined {
    const held = this.#byTask.get(taskId);
    this.#byTask.delete(taskId);
    held?.tasks.delete(taskId);
    return held?.over === true ? undefined : held;
  }

  /**
   * Writes what is pending; one write of a mail follows the other, so that a release never overtakes
   * a verdict. False: the lease is lost, and the mail with it. If the write throws, what was
   * pending stays pending.
   */
  write(held: HeldMail): Promise<boolean> {
    const written = held.writing.then(
      () => this.#write(held),
      () => this.#write(held),
    );
    held.writing = written;
    return written;
  }

  async #write(held: HeldMail): Promise<boolean> {
    const change = held.pending;
    held.pending = undefined;
    if (change === undefined) return !held.over;
    try {
      const written = await this.untilAnswered(held, () =>
        this.#deps.mails.write(held.holding, change),
      );
      if (written === "written") return true;
    } catch (error) {
      held.pending = after(change, held);
      throw error;
    }
    this.#deps.log.warn({ mailId: held.mail._id }, "lease lost, the write was dropped");
    this.#leave(held);
    return false;
  }

  /** Writes what is pending, which gives up the lease, and lets go of the mail. False: it was lost before. */
  async finish(held: HeldMail): Promise<boolean> {
    if (held.over) return false;
    held.finishing();
    try {
      const isWritten = await this.write(held);
      if (isWritten) this.#deps.onFinished(held);
      return isWritten;
    } finally {
      this.#leave(held);
    }
  }

  /** Lets go without a word to the database: the lease ends by itself. */
  abandon(held: HeldMail): void {
    this.#leave(held);
  }

  all(): HeldMail[] {
    return [...this.#held.values()];
  }

  /**
   * Does something with the database for a mail, again and again while it is away and the lease lasts.
   * What is done has to be idempotent.
   * @throws what it throws otherwise, or last
   */
  async untilAnswered<T>(held: HeldMail, act: () => Promise<T>): Promise<T> {
    const { closing: signal } = this.#deps;
    const answer = await untilAnswered(act, {
      signal,
      onAway: (error) => this.#heard(false, error),
      isOver: () => signal.aborted || !this.#isHeldStill(held),
    });
    this.#heard(true);
    return answer;
  }

  /** Unlike `isOurs` even if its last write is under way. */
  #isHeldStill(held: HeldMail): boolean {
    const isHere = this.#held.get(held.mail._id) === held;
    return isHere && held.validUntilMs > this.#deps.clock.monotonicMs();
  }

  #heard(isThere: boolean, error?: Error): void {
    if (this.#isAway !== isThere) return;
    this.#isAway = !isThere;
    if (isThere) this.#deps.log.info("the database is back");
    else this.#deps.log.warn({ reason: error?.message }, "the database is away, mail waits");
  }

  /**
   * Renews every lease; called by a timer several times in a lease's time. While the database is away
   * it is asked again soon: the sooner it is back, the fewer leases are lost.
   */
  async renew(): Promise<void> {
    const { closing: signal } = this.#deps;
    try {
      await untilAnswered(() => this.#renewOnce(), {
        signal,
        onAway: (error) => this.#heard(false, error),
        isOver: () => signal.aborted,
      });
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error;
    }
  }

  async #renewOnce(): Promise<void> {
    const live = this.all().filter((each) => this.isOurs(each));
    if (live.length === 0) return;
    const { validUntilMs, stale } = await this.#deps.mails.renew(
      live.map(({ holding }) => holding),
      this.#deps.leaseMs,
    );
    this.#heard(true);
    const gone = new Set(stale);
    for (const each of live) {
      if (gone.has(each.mail._id) && !each.over) this.#lost(each);
      else each.validUntilMs = validUntilMs;
    }
  }

  #lost(held: HeldMail): void {
    this.#deps.log.warn({ mailId: held.mail._id }, "lease lost, the mail is left to others");
    this.#leave(held);
  }

  #leave(held: HeldMail): void {
    held.leave();
    for (const taskId of held.tasks.keys()) {
      this.#byTask.delete(taskId);
      this.#deps.cancelTask(taskId);
    }
    held.tasks.clear();
    if (this.#held.get(held.mail._id) !== held) return;
    this.#held.delete(held.mail._id);
    this.#bytes -= held.loadedBytes;
    held.raw = undefined;
    this.#deps.onLeft(held);
  }
}

/** What was to be written, with what was noted while the write was under way. */
function after(change: MailChange, held: HeldMail): MailChange {
  return held.pending === undefined ? change : merged(change, held.pending);
}
