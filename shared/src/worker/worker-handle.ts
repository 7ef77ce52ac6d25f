import type { DropCounts } from "../bus/drop-counter.ts";
import type { Credit } from "../bus/wire.ts";
import type { ServiceHandle } from "../lifecycle.ts";
import type { Ability } from "./handler.ts";
import type { LinkMode } from "./link-mode.ts";

/** What `/readyz` and a log line tell of a worker. */
export interface WorkerState {
  /** Undefined: the first canaries are not back yet. */
  ability: Ability | undefined;
  /** Why it takes no tasks, were it not for a drain; undefined: it does. */
  unable: string | undefined;
  dispatchers: { endpoint: string; mode: LinkMode; mailbox: string; grant: Credit }[];
}

export interface WorkerHandle extends ServiceHandle {
  /** The bound mailbox with its real port. */
  readonly mailbox: string;
  state(): WorkerState;
  /** Frames dropped since the start, by cause. */
  dropped(): DropCounts;
  /** Peers that the mailbox refused since the start; each attempt counts. */
  refused(): number;
}
