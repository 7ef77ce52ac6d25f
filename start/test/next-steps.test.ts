import { describe, expect, it } from "vitest";
import { nextSteps, outgoingNetworks, type Surroundings } from "../src/next-steps.ts";
import { samplePolicy } from "../src/sample-policy.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const system = {
  mongodb: { uri: "mongodb://127.0.0.1:1", db: "rs_agent", server: "mongod 8", durability: "" },
  nextHop: { address: "127.0.0.1:2", maildir: "/checkout/.run/maildir" },
  smtp: "127.0.0.1:2525",
  logsDir: "/checkout/.run/logs",
  clamd: "127.0.0.1:34567",
};

const around: Surroundings = {
  root: "/checkout",
  runDir: "/checkout/.run",
  isOwnRunDir: false,
  isOtherPort: false,
  hasTestSignatures: true,
  mailId: "4f0a",
  outgoing: [],
};

describe("the last lines of npm start", () => {
  it("name the sample's network for outgoing mail, and where its clamd is", () => {
    const folder = mkdtempSync(join(tmpdir(), "rs-agent-test-next-steps-"));
    const policies = samplePolicy(join(folder, "key.pem"));
    rmSync(folder, { recursive: true });
    const text = nextSteps(system, { ...around, outgoing: outgoingNetworks(policies) });
    expect(text).toContain("Outgoing mail from   clients in 127.0.0.2: tenant northwind\n");
    expect(text).toContain("clamd                127.0.0.1:34567 (npx clamav-cli asks it)\n");
    expect(text).toContain("\n  npx clamav-cli scan README.md\n");
    expect(text.split("\n").filter((line) => line.length > 80)).toEqual([]);
  });

  it("name the first of many networks, and no clamd if there is none", () => {
    const outgoing = [{ tenantId: "acme", networks: ["192.0.2.0/24", "2001:db8::/32"] }];
    const text = nextSteps({ ...system, clamd: undefined }, { ...around, outgoing });
    expect(text).toContain("clients in 192.0.2.0/24 and 1 more: tenant acme");
    expect(text).not.toContain("clamav-cli");
  });
});
