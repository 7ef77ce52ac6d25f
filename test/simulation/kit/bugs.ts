import type { Database } from "@rs-agent/shared/store/database.ts";
import { Holding } from "@rs-agent/shared/store/holding.ts";
import type { AskDns } from "@rs-agent/shared/mail/authentication/dns.ts";
import { recordGone } from "@rs-agent/shared/life/adoption.ts";
import { merged, type MailChange } from "@rs-agent/shared/life/change.ts";
import { recipientsWith } from "@rs-agent/shared/life/outcomes.ts";
import type { MailRecord, Recipient } from "@rs-agent/shared/mail/record.ts";
import { adoptStep } from "@rs-agent/shared/mail/stub.ts";
import { messageOf, partsOf } from "./bus/forger.ts";
import type { BusNetwork } from "./bus/network.ts";
import type { DriverDeps } from "./database/connection.ts";
import { acceptByMail, withMails, withSources, withWrite } from "./seams.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import type { World } from "./world.ts";

/**
 * Mistakes that somebody could make in the product, planted in the seams around it. Each must be
 * found: a simulation that cannot fail proves nothing.
 */
export interface Bug {
  /** Described in a sentence, for users of `--bug`. */
  is: string;
  /** The invariants, one of which catches it. */
  breaks: readonly string[];
  driver?: (world: World) => Partial<DriverDeps>;
  message?: (world: World) => BusNetwork["onMessage"];
  askDns?: () => AskDns;
  database?: (database: Database, process: VirtualProcess, world: World) => Database;
}

type Fields = Record<string, unknown>;

export const bugs = {
  "write-without-token": {
    is: "progress is written by mail id alone",
    breaks: ["I1", "I3", "I4"],
    driver: () => ({
      filterOf: (_process, filter) =>
        typeof filter._id === "string" ? without(filter, "lease.token") : filter,
    }),
  },
  "write-without-revision": {
    is: "a write by the lease's holder is done whatever was written since it was asked for",
    breaks: ["I3", "I1", "I8"],
    driver: () => ({ filterOf: (_process, filter) => without(filter, "rev") }),
  },
  "plan-not-there": {
    is: "a plan is written where no record looks for it",
    breaks: ["plan"],
    driver: () => ({
      filterOf: (_process, filter) => {
        const { _id: id, ...others } = filter;
        const isPlan =
          typeof id === "string" && /^[\da-f]{32}$/.test(id) && Object.keys(others).length === 0;
        return isPlan ? { _id: `${id} elsewhere` } : filter;
      },
    }),
  },
  "result-without-task-id": {
    is: "a result counts for whatever task of its mail and kind is out",
    breaks: ["I2", "I4"],
    message: () => acceptByMail(),
  },
  "sole-to-all": {
    is: "a worker says to each dispatcher that it has it to itself",
    breaks: ["poison", "fate"],
    message: () => (frames, from) =>
      from.sort !== "worker"
        ? [frames]
        : partsOf(frames).map((part) => {
            const { head } = part;
            return messageOf(
              head["credit"] === undefined ? part : { ...part, head: { ...head, sole: true } },
            );
          }),
  },
  "mark-after-data": {
    is: "the outcome-unknown mark is written half a second after the transaction began",
    breaks: ["I8"],
    database: (database, process, { time }) =>
      process.sort !== "relay"
        ? database
        : withWrite(database, (write) => (holding, change) => {
            if (!isMark(change)) return write(holding, change);
            time.after(500, process, () => void write(holding, change).catch(ignored));
            return Promise.resolve("written");
          }),
  },
  "non-majority-claim": {
    is: "a claim counts when the primary has it",
    breaks: ["I3", "I8"],
    driver: () => ({
      isHasty: (_process, filter) =>
        ("lease.until" in filter && "state" in filter) ||
        ("lease.token" in filter && typeof filter._id === "object"),
    }),
  },
  "release-skips-signature": {
    is: "a person's release makes the mail ready immediately",
    breaks: ["I2", "I10"],
    database: (database, process) => (process.sort !== "person" ? database : withRelease(database)),
  },
  "record-before-body": {
    is: "a record is stored with others half a second before its body",
    breaks: ["I1", "fate"],
    driver: ({ set, time }) => ({
      jointlyOf: (process, models) => {
        const isBody = ({ namespace }: { namespace: string }) => namespace.endsWith(".bodies");
        time.after(500, process, () => {
          for (const { document } of models.filter(isBody)) set.insert("bodies", document, process);
        });
        return models.filter((model) => !isBody(model));
      },
    }),
  },
  "dispatcher-on-hints-alone": {
    is: "a dispatcher claims what it is told of, and its timer nothing",
    breaks: ["I1"],
    database: (database, { sort }) => onHintsAlone(database, sort === "dispatcher"),
  },
  "relay-on-hints-alone": {
    is: "a relay claims what it is told of, and its timer nothing",
    breaks: ["I1"],
    database: (database, { sort }) => onHintsAlone(database, sort === "relay"),
  },
  "death-in-company": {
    is: "a suspect answers also for the services that had other mail in hand when they died",
    breaks: ["fate", "I1"],
    database: (database) =>
      withMails(database, (mails) => ({
        claimSuspect: async (asked) => {
          const claimed = await mails.claimSuspect(asked);
          if (claimed === undefined) return undefined;
          const alone = ["in company", "in company"].map((died) => `${"0".repeat(32)} ${died}`);
          return { ...claimed, mail: { ...claimed.mail, alone } };
        },
      })),
  },
  "lease-without-end": {
    is: "a service that has claimed a mail holds it forever, by its own clock",
    breaks: ["I3", "I8"],
    database: (database) =>
      withMails(database, (mails) => ({
        claim: async (asked) =>
          (await mails.claim(asked)).map((one) => ({
            ...one,
            validUntilMs: Number.MAX_SAFE_INTEGER,
          })),
        renew: async (held, leaseMs) => ({
          ...(await mails.renew(held, leaseMs)),
          validUntilMs: Number.MAX_SAFE_INTEGER,
        }),
      })),
  },
  "failure-is-clean": {
    is: "a check that failed counts as clean",
    breaks: ["I2", "I4"],
    message: () => (frames) =>
      partsOf(frames).map((part) => {
        const { head } = part;
        const kind = (head["output"] as { kind?: string } | undefined)?.kind;
        const isFailed = kind === "failed" || kind === "unchecked";
        if (head["task"] !== "virus" || !isFailed) return messageOf(part);
        return messageOf({ ...part, head: { ...head, output: { kind: "clean" } } });
      }),
  },
  "unknown-is-sent": {
    is: "a transaction without a final reply counts as delivered",
    breaks: ["I1"],
    database: (database, process) =>
      process.sort !== "relay"
        ? database
        : withWrite(database, (write) => (holding, change) => {
            const { unknown, recipients } = change.set ?? {};
            const isUnknown = unknown?.resolveAt !== undefined && recipients !== undefined;
            return write(holding, isUnknown ? asSent(change, recipients) : change);
          }),
  },
  "split-before-children": {
    is: "the parent of a split is final before its children are durable",
    breaks: ["I1"],
    database: (database, process, { time }) =>
      withMails(database, (mails) => ({
        insert: (mail) => {
          if (mail.parentId === undefined) return mails.insert(mail);
          time.after(20, process, () => void mails.insert(mail).catch(ignored));
          return Promise.resolve("inserted");
        },
      })),
  },
  "bounce-without-report": {
    is: "a bounce is final before its report is durable",
    breaks: ["I1"],
    database: (database, process, { time }) =>
      withMails(database, (mails) => ({
        insert: (mail) => {
          if (mail.origin.via !== "dsn") return mails.insert(mail);
          time.after(20, process, () => void mails.insert(mail).catch(ignored));
          return Promise.resolve("inserted");
        },
      })),
  },
  "present-by-refusal": {
    is: "a refused insert is another's mail, and the body that was put for it is removed",
    breaks: ["I1"],
    driver: ({ set }) => ({
      onRefused: (process, collection, doc) => {
        if (collection !== "mails" || doc["parentId"] !== undefined) return;
        set.delete("bodies", { _id: (doc["body"] as { id: string }).id }, process);
      },
    }),
  },
  "every-sender-is-told": {
    is: "SPF passes for whatever is written into MAIL FROM",
    breaks: ["I12"],
    askDns: () => () => Promise.resolve([["v=spf1 +all"]]),
  },
  "no-stranger-is-told": {
    is: "SPF passes for nobody",
    breaks: ["I12"],
    askDns: () => () => Promise.resolve([["v=spf1 -all"]]),
  },
  "mark-before-read": {
    is: "a record says that it is adopted as soon as it is taken on",
    breaks: ["I1"],
    database: (database) =>
      withSources(database, (sources) => ({
        take: async (source, by) => {
          const taken = await sources.take(source, by);
          for (const { mail } of taken.stubs) await sources.mark(source, mail).catch(ignored);
          return taken;
        },
      })),
  },
  "unreachable-is-dropped": {
    is: "a record that cannot be read now is not tried again",
    breaks: ["I1"],
    database: (database) =>
      withSources(database, (sources) => ({
        read: (source, stub, rules) =>
          sources.read(source, stub, rules).catch(() => {
            const { set, ...gone } = recordGone(stub, { now: database.clock.now() });
            return { kind: "gone", change: { ...gone, set: { ...set, reason: "unreachable" } } };
          }),
      })),
  },
  "adopted-in-memory": {
    is: "a dispatcher goes on with a mail whose adoption it has not written",
    breaks: ["I1"],
    database: (database) =>
      withWrite(
        database,
        (write) => (holding, change) =>
          change.set?.["smtp"] === undefined || change.releaseLease === true
            ? write(holding, change)
            : Promise.resolve("written"),
      ),
  },
  "stub-for-two": {
    is: "a service that finds a record's stub there holds it too",
    breaks: ["I1", "I3"],
    database: (database, _process, { set }) =>
      withSources(database, (sources) => ({
        take: async (source, by) => {
          const before = new Set(set.local("mails").keys());
          const taken = await sources.take(source, by);
          const others = [...set.local("mails").values()].filter(
            ({ _id, next }) => before.has(_id) && next === adoptStep,
          );
          const found = others.map((doc) => {
            const mail = doc as unknown as MailRecord;
            const validUntilMs = Number.MAX_SAFE_INTEGER;
            const holding = new Holding(mail, mail.lease?.token ?? "");
            return { mail, holding, validUntilMs };
          });
          return { ...taken, stubs: [...taken.stubs, ...found] };
        },
      })),
  },
} satisfies Record<string, Bug>;

export type BugName = keyof typeof bugs;

const ignored = () => undefined;

function without(filter: Fields, field: string): Fields {
  const left = Object.entries(filter).filter(([name]) => name !== field);
  return Object.fromEntries(
    left.map(([name, value]) =>
      name === "$or" || name === "$and"
        ? [name, (value as Fields[]).map((each) => without(each, field))]
        : [name, value],
    ),
  );
}

function onHintsAlone(database: Database, isSo: boolean): Database {
  return isSo ? withMails(database, () => ({ dueFor: () => Promise.resolve([]) })) : database;
}

/** The mark before a transaction, not what is written after it. */
function isMark({ set }: MailChange): boolean {
  return set?.unknown !== undefined && set.unknown.resolveAt === undefined;
}

function asSent(change: MailChange, recipients: Recipient[]): MailChange {
  const set = {
    state: "sent",
    recipients: recipientsWith(recipients, "sent", new Date(0)),
  } as const;
  return merged(change, { set, unset: ["unknown", "next", "dueAt", "reason"] });
}

function withRelease(database: Database): Database {
  return withMails(database, (mails) => ({
    writeAs: async (mailId, guard, change) => {
      const isRelease = change.history?.some(({ event }) => event === "released");
      const mail = isRelease === true ? await mails.get(mailId) : undefined;
      const route = mail?.plan?.route;
      if (route === undefined) return mails.writeAs(mailId, guard, change);
      const set = { state: "ready", next: route.key, route } as const;
      return mails.writeAs(mailId, guard, merged(change, { set }));
    },
  }));
}
