import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { explain } from "./explain.ts";
import { readSystem, type SeenSystem } from "./seen-system.ts";
import { mailById } from "./session.ts";

/** All that `explain` needs. */
interface Story {
  mail: MailRecord;
  /** The parts into which it was split. */
  children: MailRecord[];
  /** Our own reports on it. */
  reports: MailRecord[];
  now: Date;
  system: SeenSystem;
}

export async function readStory(database: Database, id: string): Promise<Story> {
  const mail = await mailById(database, id);
  const [children, reports, system] = await Promise.all([
    mail.state === "split" ? database.mails.children(id) : [],
    reportsOn(database, mail),
    readSystem(database),
  ]);
  return { mail, children, reports, now: database.clock.now(), system };
}

export function explainStory({ mail, children, reports, now, system }: Story): string {
  return explain(mail, [...children, ...reports], now, system);
}

/** The reports that told the sender of failed recipients. */
async function reportsOn({ mails }: Database, mail: MailRecord): Promise<MailRecord[]> {
  const { _id: id, recipients, receivedAt: since } = mail;
  const to = mail.smtp.mailFrom;
  if (to === "" || !recipients.some(({ outcome }) => outcome === "bounced")) return [];
  const found = await mails.find({ from: "", to, since, limit: 1_000 });
  return found.filter(({ origin }) => origin.via === "dsn" && origin.name === id);
}
