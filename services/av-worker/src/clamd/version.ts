import type { Engine } from "@rs-agent/shared/checks/finding.ts";

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * Reads the answer to VERSION: `ClamAV 1.4.3/27712/Sun Jul 27 08:35:46 2025`, or just `ClamAV
 * 1.4.3` if `daily` is not loaded. The date is clamd's local time without a zone. We take it for
 * our own, which is right if both are on one host or in UTC. `undefined` for anything else.
 */
export function parseVersion(reply: string): Engine | undefined {
  const match = /^ClamAV ([^\s/]{1,64})(?:\/(\d{1,12})\/([A-Za-z0-9: ]{1,40}))?$/.exec(reply);
  const version = match?.[1];
  if (match === null || version === undefined) return undefined;
  const signatureAt = parseAsctime(match[3] ?? "");
  return {
    name: "clamd",
    version,
    ...(match[2] === undefined ? {} : { signatureVersion: match[2] }),
    ...(signatureAt === undefined ? {} : { signatureAt }),
  };
}

/** `Sun Jul 27 08:35:46 2025`, the form of asctime(3). */
function parseAsctime(text: string): Date | undefined {
  const match = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})$/.exec(
    text,
  );
  const month = months.indexOf(match?.[1] ?? "");
  if (match === null || month < 0) return undefined;
  const [day, hour, minute, second, year] = match.slice(2).map(Number);
  if (day === undefined || year === undefined) return undefined;
  return new Date(year, month, day, hour, minute, second);
}
