import type { UncheckedReason } from "@rs-agent/shared/checks/finding.ts";
import type { EngineFailure } from "@rs-agent/shared/engines/engine-client.ts";

/** The status codes of a reply: those of sysexits.h, and spamd's own 79. */
const names: Readonly<Record<number, string>> = {
  64: "EX_USAGE",
  65: "EX_DATAERR",
  66: "EX_NOINPUT",
  67: "EX_NOUSER",
  68: "EX_NOHOST",
  69: "EX_UNAVAILABLE",
  70: "EX_SOFTWARE",
  71: "EX_OSERR",
  72: "EX_OSFILE",
  73: "EX_CANTCREAT",
  74: "EX_IOERR",
  75: "EX_TEMPFAIL",
  76: "EX_PROTOCOL",
  77: "EX_NOPERM",
  78: "EX_CONFIG",
  79: "EX_TIMEOUT",
};

/** The codes by which spamd says more than that it could not. */
const reasons: Readonly<Record<number, UncheckedReason>> = {
  65: "malformed",
  69: "engine-away",
  71: "busy",
  75: "busy",
  79: "time-out",
};

/** What a status code other than 0 (EX_OK) means for the mail. */
export function failureOf(code: number, message: string): EngineFailure {
  const name = names[code] ?? `code ${code}`;
  return {
    kind: "failed",
    reason: reasons[code] ?? "engine-error",
    detail: `spamd said ${name}: ${message.slice(0, 300)}`,
  };
}
