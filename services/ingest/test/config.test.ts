import { describe, expect, it } from "vitest";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { ingestConfigSchema } from "../src/config.ts";

const load = (env: Record<string, string>) =>
  loadConfig(ingestConfigSchema, { MONGODB_URI: "mongodb://127.0.0.1", ...env });

describe("the settings of ingest", () => {
  it("listen on loopback only by default, for SMTP only", () => {
    const config = load({});
    expect(config.INGEST_SMTP).toEqual([
      {
        name: "smtp:127.0.0.1:2525",
        kind: "smtp",
        protocol: "smtp",
        outgoing: false,
        trusted: false,
        host: "127.0.0.1",
        port: 2525,
      },
    ]);
    expect([config.INGEST_LMTP, config.INGEST_SUBMISSION]).toEqual([[], []]);
    expect(config.MAX_MAIL_BYTES).toBe(52_428_800);
  });

  it("take lists of addresses, IPv6 in brackets", () => {
    const { INGEST_SMTP: listeners } = load({ INGEST_SMTP: "0.0.0.0:25, [::1]:2525" });
    expect(listeners.map(({ host, port }) => [host, port])).toEqual([
      ["0.0.0.0", 25],
      ["::1", 2525],
    ]);
  });

  it("take the tenant of a listener for outgoing mail", () => {
    const { INGEST_SUBMISSION: listeners } = load({
      INGEST_SUBMISSION: "acme@127.0.0.1:2526, b-2@[::1]:2527, [::1]:2528",
    });
    expect(listeners.map(({ host, port, tenantId }) => [host, port, tenantId])).toEqual([
      ["127.0.0.1", 2526, "acme"],
      ["::1", 2527, "b-2"],
      ["::1", 2528, undefined],
    ]);
  });

  it("take their name from MAIL_HOSTNAME if INGEST_HOSTNAME is not set", () => {
    expect(load({ MAIL_HOSTNAME: "mx.a.example" }).INGEST_HOSTNAME).toBe("mx.a.example");
  });

  it.each([
    ["INGEST_SMTP", "2525"],
    ["INGEST_SMTP", "127.0.0.1:70000"],
    ["INGEST_SMTP", "acme@127.0.0.1:2525"],
    ["INGEST_SUBMISSION", "@127.0.0.1:2526"],
    ["INGEST_SUBMISSION", "Acme Ltd@127.0.0.1:2526"],
    ["INGEST_XFORWARD_PEERS", "mx.example.org"],
    ["INGEST_SUBMISSION_CLIENTS", "0.0.0.0/0"],
    ["INGEST_TLS_CERT", "/cert.pem"],
    ["INGEST_MAX_BYTES_IN_FLIGHT", "1000000"],
    ["LOG_ADDRESSES", "some"],
  ])("refuse %s=%s and name it", (name, value) => {
    expect(() => load({ [name]: value })).toThrow(name);
  });
});
