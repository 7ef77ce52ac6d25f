import { envelopeAddress } from "../mail/envelope-address.ts";
import type { Direction, PolicyBook } from "./effective.ts";

/** What every door says about a recipient: the address that is accepted, or why it is not. */
export type JudgedRecipient =
  | { kind: "accepted"; address: string }
  | { kind: "refused"; why: "bad-address" | "not-ascii" | "relaying-denied" };

/** The one rule for all doors. The direction is that of the mail, whatever the mail itself says. */
export function judgeRecipient(
  book: Pick<PolicyBook, "acceptsRecipient">,
  given: string,
  direction: Direction,
): JudgedRecipient {
  const read = isBarePostmaster(given) ? { address: given } : envelopeAddress(given);
  if ("problem" in read)
    return { kind: "refused", why: read.problem === "bad" ? "bad-address" : read.problem };
  const { address } = read;
  return book.acceptsRecipient(address, direction)
    ? { kind: "accepted", address }
    : { kind: "refused", why: "relaying-denied" };
}

/** RFC 5321 §4.5.1: postmaster without a domain is always ours. */
function isBarePostmaster(address: string): boolean {
  return address.toLowerCase() === "postmaster";
}
