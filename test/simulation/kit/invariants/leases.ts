import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Holding } from "@rs-agent/shared/store/holding.ts";
import type { Entry } from "../database/replica-set.ts";
import type { VirtualProcess } from "../virtual-time.ts";
import type { World } from "../world.ts";
import { clockErrorMs } from "./records.ts";

/** Somebody's belief that a mail is its own. */
export interface Belief {
  holder: VirtualProcess;
  token: string;
  /** The true time at which its own clock says that the lease is over. */
  untilMs: number;
}

/**
 * I3: a mail has one holder at a time, in the database and in everybody's belief, and only the
 * holder writes.
 */
export class Leases {
  readonly #world: World;
  readonly #beliefs = new Map<string, Belief[]>();
  readonly #claimedMs = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  /** The beliefs about this mail that hold now. */
  live(mailId: string): Belief[] {
    const { nowMs } = this.#world.time;
    return (this.#beliefs.get(mailId) ?? []).filter(
      ({ holder, untilMs }) => holder.alive && untilMs > nowMs,
    );
  }

  /** When the database gave this mail to its holder in this state of the record. */
  claimedMs({ _id: mailId, lease }: MailRecord): number {
    return this.#claimedMs.get(`${mailId} ${lease?.token ?? ""}`) ?? 0;
  }

  /** A stub comes with the lease of the service that makes it. */
  onInserted({ _id: mailId, lease }: MailRecord): void {
    if (lease !== undefined)
      this.#claimedMs.set(`${mailId} ${lease.token}`, this.#world.time.nowMs);
  }

  /** A claim is answered. */
  onClaimed(
    holder: VirtualProcess,
    { mailId, token }: Pick<Holding, "mailId" | "token">,
    validUntilMs: number,
  ): void {
    const untilMs = holder.trueMs(validUntilMs);
    const { nowMs } = this.#world.time;
    // The answer came so late that the holder knows that the lease is over.
    if (untilMs <= nowMs) return;
    const others = this.live(mailId).filter((belief) => belief.holder !== holder);
    for (const other of others) {
      if (other.untilMs < nowMs + clockErrorMs) continue;
      const text = `claimed by ${holder.name} while ${other.holder.name} holds it by its own clock`;
      this.#broken(mailId, text);
    }
    this.#beliefs.set(mailId, [...others, { holder, token, untilMs }]);
  }

  /** A renewal is answered: it says nothing about a lease that was taken after it was asked for. */
  onRenewed(
    holder: VirtualProcess,
    renewed: readonly { mailId: string; token: string }[],
    validUntilMs: number,
  ): void {
    for (const { mailId, token } of renewed) {
      for (const belief of this.live(mailId)) {
        if (belief.token === token) belief.untilMs = holder.trueMs(validUntilMs);
      }
    }
  }

  /** The holder gives it up with this write, whatever becomes of the write. */
  onReleasing({ mailId, token }: Holding): void {
    this.#beliefs.set(
      mailId,
      this.live(mailId).filter((belief) => belief.token !== token),
    );
  }

  /** What was reported to somebody stays: the majority had it. */
  onRolledBack({ id, fields }: Entry): void {
    const { token } = (fields.lease ?? {}) as { token?: string };
    const holder = this.live(id).find((belief) => belief.token === token)?.holder;
    if (holder !== undefined) this.#broken(id, `the lease that ${holder.name} holds is gone`);
  }

  onWrite({ id, by, fields }: Entry, before: MailRecord, after: MailRecord): void {
    if (by === undefined || isOwnNote(by, fields, before, after)) return;
    const { lease } = before;
    if (before.rev !== undefined && Number(after.rev) < before.rev + ("wrote" in fields ? 1 : 0))
      this.#broken(id, `${by.name} wrote revision ${after.rev} over ${before.rev}`);
    const leftMs = (lease?.until.getTime() ?? 0) - this.#world.set.now().getTime();
    if (by.sort === "person") {
      // Somebody who does several things with a mail leases it first, as a service does.
      if (leftMs > clockErrorMs && lease?.owner !== by.name) {
        this.#broken(id, `${by.name} wrote under a live lease of ${lease?.owner}`);
      }
    } else if ("lease" in fields) {
      const first = `${id} ${after.lease?.token ?? ""}`;
      if (!this.#claimedMs.has(first)) this.#claimedMs.set(first, this.#world.time.nowMs);
      if (leftMs > clockErrorMs) {
        this.#broken(id, `${by.name} took a lease with ${leftMs} ms left`);
      }
    } else if (lease?.owner !== by.name) {
      const owner = lease === undefined ? "nobody" : lease.owner;
      this.#broken(id, `${by.name} wrote ${after.state}, the lease is ${owner}'s`);
    }
  }

  #broken(mailId: string, text: string): void {
    this.#world.violate({ invariant: "I3", mailId, text });
  }
}

/**
 * A service that claimed a mail alone may take back its own note of that at any time, and nothing
 * else.
 */
function isOwnNote(
  by: VirtualProcess,
  fields: Entry["fields"],
  before: MailRecord,
  after: MailRecord,
): boolean {
  if (Object.keys(fields).some((field) => field !== "alone")) return false;
  const left = after.alone ?? [];
  const gone = (before.alone ?? []).filter((note) => !left.includes(note));
  return (
    left.every((note) => before.alone?.includes(note)) &&
    gone.every((note) => note.endsWith(` ${by.name}`))
  );
}
