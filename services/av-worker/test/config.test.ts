import { describe, expect, it } from "vitest";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { avWorkerConfigSchema } from "../src/config.ts";

const least = { BUS_DISPATCHERS: "tcp://127.0.0.1:5000" };

describe("the av-worker's settings", () => {
  it("take clamd addresses as clamd.conf has them", () => {
    const { AV_CLAMD } = loadConfig(avWorkerConfigSchema, {
      ...least,
      AV_CLAMD: "10.0.0.1:3310, clamd2, [::1]:3311, /run/clamav/clamd.ctl, unix:/a",
    });
    expect(AV_CLAMD.map(({ text }) => text)).toEqual([
      "10.0.0.1:3310",
      "clamd2:3310",
      "[::1]:3311",
      "/run/clamav/clamd.ctl",
      "/a",
    ]);
  });

  it("have defaults that fit a clamd on the same host", () => {
    const config = loadConfig(avWorkerConfigSchema, least);
    expect(config.AV_CLAMD).toMatchObject([{ host: "127.0.0.1", port: 3310 }]);
    expect(config.AV_ALLOW_BLIND).toEqual([]);
  });

  it("name every wrong one in one message", () => {
    const load = () =>
      loadConfig(avWorkerConfigSchema, {
        ...least,
        AV_CLAMD: "host:99999,a b",
        AV_ALLOW_BLIND: "encrypted,everything",
        AV_DEPTH: "0",
      });
    for (const wrong of ["99999", "a b", "AV_DEPTH", "AV_ALLOW_BLIND"]) {
      expect(load).toThrow(wrong);
    }
  });
});
