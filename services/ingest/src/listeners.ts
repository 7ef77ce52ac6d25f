import type { Logger } from "@rs-agent/shared/logger.ts";
import { readCertificate, type Certificate } from "./certificate.ts";
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
  return cert === undefined || key === undefined ? undefined : readCertificate(cert, key);
}
