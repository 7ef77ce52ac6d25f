import type { IncomingPart } from "../bus/codec.ts";
import type { DropCause } from "../bus/drop-counter.ts";
import { bigFrameBytes } from "../bus/placement.ts";
import { parseTask } from "../bus/task-check.ts";
import { cancelHeadSchema } from "../bus/wire.ts";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { TaskKind } from "../checks/verdict.ts";
import type { DispatcherLinks } from "./dispatcher-links.ts";
import { HeldTask } from "./held-task.ts";
import type { TaskRunner } from "./task-runner.ts";
import type { WorkerSession } from "./worker-session.ts";

export interface TaskReceiverDeps {
  kind: TaskKind;
  links: DispatcherLinks;
  runner: TaskRunner;
  clock: Clock;
  log: Logger;
}

/** What a worker does with each frame of an open session; what comes back is why it was dropped (I9). */
export class TaskReceiver {
  readonly #deps: TaskReceiverDeps;
  readonly #announceBusy: (ms: number) => Promise<void>;

  constructor(deps: TaskReceiverDeps) {
    this.#deps = deps;
    this.#announceBusy = (ms) => deps.links.announceBusy(ms);
  }

  receive(session: WorkerSession, { head, body }: IncomingPart): DropCause | undefined {
    switch (head["kind"]) {
      case "task":
        return this.#onTask(session, head, body);
      case "cancel":
        return this.#onCancel(session, head);
      default:
        return "kind";
    }
  }

  #onTask(
    session: WorkerSession,
    head: Record<string, unknown>,
    body: Buffer | undefined,
  ): DropCause | undefined {
    const { clock, kind, links, log, runner } = this.#deps;
    const nowMs = clock.monotonicMs();
    const task = parseTask(head);
    if (task?.task !== kind || (task.spool === undefined) !== (body?.length === task.size)) {
      session.passOver(head["sequence"]);
      return "schema";
    }
    const refused = session.refuse(task);
    if (refused !== undefined) return refused;
    if (!session.isBusy(nowMs)) links.regrantSoon();
    const held = new HeldTask({
      head: task,
      body,
      arrivedAtMs: nowMs,
      log,
      announceBusy: this.#announceBusy,
    });
    session.add(held, nowMs);
    runner.add(held);
    // Only one such frame may be on its way: say immediately that it has come.
    if ((task.bytes ?? 0) > bigFrameBytes) links.ofSession(session.id)?.beat();
    return undefined;
  }

  #onCancel(session: WorkerSession, head: Record<string, unknown>): DropCause | undefined {
    const cancel = cancelHeadSchema.safeParse(head);
    if (!cancel.success) return "schema";
    const task = session.find(cancel.data.taskId);
    if (task !== undefined) this.#deps.runner.cancel(task);
    return undefined;
  }
}
