import type { IngestReport } from "@rs-agent/shared/bus/actor-status.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { ServiceHandle } from "@rs-agent/shared/lifecycle.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { reportMs } from "@rs-agent/shared/store/actors.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { createClientNetworks } from "./client-networks.ts";
import type { IngestConfig } from "./config.ts";
import { createIngestMetrics } from "./ingest-metrics.ts";
import {
  listenersByKind,
  openListeners,
  watchCertificate,
  type ListeningAddresses,
} from "./listeners.ts";
import { createMemoryBudget } from "./memory-budget.ts";
import { watchOverload } from "./overload.ts";
import { watchPolicies } from "./policies.ts";
import { createReceiving, type Receiving } from "./receive-data.ts";
import type { SmtpListener } from "./smtp-listener.ts";
import { createStorePresence } from "./store-presence.ts";

export interface IngestDeps {
  config: IngestConfig;
  /** Closed by the handle's `drain` and `close`. */
  database: Database;
  log: Logger;
  metrics?: Metrics;
  /** How often the certificate's files are looked at. */
  certificatePollMs?: number;
}

export interface IngestHandle extends ServiceHandle {
  readonly addresses: ListeningAddresses;
}

/**
 * Starts ingest: SMTP and LMTP listeners that store what they accept before they say 250.
 * @throws RsError if a listener, the certificate or the policies cannot be had
 */
export async function startIngest(deps: IngestDeps): Promise<IngestHandle> {
  const { config, database, log, metrics = new Metrics(), certificatePollMs = 5_000 } = deps;
  const presence = createStorePresence(log);
  const budget = createMemoryBudget(config.INGEST_MAX_BYTES_IN_FLIGHT);
  const policies = await watchPolicies({
    store: database.policies,
    refreshMs: config.INGEST_POLICY_REFRESH_MS,
    onHeard: (isThere) => presence.heard(isThere),
    log,
  });
  const overload = watchOverload({
    database,
    maxWaiting: config.INGEST_MAX_WAITING,
    maxWaitingAgeMs: config.INGEST_MAX_WAITING_AGE_MS,
    refreshMs: config.INGEST_WAITING_REFRESH_MS,
    log,
  });
  const receiving = createReceiving({
    database,
    budget,
    hostname: config.INGEST_HOSTNAME,
    actorId: config.ACTOR_ID,
    maxMailBytes: config.MAX_MAIL_BYTES,
    nul: config.INGEST_NUL,
    dataTimeoutMs: config.INGEST_DATA_TIMEOUT_MS,
    storeTimeoutMs: config.INGEST_STORE_TIMEOUT_MS,
    onStoreAway: () => presence.heard(false),
    addresses: config.LOG_ADDRESSES,
    log,
  });
  const counted = createIngestMetrics(metrics, {
    bytesInFlight: () => budget.used,
    isOverloaded: () => overload.isOver,
  });
  const sessions = {
    policies,
    budget,
    counted,
    storeIsAway: () => presence.isAway,
    isOverloaded: () => overload.isOver,
    maxRecipients: config.INGEST_MAX_RECIPIENTS,
    submissionClients: createClientNetworks(config.INGEST_SUBMISSION_CLIENTS),
    receiveData: receiving.receiveData,
    addresses: config.LOG_ADDRESSES,
    log,
  };
  const listeners = await openListeners(config, sessions, log).catch((error: unknown) => {
    policies.close();
    overload.close();
    throw error;
  });
  const ended = new AbortController();
  watchCertificate({ config, listeners, log, everyMs: certificatePollMs, signal: ended.signal });
  const addresses = listenersByKind(listeners);
  log.info({ ...shown(addresses), database: database.server }, "ready");
  const timed = [policies, overload, { close: () => ended.abort() }];
  return createHandle({ config, database, log, timed, receiving, listeners, addresses }, () => ({
    addresses,
    bytesInFlight: budget.used,
    ...({ overload: overload.state } satisfies IngestReport),
  }));
}

interface Running extends IngestDeps {
  /** What asks database or files by a timer. */
  timed: { close(): void }[];
  receiving: Receiving;
  listeners: SmtpListener[];
  addresses: ListeningAddresses;
}

/** The lifecycle: listeners first, then what they handed to the database, then the database. */
function createHandle(running: Running, snapshot: () => object): IngestHandle {
  const { config, database, log, timed, receiving, listeners, addresses } = running;
  const done = Promise.withResolvers<void>();
  const reporting = setInterval(() => {
    database.actors
      .report(config.ACTOR_ID, "ingest", snapshot())
      .catch((error: unknown) => log.debug({ reason: messageOf(error) }, "status not reported"));
  }, reportMs);
  reporting.unref();

  let ending: Promise<void> | undefined;
  const end = async () => {
    clearInterval(reporting);
    for (const each of timed) each.close();
    await receiving.settled();
    await database.actors.leave(config.ACTOR_ID).catch(() => undefined);
    await database.close();
    done.resolve();
  };
  const close = async () => {
    await Promise.all(listeners.map((listener) => listener.close()));
    await (ending ??= end());
  };
  return {
    addresses,
    ready: Promise.resolve(),
    done: done.promise,
    close,
    [Symbol.asyncDispose]: close,
    drain: async (signal) => {
      signal?.addEventListener("abort", () => void close(), { once: true });
      await Promise.all(listeners.map((listener) => listener.drain()));
      await (ending ??= end());
    },
  };
}

/** For the log line by which a supervisor learns the ports: `smtp: "127.0.0.1:2525"`. */
function shown(addresses: ListeningAddresses): Record<string, string> {
  const lists = Object.entries<string[]>(addresses).filter(([, list]) => list.length > 0);
  return Object.fromEntries(lists.map(([kind, list]) => [kind, list.join(",")]));
}
