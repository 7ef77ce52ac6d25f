import type { TaskToPlace, WorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { HeldMail } from "./held-mail.ts";
import type { Spool } from "./spool.ts";

/** By path to a worker that sees the spool, else as bytes. */
export function placed(
  pool: WorkerPool,
  spool: Spool | undefined,
  mail: HeldMail,
  kind: TaskKind,
  task: TaskToPlace,
) {
  if (spool !== undefined && mail.spoolPath !== undefined) {
    const byPath = pool.place(kind, task, { spool: { id: spool.id, path: mail.spoolPath } });
    if (byPath !== undefined) return byPath;
  }
  return mail.raw === undefined ? undefined : pool.place(kind, task, mail.raw);
}

/** Whether a worker that the mail waits for could read it there. */
export function isSeen(pool: WorkerPool, spool: Spool, { asked }: HeldMail): boolean {
  return pool.workers().some(({ kind, spools }) => asked.has(kind) && spools.includes(spool.id));
}

/** A spool that cannot be written (a full disk) costs nothing but speed: the mail goes over the bus. */
export async function toSpool(
  spool: Spool,
  mail: HeldMail,
  raw: Buffer,
  log: Logger,
): Promise<void> {
  try {
    const path = await spool.put(mail, raw);
    if (mail.over) await spool.remove(path);
    else mail.spoolPath = path;
  } catch (error) {
    log.warn(
      { mailId: mail.mail._id, err: error },
      "spool not written, the mail goes over the bus",
    );
  }
}

/** Nobody reads it any more. */
export async function fromSpool(spool: Spool, mail: HeldMail, log: Logger): Promise<void> {
  if (mail.spoolPath === undefined) return;
  await spool.remove(mail.spoolPath).catch((error: unknown) => {
    log.warn({ mailId: mail.mail._id, err: error }, "spool not cleared, the timer does it");
  });
}

/** Removes the files of mail that nobody holds any more. */
export async function sweepSpool(
  spool: Spool,
  { mails, clock }: Pick<Database, "mails" | "clock">,
): Promise<void> {
  await spool.sweep(async (mailId, token) => {
    const mail = await mails.get(mailId);
    return mail?.lease?.token === token && mail.lease.until > clock.now();
  });
}
