import type { Env } from "@rs-agent/kit/system/system.ts";

export const relayTimeoutMs = 3_000;

/**
 * Leases and time-outs so short that a run settles in tens of seconds instead of minutes: what is
 * tested is that they are kept, not how long they are. All are the services' own settings
 * (docs/settings.md).
 */
export const quickSettings: Env = {
  LEASE_MS: "5000",
  DRAIN_MS: "8000",
  CANARY_INTERVAL_MS: "2000",
  TASK_DEADLINE_MS: "15000",
  MAX_HELD_BYTES: "64000000",
  AV_TIMEOUT_MS: "8000",
  SPAM_TIMEOUT_MS: "10000",
  SPAM_CONNECT_TIMEOUT_MS: "2000",
  INGEST_GREET_DELAY_MS: "0",
  INGEST_REVERSE_LOOKUP: "off",
  INGEST_STORE_TIMEOUT_MS: "8000",
  INGEST_IDLE_TIMEOUT_MS: "20000",
  INGEST_DATA_TIMEOUT_MS: "20000",
  RELAY_LEASE_MS: "3000",
  // The name server is the kit itself, which has much else to do.
  DNS_TIMEOUT_MS: "10000",
  SENDER_CHECK_MS: "60000",
  RELAY_PROBE_MS: "2000",
  RELAY_HELD_BYTES: "64000000",
  RELAY_CONCURRENCY: "10",
  RELAY_TIMEOUT_CONNECT_MS: String(relayTimeoutMs),
  RELAY_TIMEOUT_GREETING_MS: String(relayTimeoutMs),
  RELAY_TIMEOUT_MAIL_MS: String(relayTimeoutMs),
  RELAY_TIMEOUT_RCPT_MS: String(relayTimeoutMs),
  RELAY_TIMEOUT_DATA_MS: String(relayTimeoutMs),
  RELAY_TIMEOUT_BLOCK_MS: String(relayTimeoutMs),
  RELAY_TIMEOUT_FINAL_MS: String(relayTimeoutMs),
};
