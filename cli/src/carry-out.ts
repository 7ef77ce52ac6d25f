import { newToken } from "@rs-agent/shared/ids.ts";
import { takenInHand } from "@rs-agent/shared/life/interventions.ts";
import { sendDsn } from "@rs-agent/shared/life/report.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { Holding } from "@rs-agent/shared/store/holding.ts";
import type { Actor, Intervention } from "./interventions.ts";

/** How long the mail is leased to us while its report is made; the lease runs out if we die. */
const leaseMs = 60_000;

/**
 * Writes what an intervention made of a mail, if it is still the record that was read, its state
 * allows it, and no service holds it. A report is stored durably first; meanwhile nobody else can
 * decide otherwise, because the mail is leased to the person (I3).
 * @returns `refused` if the mail is leased to another or has changed
 */
export async function carryOut(
  database: Pick<Database, "mails" | "bodies" | "clock">,
  mail: MailRecord,
  { states, change, report }: Intervention,
  actor: Actor,
  reportingMta: string,
): Promise<"written" | "refused"> {
  const { mails, bodies, clock } = database;
  const guard = { states, unleased: true, seen: mail };
  if (report === undefined) return mails.writeAs(mail._id, guard, change);
  const token = newToken();
  const until = new Date(clock.now().getTime() + leaseMs);
  const lease = { owner: actor.by, token, until };
  if ((await mails.writeAs(mail._id, guard, takenInHand(mail, { lease }))) === "refused")
    return "refused";
  const original = await bodies.get(mail.body);
  const reason = "the next mail server has not delivered it";
  await sendDsn(database, {
    ...{ mail, ...report, reason, original, reportingMta },
    now: actor.now,
  });
  // The person's own claim was one more write.
  const holding = new Holding({ ...mail, rev: (mail.rev ?? 0) + 1 }, token);
  const written = await mails.write(holding, { ...change, releaseLease: true });
  return written === "written" ? "written" : "refused";
}
