import { randomBytes } from "node:crypto";

/**
 * How a mail of a flood is recognized: at the next hop by a header field, in the database by its
 * SMTP sender, which differs for each mail.
 */

/** Its value is `RUN.NUMBER`. */
export const idField = "X-Flood-Id";

/** Distinguishes this run's mails from those of any other. */
export function newRun(): string {
  return randomBytes(4).toString("hex");
}

export function idOf(run: string, number: number): string {
  return `${run}.${number}`;
}

export function senderOf(run: string, number: number, domain: string): string {
  return `flood.${idOf(run, number)}@${domain}`;
}

/** The number in an SMTP sender of this run. */
export function numberOfSender(address: string, run: string): number | undefined {
  const [, of, number] = /^flood\.([0-9a-f]{8})\.(\d{1,9})@/.exec(address) ?? [];
  return of === run ? Number(number) : undefined;
}

const field = /^X-Flood-Id: ([0-9a-f]{8})\.(\d{1,9})\r?$/im;

/** The number in a mail's header, if the mail belongs to this run. */
export function numberInHeader(header: string, run: string): number | undefined {
  const [, of, number] = field.exec(header) ?? [];
  return of === run ? Number(number) : undefined;
}
