import type { AdoptionPass } from "@rs-agent/shared/store/adoption-pass.ts";
import type { AlsoAlone } from "@rs-agent/shared/store/alone-lane.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { parseSources, type SourceConfig } from "@rs-agent/shared/store/source-config.ts";
import { createClaimer, type Claimer } from "./claimers.ts";
import type { DispatcherConfig } from "./config.ts";
import type { Intake } from "./intake.ts";

export interface AdoptionDeps {
  config: Pick<
    DispatcherConfig,
    | "SOURCES"
    | "CHANGE_STREAM"
    | "MAIL_HOSTNAME"
    | "MAX_MAIL_BYTES"
    | "CLAIM_BATCH"
    | "ACTOR_ID"
    | "LEASE_MS"
  >;
  database: Pick<Database, "sources">;
  intake: Pick<Intake, "among" | "isOpen">;
  /** The current policies: they say which recipients are ours. */
  book: () => PolicyBook;
  log: Logger;
  signal: AbortSignal;
}

/** Adopts mail that others put into MongoDB, by the stream's hint and by the timer (I6). */
export interface Adoption extends AlsoAlone {
  /** The timer: every source is looked at. */
  tick(): void;
  /** Settles when the last pass and the streams have ended, after the signal aborted. */
  stop(): Promise<void>;
}

/** @throws TerminalError CFG_INVALID if SOURCES is wrong */
export function startAdoption(deps: AdoptionDeps): Adoption {
  const { config, database, log, signal } = deps;
  const sources = config.SOURCES === undefined ? [] : parseSources(config.SOURCES);
  const adopters = sources.map((source) => adopter(source, deps));
  const streams = config.CHANGE_STREAM
    ? sources.map((source, at) =>
        database.sources.watch(source, () => adopters[at]?.poke(), signal),
      )
    : [];
  return {
    tick() {
      for (const each of adopters) each.poke();
    },
    async waits() {
      for (const source of sources) if (await database.sources.suspectWaits(source)) return true;
      return false;
    },
    async takeAlone(goOn, stopped) {
      for (const source of sources) {
        if (lacksTenant(source, deps)) continue;
        const options = { ...optionsFor(deps), goOn };
        // One source that cannot be read must not keep mail from being claimed.
        await database.sources.adoptAlone(source, options, stopped).then(
          (pass) => report(log, source, pass),
          (error: unknown) => log.warn({ err: error, source: source.name }, "no suspect adopted"),
        );
      }
    },
    async stop() {
      await Promise.all([...streams, ...adopters.map((each) => each.stop())]);
    },
  };
}

function optionsFor({ config, book }: AdoptionDeps) {
  return {
    book,
    hostname: config.MAIL_HOSTNAME,
    maxMailBytes: config.MAX_MAIL_BYTES,
    owner: config.ACTOR_ID,
    leaseMs: config.LEASE_MS / 4,
  };
}

function adopter(source: SourceConfig, deps: AdoptionDeps): Claimer {
  const { config, database, intake, log, signal } = deps;
  return createClaimer({
    room: () =>
      intake.isOpen && !signal.aborted && !lacksTenant(source, deps) ? config.CLAIM_BATCH : 0,
    batch: config.CLAIM_BATCH,
    log,
    claim: async (limit) => {
      let pass: AdoptionPass = { adopted: 0, dead: 0, more: false };
      await intake.among(async () => {
        const goOn = () => intake.isOpen && !signal.aborted;
        pass = await database.sources.adopt(source, { ...optionsFor(deps), limit, goOn });
        report(log, source, pass);
        return pass.adopted + pass.dead;
      });
      return pass.more ? limit : 0;
    },
  });
}

const told = new WeakSet<SourceConfig>();

/** Its mail would leave by default rules and unsigned: it waits in the source until a policy has the tenant. */
function lacksTenant(source: SourceConfig, { book, log }: AdoptionDeps): boolean {
  const { name, tenant } = source;
  if (tenant === undefined || book().hasTenant(tenant)) {
    told.delete(source);
    return false;
  }
  if (!told.has(source))
    log.error({ source: name, tenant }, "no policy has the tenant of a source");
  told.add(source);
  return true;
}

function report(log: Logger, { name }: SourceConfig, { adopted, dead }: AdoptionPass): void {
  if (adopted + dead > 0) log.info({ source: name, adopted, dead }, "mail adopted");
}
