import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import Table from "cli-table3";
import { MongoClient, type Db } from "mongodb";
import { newToken } from "@rs-agent/shared/ids.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import type { MailForPolicy, PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { parseAddress, parseNetwork, type Network } from "@rs-agent/shared/policy/networks.ts";
import { openPolicies, type PoliciesInForce } from "@rs-agent/shared/store/policies-in-force.ts";
import { startMongoDb } from "@rs-agent/kit/mongodb/mongodb.ts";
import { randomOf, type Random } from "@rs-agent/kit/random.ts";
import { onStage, renderConditions, say, type Conditions } from "./comparison.ts";
import { readOptions } from "./options.ts";
import { databaseText, refuseSlowServer, withDatabase } from "./our-system.ts";
import {
  judge,
  judgementText,
  spreadOf,
  spreadText,
  type Judgement,
  type Spread,
} from "./spread.ts";

/**
 * A policy of many tenants, each with two domains, two networks, a key, a route of its own and one
 * address with rules of its own: what looking up a mail takes, next to a walk through all networks;
 * how long a service's event loop stands still while it takes on a change; how much memory the
 * policy needs; and how long `policy apply` takes to store it. `node bench/src/policies.ts
 * [--tenants N] [--rounds N] [--mails N] [--json]`
 */
const options = readOptions({
  tenants: 50_000,
  rounds: 7,
  /** Mails looked up per round. */
  mails: 20_000,
});
const { tenants, rounds } = options;
const mostLookupUs = 20;
const mostBlockMs = 50;

interface Change {
  blockMs: Spread;
  blockCpuMs: Spread & Judgement;
  /** From the look at the version until the new policies are in force. */
  takenOnMs: Spread;
  takenOnCpuMs: Spread;
}

interface Taken {
  ms: number;
  cpuMs: number;
  block: Block;
}

interface Report {
  conditions: Conditions;
  documents: number;
  lookup: { p50Us: Spread & Judgement; p99Us: Spread };
  /** Through all networks, for the direction only; and that divided by our whole look-up. */
  walk: { us: Spread; toLookup: Spread };
  changes: { ofOneTenant: Change; ofDefault: Change };
  start: Taken;
  heapMb: number;
  apply: { allSeconds: number; oneSeconds: number };
}

/** One network of sixteen addresses each. */
const ipv4Of = (n: number, host = 0) =>
  [10, (n >> 12) & 255, (n >> 4) & 255, ((n & 15) << 4) + host].join(".");
const ipv6Of = (n: number) => `2001:db8:${(n >> 16).toString(16)}:${(n & 0xffff).toString(16)}::`;
const domainOf = (n: number) => `t${n}.example`;

function* documentsOf(threshold: number): Generator<PolicyDocument> {
  yield { _id: "default", scope: "default", revision: 0, rules: { spam: { threshold } } };
  for (let n = 0; n < tenants; n += 1) {
    const domain = domainOf(n);
    const rules = { incoming: { route: { nextHop: `mail.${domain}:25` } } };
    const tenantId = `t${n}`;
    yield {
      ...{ _id: `tenant:${tenantId}`, scope: "tenant", revision: 0, tenantId },
      networks: [`${ipv4Of(n)}/28`, `${ipv6Of(n)}/64`],
      domains: [domain, `mail.${domain}`],
      keys: [{ domain, selector: "s1", privateKey: `file:/etc/rs-agent/${tenantId}.pem` }],
      rules,
    };
    const ofVip = { spam: { threshold: 8 } };
    yield { _id: `address:vip@${domain}`, scope: "address", revision: 0, rules: ofVip };
  }
}

/**
 * A mail of some tenant: to a user, to one with rules of its own, or from a client in its network.
 */
function mailOf(random: Random): MailForPolicy {
  const n = random.between(0, tenants - 1);
  const domain = domainOf(n);
  const isOutgoing = random.chance(0.5);
  const address = isOutgoing ? ipv4Of(n, random.between(1, 14)) : "203.0.113.9";
  const own = `${random.pick(["bob", "Alice.B", "vip"])}@${domain}`;
  const other = "somebody@elsewhere.example.net";
  return {
    smtp: { mailFrom: isOutgoing ? own : other, client: { address, name: "", helo: "" } },
    origin: { via: "smtp" },
    header: { fromDomain: isOutgoing ? domain : "elsewhere.example.net" },
    recipients: [{ address: isOutgoing ? other : own, outcome: "open" }],
  };
}

function lookedUp(book: PolicyBook, mails: readonly MailForPolicy[]) {
  const us = mails.map((mail) => {
    const beganAt = performance.now();
    const groups = book.groups(mail);
    const took = (performance.now() - beganAt) * 1_000;
    if (groups[0]?.plan.tenantId === undefined) throw new Error("a mail has no tenant");
    return took;
  });
  const sorted = us.toSorted((a, b) => a - b);
  const at = (part: number) => sorted[Math.ceil(part * sorted.length) - 1] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
}

/** What finding the direction alone would take without an index, in microseconds per mail. */
function walked(networks: readonly Network[], mails: readonly MailForPolicy[]): number {
  const beganAt = performance.now();
  for (const { smtp } of mails) {
    const address = parseAddress(smtp.client.address);
    networks.some(
      (network) =>
        network.address.kind() === address?.kind() && address.match(network.address, network.bits),
    );
  }
  return ((performance.now() - beganAt) * 1_000) / mails.length;
}

/** What `policy apply` leaves: changed documents under a new revision, the others as they were. */
async function change(db: Db, id: string, rules: object): Promise<void> {
  const counter = db.collection<{ _id: string; revision: number }>("controls");
  const step = { $inc: { revision: 1 }, $set: { mark: newToken() } };
  const stored = await counter.findOneAndUpdate({ _id: "policy-revision" }, step, {
    returnDocument: "after",
  });
  const set = { $set: { rules, revision: stored?.revision } };
  await db.collection<{ _id: string }>("policies").updateOne({ _id: id }, set);
}

interface Block {
  /** Wall time, and our own CPU time alone: on a busy machine others take their share too. */
  ms: number;
  cpuMs: number;
}

/** The longest time in which nothing else had a turn while this ran. */
async function watched<T>(work: () => Promise<T>) {
  const block: Block = { ms: 0, cpuMs: 0 };
  let turn = { at: performance.now(), cpu: process.threadCpuUsage() };
  const look = () => {
    const { user, system } = process.threadCpuUsage(turn.cpu);
    block.ms = Math.max(block.ms, performance.now() - turn.at);
    block.cpuMs = Math.max(block.cpuMs, (user + system) / 1_000);
    turn = { at: performance.now(), cpu: process.threadCpuUsage() };
  };
  const beganAt = performance.now();
  const cpuBefore = process.threadCpuUsage();
  const ticking = setInterval(look, 1);
  const result = await work();
  const ms = performance.now() - beganAt;
  const { user, system } = process.threadCpuUsage(cpuBefore);
  // A block at the very end shows at the next turn.
  await pause(5);
  clearInterval(ticking);
  return { result, ms, cpuMs: (user + system) / 1_000, block };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const beganAt = performance.now();
  await work();
  return (performance.now() - beganAt) / 1_000;
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

function heapMb(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed / 1024 ** 2;
}

interface Round {
  one: Taken;
  all: Taken;
  lookup: { p50: number; p99: number };
  walkUs: number;
}

async function roundOf(nth: number, db: Db, policies: PoliciesInForce): Promise<Round> {
  const random = randomOf(nth, "policies");
  const tenant = random.between(0, tenants - 1);
  const nextHop = `mail${nth}.${domainOf(tenant)}:25`;
  await change(db, `tenant:t${tenant}`, { incoming: { route: { nextHop } } });
  const one = await watched(() => policies.refresh());
  const recipient = `bob@${domainOf(tenant)}`;
  const { route } = policies.book().planFor({ direction: "incoming", mailFrom: "", recipient });
  if (`${route.host}:25` !== nextHop) throw new Error("the change has not been taken on");
  await change(db, "default", { spam: { threshold: 6 + nth / 10 } });
  const all = await watched(() => policies.refresh());
  const mails = Array.from({ length: options.mails }, () => mailOf(random));
  const lookup = lookedUp(policies.book(), mails);
  const walkUs = walked(networks, mails.slice(0, 100));
  const blocks = [one, all].map(({ block }) => `${block.ms.toFixed(1)} ms`).join(" and ");
  say(`${nth}/${rounds} blocks ${blocks}, look-up ${lookup.p50.toFixed(1)} µs`);
  return { one, all, lookup, walkUs };
}

const networks = Array.from({ length: tenants }, (_, n) => [
  parseNetwork(`${ipv4Of(n)}/28`),
  parseNetwork(`${ipv6Of(n)}/64`),
]).flat();

const report = await onStage(async ({ runDir, keep, conditions }): Promise<Report> => {
  const server = keep(await startMongoDb({ dataDir: join(runDir, "mongodb"), report: say }));
  refuseSlowServer(server);
  const client = new MongoClient(server.uri);
  try {
    const where = { uri: server.uri, db: "policies" };
    const apply = await withDatabase(where, async ({ policies: store }) => ({
      allSeconds: await seconds(async () => {
        const all = [...documentsOf(5)];
        // In parts: look-alikes take no transaction of so many documents.
        await store.replace(all.slice(0, all.length / 2));
        await store.replace(all);
      }),
      oneSeconds: await seconds(() => store.replace([...documentsOf(6)])),
    }));
    say(`stored in ${apply.allSeconds.toFixed(1)} s, a change in ${apply.oneSeconds.toFixed(1)} s`);
    return await withDatabase(where, async ({ policies: store }) => {
      const heapBefore = heapMb();
      const log = createSilentLogger();
      const { result: policies, ...start } = await watched(() => openPolicies({ store, log }));
      const held = heapMb() - heapBefore;
      const seen: Round[] = [];
      for (let n = 1; n <= rounds; n += 1)
        seen.push(await roundOf(n, client.db(where.db), policies));
      return {
        ...figuresOf(seen),
        conditions: conditions(rounds, { database: databaseText(server) }),
        documents: 1 + 2 * tenants,
        start,
        heapMb: held,
        apply,
      };
    });
  } finally {
    await client.close();
  }
});

function figuresOf(seen: readonly Round[]): Pick<Report, "lookup" | "walk" | "changes"> {
  const judged = (values: number[], most: number) => ({
    ...spreadOf(values),
    ...judge(values, { most }),
  });
  const changeOf = (of: "one" | "all"): Change => {
    const taken = seen.map((round) => round[of]);
    return {
      blockMs: spreadOf(taken.map(({ block }) => block.ms)),
      blockCpuMs: judged(
        taken.map(({ block }) => block.cpuMs),
        mostBlockMs,
      ),
      takenOnMs: spreadOf(taken.map(({ ms }) => ms)),
      takenOnCpuMs: spreadOf(taken.map(({ cpuMs }) => cpuMs)),
    };
  };
  return {
    lookup: {
      p50Us: judged(
        seen.map(({ lookup }) => lookup.p50),
        mostLookupUs,
      ),
      p99Us: spreadOf(seen.map(({ lookup }) => lookup.p99)),
    },
    walk: {
      us: spreadOf(seen.map(({ walkUs }) => walkUs)),
      toLookup: spreadOf(seen.map(({ walkUs, lookup }) => walkUs / lookup.p50)),
    },
    changes: { ofOneTenant: changeOf("one"), ofDefault: changeOf("all") },
  };
}

function print({ conditions, documents, lookup, walk, changes, start, ...rest }: Report): void {
  const table = new Table({
    head: [`${tenants} tenants, ${documents} documents`, "median (min–max)", ""],
    style: { head: [], border: [] },
  });
  table.push(
    ["look-up of a mail, p50, µs", spreadText(lookup.p50Us, 1), judgementText(lookup.p50Us)],
    ["look-up of a mail, p99, µs", spreadText(lookup.p99Us, 1), ""],
    ["walk through all networks, µs", spreadText(walk.us), ""],
    ["walk / look-up", spreadText(walk.toLookup), ""],
  );
  for (const [what, change] of Object.entries({
    "one tenant": changes.ofOneTenant,
    default: changes.ofDefault,
  })) {
    const { blockMs, blockCpuMs, takenOnMs, takenOnCpuMs } = change;
    table.push(
      [`${what} changes: longest block, ms`, spreadText(blockMs, 1), ""],
      ["- of it our CPU, ms", spreadText(blockCpuMs, 1), judgementText(blockCpuMs)],
      ["- until it is in force, ms", spreadText(takenOnMs), ""],
      ["- of it our CPU, ms", spreadText(takenOnCpuMs), ""],
    );
  }
  const { block, ms } = start;
  table.push(
    ["at start: longest block, ms; CPU", `${block.ms.toFixed(1)}; ${block.cpuMs.toFixed(1)}`, ""],
    ["at start: until it is in force, ms; CPU", `${ms.toFixed(0)}; ${start.cpuMs.toFixed(0)}`, ""],
    ["held in memory, MB", rest.heapMb.toFixed(0), ""],
    ["stored by policy apply, all, s", rest.apply.allSeconds.toFixed(1), ""],
    ["stored by policy apply, one changed, s", rest.apply.oneSeconds.toFixed(1), ""],
  );
  process.stdout.write(`${renderConditions(conditions)}\n${table.toString()}\n`);
}

if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
