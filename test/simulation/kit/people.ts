import type { Database } from "@rs-agent/shared/store/database.ts";
import { RsError, TerminalError } from "@rs-agent/shared/errors.ts";
import type { ServiceHandle } from "@rs-agent/shared/lifecycle.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import {
  cancel,
  release,
  standingFindings,
  type Actor,
  type Intervention,
} from "../../../cli/src/interventions.ts";
import { retryNow } from "../../../cli/src/retry-now.ts";
import { carryOut } from "../../../cli/src/carry-out.ts";
import { proveSender } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { isUnreported } from "@rs-agent/shared/life/outcomes.ts";
import { concernedIn } from "@rs-agent/shared/life/interventions.ts";
import { needsProof, resend, settle } from "../../../cli/src/unknown-outcomes.ts";
import { openVirtualDatabase, type Program } from "./actors.ts";
import { recordOf, type Truth } from "./mails.ts";
import { writeRecords } from "./records.ts";
import { virtualDns } from "./senders.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import { watchedDatabase } from "./watched-database.ts";
import type { World } from "./world.ts";

/** The writers of mail besides the services: an ingest, and a person at the command line. */

const nothing = () => Promise.resolve();

function untilKilled(): ServiceHandle {
  const ends = { drain: nothing, close: nothing, [Symbol.asyncDispose]: nothing };
  return { ready: nothing(), done: new Promise(() => undefined), ...ends };
}

/** Puts records into the dispatchers' source. */
export function writerProgram(): Program {
  return (world, process) => {
    writeRecords(world, process, world.records);
    return Promise.resolve(untilKilled());
  };
}

/** Takes mail in as ingest does: the body, then the record, then the 250. */
export function ingestProgram(truths: readonly Truth[]): Program {
  return async (world, process) => {
    const database = await openVirtualDatabase(world, process);
    for (const truth of truths) {
      if (truth.atMs < world.time.nowMs) continue;
      world.time.at(truth.atMs, process, () => void accept(world, database, truth));
    }
    return untilKilled();
  };
}

async function accept(world: World, database: Database, truth: Truth): Promise<void> {
  try {
    const found = await database.arrivals.store(truth.raw, (body) =>
      recordOf(truth, body, database.clock.now()),
    );
    world.note("accepted", truth.id);
    world.invariants.conservation.onAcknowledged(truth.id, found);
  } catch (error) {
    if (!(error instanceof RsError)) throw error;
    world.note("not accepted", truth.id);
  }
}

const lookEveryMs = 3_000;

/** Looks at mail that is kept back, and decides as the truth says. */
export function personProgram(): Program {
  return async (world, process) => {
    const plain = await openVirtualDatabase(world, process);
    const database = watchedDatabase(world, process, plain);
    setInterval(() => {
      look(world, database, process).catch((error: unknown) => {
        if (!(error instanceof RsError)) throw error;
      });
    }, lookEveryMs);
    return untilKilled();
  };
}

async function look(world: World, database: Database, person: VirtualProcess): Promise<void> {
  for (const state of ["quarantined", "held", "bounced"] as const) {
    for (const mail of await database.mails.find({ state, limit: 100 })) {
      const actor = { by: person.name, now: database.clock.now() };
      const intervention = await decide(world, mail, actor, person);
      if (intervention === undefined) continue;
      await carryOut(database, mail, intervention, actor, "mail.example");
    }
  }
}

async function decide(
  world: World,
  mail: MailRecord,
  actor: Actor,
  person: VirtualProcess,
): Promise<Intervention | undefined> {
  if (mail.state === "bounced") return decideUnreported(world, mail, actor);
  const truth = world.truthOf(mail.body.sha256);
  const findings = standingFindings(mail).map(({ finding }) => finding);
  if (truth?.isReleased === true && findings.length > 0) {
    try {
      return release(mail, findings, actor);
    } catch (error) {
      if (!(error instanceof TerminalError)) throw error;
    }
  }
  if (mail.state === "quarantined" || mail.next !== undefined) return undefined;
  if (mail.unknown !== undefined && findings.length === 0)
    return findOut(world, mail, actor, person);
  return findings.length > 0 && mail.unknown === undefined
    ? cancel(mail, actor)
    : retryNow(mail, actor);
}

/** Has some of the mail of which nobody was told tried once more. */
function decideUnreported(world: World, mail: MailRecord, actor: Actor): Intervention | undefined {
  const isMeant = world.truthOf(mail.body.sha256)?.isReleased === true;
  const isTriedAgain = mail.history.some(({ event }) => event === "taken up again");
  if (!isMeant || isTriedAgain || !mail.recipients.some(isUnreported)) return undefined;
  return retryNow(mail, actor);
}

/** Looks into the hop's log, when nothing of that attempt can be on its way any more. */
async function findOut(
  world: World,
  mail: MailRecord,
  actor: Actor,
  person: VirtualProcess,
): Promise<Intervention | undefined> {
  const { deliveries } = world.invariants;
  const { resolveAt } = mail.unknown ?? {};
  const concerned = concernedIn(mail).map(({ address }) => address);
  if (concerned.length === 0) return retryNow(mail, actor);
  if (resolveAt === undefined || resolveAt > actor.now) return resend(mail, actor);
  const taken = concerned.filter((address) => deliveries.timesTaken(mail, address) > 0);
  if (taken.length > 0) return settle(mail, { as: "sent", to: taken }, actor);
  const refused = concerned.filter((address) => deliveries.isRefused(mail, address));
  if (refused.length === 0) return resend(mail, actor);
  const found = { as: "bounced", to: refused } as const;
  if (!needsProof(mail, found)) return settle(mail, found, actor);
  const ask = world.bug?.askDns?.() ?? virtualDns(world, person);
  const check = { ask, withinMs: 10_000, hostname: "mail.example" };
  const proof = await proveSender(mail, () => Promise.resolve(Buffer.alloc(0)), check);
  return settle(mail, found, actor, proof);
}
