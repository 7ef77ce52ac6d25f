import { held } from "@rs-agent/shared/life/endings.ts";
import { groupsFrozen, planned } from "@rs-agent/shared/life/processing.ts";
import type { MailState } from "@rs-agent/shared/life/states.ts";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { describe, expect, it, vi } from "vitest";
import { openBench, tenant, type Bench } from "./in-process.ts";

const virusOnly = `
default:
  spam: off
${tenant}`;
const leaseMs = 300;
const plan = createPolicyBook(parsePolicyYaml(virusOnly, "test.yaml"), {
  nextHop: "127.0.0.1:9",
}).planFor({ direction: "incoming", mailFrom: "", recipient: "bob@acme.example" });

/** Claims like a dispatcher that is killed soon after. */
async function claimed({ database }: Bench, state: MailState, next: string) {
  const owner = "dispatcher that dies";
  const [claim] = await vi.waitFor(async () => {
    const claims = await database.mails.claim({ states: [state], next, limit: 1, owner, leaseMs });
    expect(claims).toHaveLength(1);
    return claims;
  });
  if (claim === undefined) throw new Error("nothing was claimed");
  return claim;
}

const moment = () => ({ now: new Date(), by: "dead" });

async function ready(bench: Bench, id: string): Promise<void> {
  await bench.dispatcher();
  bench.worker("virus");
  bench.worker("enrich");
  await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
}

describe("I1: mail whose dispatcher was killed after a write of its own", () => {
  it("goes on where the plan was written", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    const id = await bench.mail();
    const { holding, mail } = await claimed(bench, "incoming", "plan");
    await bench.database.mails.write(holding, planned(mail, { plan, ...moment() }));
    await ready(bench, id);
  });

  it("goes on where the plan of a held mail was written, at its next try", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    const id = await bench.mail();
    const first = await claimed(bench, "incoming", "plan");
    const hold = { cause: "unable", reason: "no key", retryAt: new Date(), ...moment() } as const;
    await bench.database.mails.write(first.holding, held(first.mail, hold));
    const { holding, mail } = await claimed(bench, "held", "retry");
    await bench.database.mails.write(holding, planned(mail, { plan, ...moment() }));
    await ready(bench, id);
  });

  it("is split as its groups were frozen", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    const recipients = ["one@acme.example", "two@acme.example"];
    const id = await bench.mail({ recipients });
    const { holding, mail } = await claimed(bench, "incoming", "plan");
    const groups = recipients.map((recipient) => [recipient]);
    await bench.database.mails.write(holding, groupsFrozen(mail, { groups, ...moment() }));
    await bench.dispatcher();
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("split"));
    expect(await bench.database.mails.children(id)).toHaveLength(2);
  });
});
