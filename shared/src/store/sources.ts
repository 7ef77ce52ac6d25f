import { createAdoptionNotes, suspectsOf } from "./adoption-notes.ts";
import {
  adoptWaiting,
  type Adopter,
  type AdoptionOptions,
  type AdoptionPass,
  type SourceDeps,
} from "./adoption-pass.ts";
import { followChanges } from "./change-stream.ts";
import { collectionOf, reach } from "./connection.ts";
import type { SourceConfig } from "./source-config.ts";
import { recordsOf, sourceRecords } from "./source-records.ts";
import { adoptSuspects } from "./suspect-adoption.ts";

/** Mail that others put into MongoDB. */
export interface SourceStore {
  /**
   * Adopts up to `limit` records that are not yet adopted, but no suspects. Idempotent: the mail's id
   * derives from the source's name and the record's `_id`, and any number of adopters may run at once.
   * @throws RetryableError STORE_UNREACHABLE; a record that fits no form never throws
   */
  adopt(source: SourceConfig, options: AdoptionOptions): Promise<AdoptionPass>;
  /** Some record is a suspect: too many adopters in a row were never heard of again with it. */
  suspectWaits(source: SourceConfig): Promise<boolean>;
  /**
   * Adopts suspects, one after the other. The caller starts nothing beside it. It settles when
   * no note of this one is left, or when `signal` aborts.
   */
  adoptAlone(
    source: SourceConfig,
    options: Omit<AdoptionOptions, "limit">,
    signal: AbortSignal,
  ): Promise<AdoptionPass>;
  /** Calls `onHint` when records come into the source, until `signal` aborts. Never throws (I6). */
  watch(source: SourceConfig, onHint: () => void, signal: AbortSignal): Promise<void>;
}

export function createSourceStore(deps: SourceDeps): SourceStore {
  const { client, db, clock, log } = deps;
  const mails = collectionOf(db, "mails");
  const notes = createAdoptionNotes(db, clock);
  const adopters = new Map<string, Adopter>();
  const adopterOf = (source: SourceConfig) => {
    const known = adopters.get(source.name);
    if (known?.source === source) return known;
    const adopter = { deps, source, records: sourceRecords(deps, source), notes, mails };
    adopters.set(source.name, adopter);
    return adopter;
  };
  return {
    adopt: (source, options) => reach(() => adoptWaiting(adopterOf(source), options)),
    suspectWaits: async (source) => suspectsOf(await notes.standing(source)).length > 0,
    adoptAlone: (source, options, signal) =>
      reach(() => adoptSuspects(adopterOf(source), options, signal)),
    watch: (source, onHint, signal) =>
      followChanges({
        signal,
        log,
        name: `source ${source.name}`,
        onChange: onHint,
        onLost: onHint,
        open: (at) =>
          recordsOf(client, source).watch(
            [{ $match: { operationType: "insert" } }, { $project: { operationType: 1 } }],
            at,
          ),
      }),
  };
}
