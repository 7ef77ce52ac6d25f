import { Budget } from "@rs-agent/shared/budget.ts";
import type { RelayReport } from "@rs-agent/shared/bus/actor-status.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { ServiceHandle } from "@rs-agent/shared/lifecycle.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { reportMs } from "@rs-agent/shared/store/actors.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { listenForWaiting } from "@rs-agent/shared/worker/waiting-listener.ts";
import { createDns, type AskDns } from "@rs-agent/shared/mail/authentication/dns.ts";
import { longestTimeoutMs, type RelayConfig } from "./config.ts";
import { createCounts, type RelayCounts } from "./counts.ts";
import { LeaseKeeper } from "./leases.ts";
import { showRelay } from "./relay-metrics.ts";
import { RouteBook } from "./route-book.ts";
import { openTrusted } from "./trusted.ts";

export interface RelayDeps {
  config: RelayConfig;
  /** Becomes the relay's: it closes it. */
  database: Database;
  clock: Clock;
  log: Logger;
  metrics?: Metrics;
  /** Default: the name servers of the settings. */
  askDns?: AskDns;
}

export interface Relay extends ServiceHandle {
  /** What it did since its start. */
  readonly counts: Readonly<RelayCounts>;
}

/** Stored mails that are read and verified beside each other: what they cost is not a mail's on its way. */
const readingsAtOnce = 2;

/**
 * Starts the relay: claims `ready` mail route by route and sends it by SMTP or LMTP.
 *
 * Guards: I1 (every claimed mail is written, given back, or left to its lease's end), I3 (writes only
 * under the lease), I6 (dispatchers only give hints, the timer does the same), I7 (claims by free slots,
 * bytes by a budget), I8 (unknown-outcome.ts, leases.ts), I10 (only the bytes that were verified).
 */
export async function startRelay(deps: RelayDeps): Promise<Relay> {
  const { config, database, clock, log } = deps;
  const { DNS_SERVERS: servers, DNS_TIMEOUT_MS: timeoutMs } = config;
  const askDns = deps.askDns ?? createDns({ servers, timeoutMs });
  const counts = createCounts();
  const draining = new AbortController();
  const closing = new AbortController();
  const { promise: done, resolve: ended, reject: onBug } = Promise.withResolvers<undefined>();
  const leases = new LeaseKeeper({
    mails: database.mails,
    clock,
    log,
    leaseMs: config.RELAY_LEASE_MS,
    onBug,
  });
  const routes = new RouteBook({
    mails: database.mails,
    controls: database.controls,
    clock,
    log,
    queue: {
      delivery: {
        database,
        log,
        by: config.ACTOR_ID,
        hostname: config.RELAY_HOSTNAME,
        logAddresses: config.LOG_ADDRESSES,
        longestTimeoutMs: longestTimeoutMs(config.timeouts),
        senders: {
          ask: askDns,
          withinMs: config.SENDER_CHECK_MS,
          hostname: config.RELAY_HOSTNAME,
        },
        readings: new Budget(readingsAtOnce),
        bytes: new Budget(config.RELAY_HELD_BYTES),
        counts,
        draining: draining.signal,
        closing: closing.signal,
      },
      leases,
      hop: {
        hostname: config.RELAY_HOSTNAME,
        timeouts: config.timeouts,
        trusted: await openTrusted(config.RELAY_TLS_CA_FILE, log),
        secretsDir: config.RELAY_SECRETS_DIR,
        clock,
        limit: config.RELAY_CONCURRENCY,
        idleMs: config.RELAY_IDLE_MS,
      },
      batch: config.RELAY_BATCH,
      leaseMs: config.RELAY_LEASE_MS,
      probeMs: config.RELAY_PROBE_MS,
      monotonicMs: () => clock.monotonicMs(),
      onBug,
    },
    pollMs: config.RELAY_POLL_MS,
    onBug,
  });
  const { BUS_DISPATCHERS: dispatchers } = config;
  const listener =
    dispatchers &&
    listenForWaiting({
      settings: config,
      dispatchers,
      actorId: config.ACTOR_ID,
      clock,
      log,
      onWaiting: (route, mailIds) => routes.onWaiting(route, mailIds),
      onOpen: () => routes.look(),
    });
  listener?.done.catch(onBug);
  if (deps.metrics !== undefined) {
    const newerRecords = () => database.mails.newerRecords;
    showRelay(deps.metrics, { counts, routes: () => routes.snapshots, newerRecords, listener });
  }
  const reporting = setInterval(() => {
    const sessions = listener?.sessions ?? 0;
    const seen = { routes: routes.snapshots, dispatchers: sessions } satisfies RelayReport;
    database.actors
      .report(config.ACTOR_ID, "relay", { counts, ...seen })
      .catch((error: unknown) => log.warn({ reason: messageOf(error) }, "status not reported"));
  }, reportMs);

  let ending: Promise<void> | undefined;
  const end = async () => {
    clearInterval(reporting);
    closing.abort();
    draining.abort();
    leases.close();
    routes.close();
    await routes.drained();
    await listener?.close();
    await database.actors.leave(config.ACTOR_ID).catch(() => undefined);
    await database.close();
    log.info({ counts }, "relay ended");
    ended(undefined);
  };
  const close = () => (ending ??= end());

  const ready = routes.start().then(() => log.info({ server: database.server }, "ready"));
  return {
    counts,
    ready,
    done,
    close,
    [Symbol.asyncDispose]: close,
    async drain(signal) {
      draining.abort();
      signal?.addEventListener("abort", () => void close(), { once: true });
      await Promise.all([listener?.close(), routes.drained()]);
      await close();
    },
  };
}
