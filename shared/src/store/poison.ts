import type { MailRecord } from "../mail/record.ts";

/**
 * Mail that kills the process which takes it, as pure rules. Nobody sees such a death; what is left
 * of it is a claim without an end.
 * 1. A claim counts as `unended` from its start until its holder gives the lease up. A mail with
 *    three of them in a row is a suspect: of 500 mails that a killed dispatcher held each has one.
 * 2. A suspect is claimed alone (alone-lane.ts), and that is written down with the claim. The holder
 *    takes the note back in any case, late if necessary, when its time alone is over.
 * 3. So a note that stays is of a holder that ended while it had started nothing else. With two of
 *    them a mail is a dead letter; whatever a holder ends properly clears it.
 */
export const unendedBeforeAlone = 3;
export const deathsAlone = 2;

/** What is written with a claim made alone, and taken back by its holder. */
export function aloneNote(token: string, owner: string): string {
  return `${token} ${owner}`;
}

/** Why this mail, which was claimed by `token`, must not be begun again; undefined: it may. */
export function whyPoison({ alone = [], unended = 0 }: MailRecord, token: string) {
  const ended = alone.filter((note) => !note.startsWith(token)).map((note) => note.slice(33));
  if (ended.length < deathsAlone) return undefined;
  const before = Math.max(0, unended - 1 - ended.length);
  return `services ended over it: ${String(before)} had it among others, then alone ${ended.join(", ")}`;
}
