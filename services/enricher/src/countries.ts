import { unwatchFile, watchFile, type Stats } from "node:fs";
import ipaddr from "ipaddr.js";
import { open, type Reader, type Response } from "maxmind";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";

/** The country of an address, from a GeoIP database in MaxMind's file format. */
export interface Countries {
  /** An ISO 3166 code, `XX` if it is not known, `**` for an address of a private network. */
  of(address: string): string;
  /** Stops watching the file. */
  close(): void;
}

const unknownCountry = "XX";
const privateNetwork = "**";
/** Ranges of ipaddr.js in which a country means something; documentation networks have none. */
const locatedRanges = new Set(["unicast", "6to4", "teredo", "rfc6052", "rfc6145"]);
const privateRanges = new Set([
  "private",
  "loopback",
  "linkLocal",
  "uniqueLocal",
  "carrierGradeNat",
  "unspecified",
]);

/**
 * Opens the database and watches its file. A new file is used from then on; one that cannot be read
 * is logged and the old one stays in use.
 * @throws TerminalError ENRICH_GEOIP_UNREADABLE
 */
export async function openCountries(deps: {
  path: string;
  log: Logger;
  /** How often to look at the file's time and size. */
  pollMs?: number;
}): Promise<Countries> {
  const { path, log, pollMs = 5_000 } = deps;
  let reader = await openReader(path);
  const reload = async (): Promise<void> => {
    try {
      reader = await openReader(path);
      log.info({ path, built: reader.metadata.buildEpoch }, "GeoIP database reloaded");
    } catch (error) {
      log.error({ err: error, path }, "GeoIP database not reloaded: the old one stays in use");
    }
  };
  const onChange = (now: Stats, before: Stats): void => {
    const isThere = now.mtimeMs !== 0;
    if (isThere && (now.mtimeMs !== before.mtimeMs || now.size !== before.size)) void reload();
  };
  watchFile(path, { interval: pollMs, persistent: false }, onChange);
  return {
    of: (address) => countryOf(reader, address),
    close: () => {
      unwatchFile(path, onChange);
    },
  };
}

async function openReader(path: string): Promise<Reader<Response>> {
  try {
    return await open<Response>(path);
  } catch (error) {
    const text = `the GeoIP database ${path} cannot be read: ${messageOf(error)}`;
    throw new TerminalError("ENRICH_GEOIP_UNREADABLE", text, { cause: error });
  }
}

function countryOf(reader: Reader<Response>, address: string): string {
  if (!ipaddr.isValid(address)) return unknownCountry;
  // A database has no entry for ::ffff:192.0.2.1: `process` unwraps it to IPv4.
  const parsed = ipaddr.process(address);
  const range = parsed.range();
  if (privateRanges.has(range)) return privateNetwork;
  if (!locatedRanges.has(range)) return unknownCountry;
  return countryIn(reader.get(parsed.toString())) ?? unknownCountry;
}

/**
 * The code in a database's entry: `{ country_code }` as ip-location-db has it, or nested in
 * `country` or `registered_country` as MaxMind's own files have it.
 */
export function countryIn(entry: unknown): string | undefined {
  const { country_code: flat, country, registered_country: registered } = fieldsOf(entry);
  const code = flat ?? fieldsOf(country)["iso_code"] ?? fieldsOf(registered)["iso_code"];
  return typeof code === "string" && /^[A-Z]{2}$/.test(code) ? code : undefined;
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
