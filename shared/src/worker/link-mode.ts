import type { Entries } from "../mode.ts";

/**
 * Where a worker's link to a dispatcher stands. `connecting`: no connection to the result socket.
 * `greeting`: `ready` is out. `open`: a session is on. `leaving`: the same, and we have said bye.
 * `parted`: the dispatcher has. `refused`: one of the two does not want the other's key, or none is
 * listed. `duplicate`: another link leads to the same dispatcher.
 */
export type LinkMode =
  "connecting" | "refused" | "greeting" | "open" | "leaving" | "parted" | "duplicate" | "closed";

const notLeaving = ["connecting", "refused", "greeting", "open", "parted", "duplicate"] as const;
export const linkModes: Entries<LinkMode> = {
  connecting: notLeaving,
  refused: notLeaving,
  greeting: ["connecting", "parted"],
  open: ["greeting"],
  leaving: ["open", "leaving"],
  parted: notLeaving,
  duplicate: notLeaving,
  closed: [...notLeaving, "leaving"],
};
