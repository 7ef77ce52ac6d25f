import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { enricherConfigSchema } from "../src/config.ts";
import { countryIn, openCountries, type Countries } from "../src/countries.ts";

const log = createSilentLogger();
const bundled = enricherConfigSchema.parse({
  BUS_DISPATCHERS: "tcp://127.0.0.1:1",
}).ENRICH_GEOIP_DATABASE;
let folder: string;
let open: Countries[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "enricher-geoip-"));
});
afterEach(() => {
  for (const countries of open) countries.close();
  open = [];
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function opened(path: string): Promise<Countries> {
  const countries = await openCountries({ path, log, pollMs: 20 });
  open.push(countries);
  return countries;
}

describe("openCountries", () => {
  it.each([
    ["8.8.8.8", "US"],
    ["::ffff:8.8.8.8", "US"],
    ["2001:4860:4860::8888", "US"],
    ["193.0.6.139", "NL"],
    ["10.1.2.3", "**"],
    ["127.0.0.1", "**"],
    ["::ffff:192.168.1.1", "**"],
    ["100.64.0.1", "**"],
    ["::1", "**"],
    ["fe80::1%eth0", "**"],
    ["fd00::1", "**"],
    ["203.0.113.1", "XX"],
    ["", "XX"],
    ["unknown", "XX"],
  ])(
    "gives the country of %s as %s, from the database that comes with the package",
    async (address, country) => {
      expect((await opened(bundled)).of(address)).toBe(country);
    },
  );

  it("uses a database that replaces the file, and keeps the old one if the new one is broken", async () => {
    const path = join(folder, "countries.mmdb");
    await copyFile(join(dirname(bundled), "geo-whois-asn-country-ipv6.mmdb"), path);
    const countries = await opened(path);
    expect(countries.of("8.8.8.8")).toBe("XX");
    const errors = vi.spyOn(log, "error");
    await writeFile(path, "half a database");
    await vi.waitFor(() => expect(errors).toHaveBeenCalled());
    expect(countries.of("2001:4860:4860::8888")).toBe("US");
    await copyFile(bundled, path);
    await vi.waitFor(() => expect(countries.of("8.8.8.8")).toBe("US"));
  });

  it("refuses to open a file that is not a database", async () => {
    const path = join(folder, "broken.mmdb");
    await writeFile(path, "nothing");
    for (const wrong of [path, join(folder, "missing.mmdb")]) {
      await expect(openCountries({ path: wrong, log })).rejects.toMatchObject({
        code: "ENRICH_GEOIP_UNREADABLE",
      });
    }
  });
});

describe("countryIn", () => {
  it.each([
    [{ country_code: "DE" }, "DE"],
    [{ country: { iso_code: "FR" }, registered_country: { iso_code: "US" } }, "FR"],
    [{ registered_country: { iso_code: "AT" } }, "AT"],
    [{ country_code: "d\r\nX: y" }, undefined],
    [{}, undefined],
    [null, undefined],
  ])("reads %j, of either kind of database", (entry, code) => {
    expect(countryIn(entry)).toBe(code);
  });
});
