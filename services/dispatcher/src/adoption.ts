import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { parseSources, type SourceConfig } from "@rs-agent/shared/store/source-config.ts";
import { createClaimer, type Claimer } from "./claimers.ts";
import type { DispatcherConfig } from "./config.ts";

export interface AdoptionDeps {
  config: Pick<
    DispatcherConfig,
    "SOURCES" | "CHANGE_STREAM" | "MAIL_HOSTNAME" | "MAX_MAIL_BYTES" | "CLAIM_BATCH"
  >;
  database: Pick<Database, "sources">;
  log: Logger;
  signal: AbortSignal;
}

/** Adopts mail that others put into MongoDB, by the stream's hint and by the timer (I6). */
export interface Adoption {
  /** The timer: every source is looked at. */
  tick(): void;
  /** Settles when the last pass and the streams have ended, after the signal aborted. */
  stop(): Promise<void>;
}

/** @throws TerminalError CFG_INVALID where SOURCES is wrong */
export function startAdoption({ config, database, log, signal }: AdoptionDeps): Adoption {
  const sources = config.SOURCES === undefined ? [] : parseSources(config.SOURCES);
  const adopters = sources.map((source) => adopter(source, config, database, log));
  const streams = config.CHANGE_STREAM
    ? sources.map((source, at) =>
        database.sources.watch(source, () => adopters[at]?.poke(), signal),
      )
    : [];
  return {
    tick() {
      for (const each of adopters) each.poke();
    },
    async stop() {
      await Promise.all([...streams, ...adopters.map((each) => each.stop())]);
    },
  };
}

function adopter(
  source: SourceConfig,
  config: AdoptionDeps["config"],
  database: AdoptionDeps["database"],
  log: Logger,
): Claimer {
  return createClaimer({
    room: () => config.CLAIM_BATCH,
    batch: config.CLAIM_BATCH,
    log,
    claim: async (limit) => {
      const pass = await database.sources.adopt(source, {
        limit,
        hostname: config.MAIL_HOSTNAME,
        maxMailBytes: config.MAX_MAIL_BYTES,
      });
      if (pass.adopted + pass.dead > 0) {
        log.info({ source: source.name, adopted: pass.adopted, dead: pass.dead }, "mail adopted");
      }
      return pass.more ? limit : 0;
    },
  });
}
