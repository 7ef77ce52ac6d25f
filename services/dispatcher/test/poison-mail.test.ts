import { newToken } from "@rs-agent/shared/ids.ts";
import { describe, expect, it, vi } from "vitest";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { answers } from "./answers.ts";
import { openBench, plainMail, tenant, type Bench } from "./in-process.ts";
import { superviseDispatcher } from "./supervised-dispatcher.ts";
import { machineMs } from "../../../test/support/machine.ts";

const virusOnly = `
default:
  spam: off
${tenant}`;
const deadOwner = { owner: "dispatcher that dies", leaseMs: Number(machineMs(300)) };

/** Claims everything that waits, this many times, like a dispatcher that is killed with it. */
async function claimAndDie({ database }: Bench, mails: number, times: number): Promise<void> {
  for (let time = 1; time <= times; time++) {
    const claim = { states: ["incoming"] as const, next: "plan", limit: mails, ...deadOwner };
    let taken = 0;
    await vi.waitFor(async () => {
      taken += (await database.mails.claim(claim)).length;
      expect(taken).toBe(mails);
    });
  }
}

/** The same for a suspect that is claimed alone. */
async function claimAloneAndDie({ database }: Bench, times: number) {
  const tokens: string[] = [];
  for (let time = 1; time <= times; time++) {
    const token = newToken();
    await vi.waitFor(async () => {
      const states = ["incoming"] as const;
      const claim = { states, ...deadOwner, token, without: [] };
      expect(await database.mails.claimSuspect(claim)).toBeDefined();
    });
    tokens.push(token);
  }
  return tokens;
}

async function allReady(bench: Bench, ids: readonly string[]): Promise<void> {
  await vi.waitFor(async () => {
    for (const id of ids) expect((await bench.get(id)).state).toBe("ready");
  });
}

describe("mail with which dispatchers were killed", () => {
  it("is taken alone after three of them, each in turn, and all innocents are ready", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    const ids = await Promise.all(Array.from({ length: 30 }, () => bench.mail()));
    await claimAndDie(bench, 30, 3);
    await bench.dispatcher();
    let atWork = 0;
    let most = 0;
    bench.worker("virus", {
      async handle() {
        most = Math.max(most, ++atWork);
        await new Promise(setImmediate);
        atWork -= 1;
        return answers.virus;
      },
    });
    bench.worker("enrich");
    await allReady(bench, ids);
    expect(most).toBe(1);
    const mail = await bench.get(ids[0] ?? "");
    expect(mail.unended).toBeUndefined();
    expect(mail.alone).toBeUndefined();
  });

  it("is a dead letter after two more that had begun nothing else, and no worker sees it", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    const id = await bench.mail();
    await claimAndDie(bench, 1, 3);
    await claimAloneAndDie(bench, 2);
    await bench.dispatcher();
    bench.worker("virus");
    bench.worker("enrich");
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("dead"));
    const dead = await bench.get(id);
    expect(dead.reason).toMatch(/^services ended over it: 3 had it among others, then alone disp/);
    expect(dead.recipients[0]?.outcome).toBe("dead");
    expect(dead.lease).toBeUndefined();
    expect(bench.asked).toEqual([]);
  });

  it("is not a dead letter if they live after all: their leases ran out in database outages", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    const id = await bench.mail();
    await claimAndDie(bench, 1, 3);
    const [, ...lived] = await claimAloneAndDie(bench, 3);
    for (const token of lived) {
      await bench.database.mails.livedThrough({ token, owner: deadOwner.owner });
    }
    expect((await bench.get(id)).alone).toHaveLength(1);
    await bench.dispatcher();
    bench.worker("virus");
    bench.worker("enrich");
    await allReady(bench, [id]);
  });
});

it("the mail that kills every dispatcher that has it is dead after five, and nothing else is", async () => {
  const bench = await openBench();
  await bench.policy(virusOnly);
  const bind = `tcp://127.0.0.1:${await freePort()}`;
  const marker = "kills the dispatcher";
  const poison = await bench.mail({ raw: plainMail(marker) });
  const innocents = await Promise.all(Array.from({ length: 20 }, () => bench.mail()));
  const dispatcher = superviseDispatcher(bench, {
    BUS_BIND: bind,
    LEASE_MS: machineMs(5_000),
    ACTOR_ID: "dispatcher-1",
  });
  bench.worker("virus", {
    dispatchers: bind,
    async handle(_task, mail) {
      if (mail.kind === "bytes" && mail.bytes.includes(marker)) {
        dispatcher.kill();
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      return answers.virus;
    },
  });
  bench.worker("enrich", { dispatchers: bind });
  await vi.waitFor(async () => expect((await bench.get(poison)).state).toBe("dead"));
  await allReady(bench, innocents);
  expect((await bench.get(poison)).reason).toMatch(
    /^services ended over it: 3 had it among others/,
  );
  expect(dispatcher.starts()).toBe(6);
});
