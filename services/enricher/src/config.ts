import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { integer, list } from "@rs-agent/shared/config.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";

/** Countries of IPv4 and IPv6 networks, public domain (CC0), shipped in an npm package. */
const bundledGeoip = "@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb";

/** Settings of the enricher: those of every worker, and what its changes need. */
export const enricherConfigSchema = workerConfigSchema.extend({
  /** A country database in MaxMind's format (.mmdb), read again when it changes. */
  ENRICH_GEOIP_DATABASE: z.string().default(() => fileURLToPath(import.meta.resolve(bundledGeoip))),
  /**
   * The authserv-ids, comma-separated, under which this site's systems write Authentication-Results
   * (RFC 8601). Such fields are stripped from mail that brings them. We write none.
   */
  ENRICH_AUTHSERV_ID: list()
    .pipe(z.array(z.string().max(255)).min(1))
    .default(() => [hostname()]),
  /** Mails worked on at once; this process does all the work itself, so a few are enough. */
  ENRICH_CONCURRENCY: integer(1, 64).default(4),
});
export type EnricherConfig = z.output<typeof enricherConfigSchema>;
