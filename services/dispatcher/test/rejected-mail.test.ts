import { describe, expect, it, vi } from "vitest";
import { openBench } from "./in-process.ts";

const policy = `
default:
  spam: off
  virus: { onInfected: reject }
tenants:
  acme:
    domains: [acme.example]
    networks: [127.0.0.2]
`;
const infected = {
  handle: () => Promise.resolve({ output: { kind: "infected" as const, names: ["Test-Virus"] } }),
};

describe("a finding that policy rejects", () => {
  it("bounces outgoing mail: its sender gets one report, and the outcome is final after it", async () => {
    const bench = await openBench();
    await bench.policy(policy);
    await bench.dispatcher();
    bench.worker("virus", infected);
    const id = await bench.mail({
      client: "127.0.0.2",
      recipients: ["far@away.example"],
      mailFrom: "ann@acme.example",
    });
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("bounced"));
    const reports = (await bench.database.mails.find({ to: "ann@acme.example", limit: 10 })).filter(
      ({ origin }) => origin.via === "dsn",
    );
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({ smtp: { mailFrom: "" }, origin: { name: id } });
  });

  it("quarantines incoming mail: a stranger gets no backscatter", async () => {
    const bench = await openBench();
    await bench.policy(policy);
    await bench.dispatcher();
    bench.worker("virus", infected);
    const id = await bench.mail();
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("quarantined"));
    expect(await bench.database.mails.find({ to: "sender@stranger.example", limit: 10 })).toEqual(
      [],
    );
  });

  it("quarantines outgoing mail whose sender is not the tenant's: it may be forged", async () => {
    const bench = await openBench();
    await bench.policy(policy);
    await bench.dispatcher();
    bench.worker("virus", infected);
    const id = await bench.mail({ client: "127.0.0.2", recipients: ["far@away.example"] });
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("quarantined"));
    expect(await bench.database.mails.find({ to: "sender@stranger.example", limit: 10 })).toEqual(
      [],
    );
  });

  it("makes outgoing mail of the null sender a dead letter: double-bounce", async () => {
    const bench = await openBench();
    await bench.policy(policy);
    await bench.dispatcher();
    bench.worker("virus", infected);
    const id = await bench.mail({
      client: "127.0.0.2",
      recipients: ["far@away.example"],
      mailFrom: "",
    });
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("dead"));
    expect((await bench.get(id)).reason).toContain("double-bounce");
    expect((await bench.get(id)).recipients[0]?.outcome).toBe("dead");
  });
});
