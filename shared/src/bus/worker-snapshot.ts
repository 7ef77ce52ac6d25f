import type { Engine } from "../checks/finding.ts";
import type { TaskKind } from "../checks/verdict.ts";
import type { Credit, SessionKind } from "./wire.ts";

/** What `status` shows of a worker. */
export interface WorkerSnapshot extends SessionSnapshot {
  kind: TaskKind;
}

export interface SessionSnapshot {
  id: string;
  kind: SessionKind;
  mailbox: string;
  incarnation: string;
  /** `opening`: it said ready but has not yet heard from us. */
  state: "opening" | "open" | "silent" | "leaving";
  /** Why it takes nothing, in its own words. */
  unable: string | undefined;
  engine: Engine | undefined;
  spools: readonly string[];
  grant: Credit;
  free: Credit;
  outstanding: Credit;
  /** How many of these it is working on, as far as it has said. */
  started: number;
  heardAgoMs: number;
}
