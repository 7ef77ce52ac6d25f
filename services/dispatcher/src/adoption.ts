import type { Database } from "@rs-agent/shared/store/database.ts";
import type { SourceConfig } from "@rs-agent/shared/store/source-config.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { createClaimer, type Claimer } from "./claimers.ts";
import type { DispatcherConfig } from "./config.ts";
import type { Desk } from "./desk.ts";
import type { Intake } from "./intake.ts";
import type { Sources } from "./sources.ts";
import type { TaskKinds } from "./task-kinds.ts";

export interface AdoptionDeps {
  config: Pick<DispatcherConfig, "CHANGE_STREAM" | "CLAIM_BATCH" | "ACTOR_ID" | "LEASE_MS">;
  database: Pick<Database, "sources" | "mails">;
  intake: Pick<Intake, "among" | "roomToAdopt">;
  desk: Pick<Desk, "take">;
  sources: Sources;
  kinds: Pick<TaskKinds, "lanes">;
  log: Logger;
  signal: AbortSignal;
}

/** Takes on mail that others put into MongoDB, by the stream's hint and by the timer (I6). */
export interface Adoption {
  /** The timer: every source is looked at. */
  tick(): void;
  /** Workers may take more than before. */
  onCredit(): void;
  /** Settles when the last round and the streams have ended, after the signal aborted. */
  stop(): Promise<void>;
}

/** Where more mail of ours waits for longer than this, that has the workers first. */
const behind = { lateMs: 2_000, mails: 20 };

export function startAdoption(deps: AdoptionDeps): Adoption {
  const { config, database, sources, signal } = deps;
  const adopters = sources.all.map((source) => adopter(source, deps));
  const streams = config.CHANGE_STREAM
    ? sources.all.map((source, at) =>
        database.sources.watch(source, () => adopters[at]?.claimer.poke(), signal),
      )
    : [];
  return {
    tick() {
      for (const { claimer } of adopters) claimer.poke();
    },
    onCredit() {
      for (const { claimer, hasMore } of adopters) if (hasMore()) claimer.poke();
    },
    async stop() {
      await Promise.all([...streams, ...adopters.map(({ claimer }) => claimer.stop())]);
    },
  };
}

interface Adopter {
  claimer: Claimer;
  /** Its source had more records than there was room for. */
  hasMore: () => boolean;
}

function adopter(source: SourceConfig, deps: AdoptionDeps): Adopter {
  const { config, database, intake, desk, sources, kinds, log, signal } = deps;
  const by = { owner: config.ACTOR_ID, leaseMs: config.LEASE_MS };
  const state = { hasMore: false };
  const noteMore = (hasMore: boolean) => (state.hasMore = hasMore);
  const take = async (limit: number) => {
    if (await database.mails.isBehind({ ...behind, next: ["plan", ...kinds.lanes] })) return 0;
    const { stubs, dead, more } = await database.sources.take(source, { ...by, limit });
    noteMore(more);
    await desk.take(stubs);
    return stubs.length + dead;
  };
  const claimer = createClaimer({
    room: () => {
      const isClosed = signal.aborted || "closed" in sources.open(source.name);
      return isClosed ? 0 : intake.roomToAdopt(source.name, state.hasMore);
    },
    batch: config.CLAIM_BATCH,
    log,
    claim: async ({ limit }) => {
      noteMore(false);
      await intake.among(() => take(limit));
      return state.hasMore ? limit : 0;
    },
  });
  return { claimer, hasMore: () => state.hasMore };
}
