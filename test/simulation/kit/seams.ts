import type { Database } from "@rs-agent/shared/store/database.ts";
import { messageOf, partsOf } from "./bus/forger.ts";
import type { BusNetwork } from "./bus/network.ts";

/** Where a mistake can be put between two parts of the product. */

export type Write = Database["mails"]["write"];

export function withMails(
  database: Database,
  change: (mails: Database["mails"]) => Partial<Database["mails"]>,
): Database {
  const mails = Object.create(database.mails) as Database["mails"];
  return { ...database, mails: Object.assign(mails, change(database.mails)) };
}

export function withSources(
  database: Database,
  change: (sources: Database["sources"]) => Partial<Database["sources"]>,
): Database {
  return { ...database, sources: { ...database.sources, ...change(database.sources) } };
}

export function withWrite(database: Database, change: (write: Write) => Write): Database {
  return withMails(database, (mails) => ({ write: change(mails.write.bind(mails)) }));
}

/** Gives every result the id of the task that is out now for its mail and kind. */
export function acceptByMail(): BusNetwork["onMessage"] {
  const out = new Map<string, { taskId: unknown; session: unknown; worker: string }>();
  return (frames, from, to) => {
    if (from.sort !== "dispatcher" && to.sort !== "dispatcher") return [frames];
    return partsOf(frames).map((part) => {
      const { head } = part;
      const dispatcher = head["kind"] === "task" ? from : to;
      const name = `${dispatcher.name} ${String(head["mailId"])} ${String(head["task"])}`;
      if (head["kind"] === "task") {
        const { taskId, session } = head;
        out.set(name, { taskId, session, worker: to.name });
      }
      const task = head["kind"] === "result" ? out.get(name) : undefined;
      if (task === undefined) return messageOf(part);
      const { taskId, session, worker } = task;
      return messageOf({ ...part, head: { ...head, taskId, session, from: worker } });
    });
  };
}
