import { harmfulMails } from "./harmful-mails.ts";
import { oddMails } from "./odd-mails.ts";
import { ordinaryMails } from "./ordinary-mails.ts";
import type { Sample } from "./sample.ts";

export { people, sampleClients, type Sample } from "./sample.ts";

/**
 * The sample mails, written by us, with what the sample policy (policy.yaml) makes of each. They
 * are the same each time, except for Date and Message-ID, which are made from `now`. No file holds
 * the test string of EICAR or GTUBE: the mails are built when they are asked for.
 */
export function samples(now: Date = new Date()): Sample[] {
  return [...ordinaryMails(now), ...harmfulMails(now), ...oddMails(now)];
}
