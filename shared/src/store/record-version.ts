import type { Document } from "mongodb";
import type { Clock } from "../clock.ts";
import { newerText, recordVersion, type RecordVersion } from "../mail/record.ts";
import type { ActorStore } from "./actors.ts";
import type { Logger } from "../logger.ts";

/*
 * A rolling upgrade: services of two releases work on one database. Records of a newer version than
 * ours are left to those who know them. These fields mean the same in every version, so that claims,
 * sweeps and counts of older services stay right: `_id`, `v`, `state`, `next`, `dueAt`, `lease`,
 * `claims`, `unended`, `alone`, `expireAt`, `parentId`, `body.id`, `enriched.body.id`.
 */

/** The version of the first release, whose services do not say which they read. */
const firstVersion = 1;

/** Part of a filter: records that this release knows. What is not a number fits, and is a dead letter. */
export const notNewer = { v: { $not: { $gt: recordVersion } } };

/** The newest version that may be written: every service that runs reads it. */
export function agreedVersion(
  reports: readonly { records?: number | undefined }[],
  newest: number = recordVersion,
): number {
  const read = reports.map(({ records }) => records ?? firstVersion);
  return Math.min(newest, ...read);
}

/** In which form new records are written; those that are there keep theirs. */
export interface Agreement {
  /** By what was known last. Older than half a minute, it is asked for again beside this. */
  version(): RecordVersion;
  /** @throws RetryableError while the database is away */
  refresh(): Promise<void>;
}

const agreedForMs = 30_000;

export function createAgreement(actors: Pick<ActorStore, "all">, clock: Clock): Agreement {
  let version: RecordVersion = firstVersion;
  let askedAtMs = -Infinity;
  const refresh = async () => {
    askedAtMs = clock.monotonicMs();
    version = agreedVersion(await actors.all()) < recordVersion ? firstVersion : recordVersion;
  };
  return {
    refresh,
    version() {
      if (clock.monotonicMs() - askedAtMs > agreedForMs) refresh().catch(() => undefined);
      return version;
    },
  };
}

const rememberMs = 60_000;
const maxRemembered = 10_000;

/** Due records of a newer version that a service has met and left alone. */
export class NewerRecords {
  readonly #metAtMs = new Map<string, number>();
  readonly #log: Logger;
  readonly #nowMs: () => number;
  #warnedAtMs = -Infinity;

  constructor(log: Logger, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  /** How many were met within the last minute; no more than 10,000 are told apart. */
  get count(): number {
    const since = this.#nowMs() - rememberMs;
    for (const [id, metAtMs] of this.#metAtMs) {
      if (metAtMs > since) break;
      this.#metAtMs.delete(id);
    }
    return this.#metAtMs.size;
  }

  meet(document: Document): void {
    const id = String(document["_id"]);
    const nowMs = this.#nowMs();
    // The newest are last.
    this.#metAtMs.delete(id);
    if (this.count < maxRemembered) this.#metAtMs.set(id, nowMs);
    if (nowMs - this.#warnedAtMs < rememberMs) return;
    this.#warnedAtMs = nowMs;
    const what = "mail is left to services of a newer release";
    this.#log.warn({ mailId: id, records: this.#metAtMs.size, reason: newerText(document) }, what);
  }
}
