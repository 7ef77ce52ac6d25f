import { messageOf } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { readCertificate, watchFiles, type Certificate } from "@rs-agent/shared/pem-files.ts";
import type { IngestConfig, ListenerKind } from "./config.ts";
import type { Refusal } from "./reply.ts";
import { createReverseResolver } from "./reverse-lookup.ts";
import { createSessionHandlers, type SessionDeps } from "./session-handlers.ts";
import { openSmtpListener, type ConnectionLimit, type SmtpListener } from "./smtp-listener.ts";

/** `host:port` of every listener, the ports filled in. */
export type ListeningAddresses = Record<ListenerKind, string[]>;

/**
 * Opens all listeners, or none.
 * @throws TerminalError INGEST_LISTEN, CFG_INVALID (the certificate)
 */
export async function openListeners(
  config: IngestConfig,
  sessions: SessionDeps,
  log: Logger,
): Promise<SmtpListener[]> {
  const connections: ConnectionLimit = { open: new Set(), max: config.INGEST_MAX_CONNECTIONS };
  const smtp = {
    ...(await certificateOf(config)),
    name: config.INGEST_HOSTNAME,
    size: config.MAX_MAIL_BYTES,
    socketTimeout: config.INGEST_IDLE_TIMEOUT_MS,
    ...(config.INGEST_REVERSE_LOOKUP && { resolver: createReverseResolver() }),
  };
  const common = {
    smtp,
    connections,
    xforwardPeers: config.INGEST_XFORWARD_PEERS,
    greetDelayMs: config.INGEST_GREET_DELAY_MS,
    onDismissed: (refusal: Refusal) => sessions.counted.refused(refusal),
    log,
  };
  const open: SmtpListener[] = [];
  try {
    for (const settings of [
      ...config.INGEST_SMTP,
      ...config.INGEST_LMTP,
      ...config.INGEST_SUBMISSION,
    ]) {
      const handlers = createSessionHandlers(settings, sessions);
      open.push(await openSmtpListener({ ...common, settings, handlers }));
    }
  } catch (error) {
    await Promise.all(open.map((listener) => listener.close()));
    throw error;
  }
  return open;
}

export function listenersByKind(listeners: readonly SmtpListener[]): ListeningAddresses {
  const addressesOf = (kind: ListenerKind) =>
    listeners.filter(({ settings }) => settings.kind === kind).map(({ address }) => address);
  return {
    smtp: addressesOf("smtp"),
    lmtp: addressesOf("lmtp"),
    submission: addressesOf("submission"),
  };
}

async function certificateOf(config: IngestConfig): Promise<Certificate | undefined> {
  const { INGEST_TLS_CERT: cert, INGEST_TLS_KEY: key } = config;
  if (cert === undefined || key === undefined) return undefined;
  return readCertificate(
    { setting: "INGEST_TLS_CERT", path: cert },
    { setting: "INGEST_TLS_KEY", path: key },
  );
}

/**
 * Uses a renewed certificate for the sessions that begin after it; one that cannot be used is logged,
 * and the old one stays in use.
 */
export function watchCertificate(deps: {
  config: IngestConfig;
  listeners: readonly SmtpListener[];
  log: Logger;
  /** How often the files are looked at. */
  everyMs: number;
  signal: AbortSignal;
}): void {
  const { config, listeners, log, everyMs, signal } = deps;
  const { INGEST_TLS_CERT: cert, INGEST_TLS_KEY: key } = config;
  if (cert === undefined || key === undefined) return;
  const reload = async () => {
    try {
      const certificate = await certificateOf(config);
      if (certificate === undefined || signal.aborted) return;
      for (const listener of listeners) listener.useCertificate(certificate);
      log.info({ file: cert }, "certificate reloaded");
    } catch (error) {
      log.error(
        { file: cert, reason: messageOf(error) },
        "certificate not reloaded: the old one stays in use",
      );
    }
  };
  watchFiles([cert, key], everyMs, () => void reload(), signal);
}
