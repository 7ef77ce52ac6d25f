import { hostname } from "node:os";
import { isIP } from "node:net";
import { mongoDbFileSettings } from "@rs-agent/shared/mongodb-files.ts";
import { z } from "zod";
import { databaseName, flag, integer, list, logLevel } from "@rs-agent/shared/config.ts";
import { healthHttp } from "@rs-agent/shared/health/listen-address.ts";
import { addressLogModes } from "@rs-agent/shared/mail/logged-address.ts";
import { tenantIdSchema } from "@rs-agent/shared/policy/document.ts";
import { networkSchema } from "@rs-agent/shared/policy/networks.ts";

/** `submission`: SMTP for outgoing mail. */
export type ListenerKind = "smtp" | "lmtp" | "submission";

/** One listener: where, which protocol, and whether its mail counts as outgoing. */
export interface ListenerSettings {
  /** For logs and records: `smtp`, `lmtp` or `submission` and the address as configured. */
  name: string;
  kind: ListenerKind;
  protocol: "smtp" | "lmtp";
  outgoing: boolean;
  /** Whose mail all of it is; absent: the client's network says so. */
  tenantId?: string;
  /** Its clients are our own systems: they are greeted immediately. */
  trusted: boolean;
  host: string;
  port: number;
}

const addressForm = /^(?:([^\s@]*)@)?(?:\[([0-9a-f:.]+)\]|([^\s:@]+)):(\d{1,5})$/i;

/** `host:port` entries; IPv6 addresses in brackets. Those for submission may name their tenant. */
function listeners(kind: ListenerKind) {
  const form = kind === "submission" ? "host:port or tenant@host:port" : "host:port";
  return list().transform((entries, context) =>
    entries.flatMap((entry) => {
      const [, tenantId, v6, host, port = ""] = addressForm.exec(entry) ?? [];
      const isTenant =
        tenantId === undefined ||
        (kind === "submission" && tenantIdSchema.safeParse(tenantId).success);
      if (port === "" || Number(port) > 65_535 || !isTenant) {
        context.addIssue({ code: "custom", message: `${entry} is not ${form}` });
        return [];
      }
      return [listenerOf(kind, v6 ?? host ?? "", Number(port), tenantId)];
    }),
  );
}

function listenerOf(
  kind: ListenerKind,
  host: string,
  port: number,
  tenantId: string | undefined,
): ListenerSettings {
  return {
    name: `${kind}:${tenantId === undefined ? "" : `${tenantId}@`}${host}:${port}`,
    kind,
    protocol: kind === "lmtp" ? "lmtp" : "smtp",
    outgoing: kind === "submission",
    ...(tenantId !== undefined && { tenantId }),
    trusted: kind !== "smtp",
    host,
    port,
  };
}

const addresses = list().refine((entries) => entries.every((entry) => isIP(entry) !== 0), {
  error: "must be IP addresses",
});

/** The settings of ingest, by their environment names (docs/ingest.md explains each). */
export const ingestConfigSchema = z
  .object({
    MONGODB_URI: z.string(),
    ...mongoDbFileSettings,
    MONGODB_DB: databaseName(),
    LOG_LEVEL: logLevel(),
    LOG_ADDRESSES: z.enum(addressLogModes).default("plain"),
    DRAIN_MS: integer(0, 3_600_000).default(30_000),
    /** Where health and metrics are served; unset: nowhere. */
    HEALTH_HTTP: healthHttp(),
    ACTOR_ID: z.string().min(1).max(128).optional(),
    /** What dispatcher and relay call this installation; the default of INGEST_HOSTNAME. */
    MAIL_HOSTNAME: z.string().max(255).default(hostname()),
    INGEST_HOSTNAME: z.string().max(255).optional(),
    INGEST_SMTP: listeners("smtp").prefault("127.0.0.1:2525"),
    INGEST_LMTP: listeners("lmtp").prefault(""),
    INGEST_SUBMISSION: listeners("submission").prefault(""),
    INGEST_SUBMISSION_CLIENTS: list().pipe(z.array(networkSchema)).prefault("127.0.0.0/8,::1"),
    INGEST_TLS_CERT: z.string().optional(),
    INGEST_TLS_KEY: z.string().optional(),
    INGEST_XFORWARD_PEERS: addresses.prefault(""),
    INGEST_REVERSE_LOOKUP: flag().prefault("on"),
    INGEST_MAX_RECIPIENTS: integer(1, 10_000).default(1_000),
    MAX_MAIL_BYTES: integer(1_024, 500_000_000).default(50 * 1024 * 1024),
    INGEST_NUL: z.enum(["refuse", "remove"]).default("refuse"),
    INGEST_MAX_CONNECTIONS: integer(1, 100_000).default(1_000),
    INGEST_MAX_BYTES_IN_FLIGHT: integer(65_536, 64_000_000_000).default(512 * 1024 * 1024),
    INGEST_IDLE_TIMEOUT_MS: integer(100, 3_600_000).default(300_000),
    INGEST_DATA_TIMEOUT_MS: integer(100, 3_600_000).default(600_000),
    INGEST_STORE_TIMEOUT_MS: integer(10, 600_000).default(30_000),
    INGEST_GREET_DELAY_MS: integer(0, 60_000).default(100),
    INGEST_MAX_WAITING: integer(1, 10_000_000).default(50_000),
    INGEST_MAX_WAITING_AGE_MS: integer(100, 7 * 86_400_000).default(900_000),
    INGEST_WAITING_REFRESH_MS: integer(10, 600_000).default(1_000),
    INGEST_POLICY_REFRESH_MS: integer(10, 3_600_000).default(2_000),
  })
  .superRefine((env, context) => {
    if ((env.INGEST_TLS_CERT === undefined) !== (env.INGEST_TLS_KEY === undefined)) {
      context.addIssue({
        code: "custom",
        message: "INGEST_TLS_CERT and INGEST_TLS_KEY belong together",
      });
    }
    if (env.INGEST_MAX_BYTES_IN_FLIGHT < env.MAX_MAIL_BYTES * 2) {
      context.addIssue({
        code: "custom",
        message: "INGEST_MAX_BYTES_IN_FLIGHT must hold two mails of MAX_MAIL_BYTES",
      });
    }
  })
  .transform((env) => ({
    ...env,
    INGEST_HOSTNAME: env.INGEST_HOSTNAME ?? env.MAIL_HOSTNAME,
    ACTOR_ID: env.ACTOR_ID ?? `ingest-${hostname()}-${process.pid}`,
  }));

export type IngestConfig = z.output<typeof ingestConfigSchema>;
