import { decodeMessage, type IncomingPart } from "../bus/codec.ts";
import type { DropCause, DropCounter } from "../bus/drop-counter.ts";
import type { Mailbox } from "../bus/mailbox.ts";
import { bigFrameBytes } from "../bus/placement.ts";
import { parseTask } from "../bus/task-check.ts";
import { byeHeadSchema, cancelHeadSchema, heartbeatHeadSchema } from "../bus/wire.ts";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { TaskKind } from "../checks/verdict.ts";
import type { DispatcherLinks } from "./dispatcher-links.ts";
import { HeldTask } from "./held-task.ts";
import type { TaskRunner } from "./task-runner.ts";
import type { WorkerSession } from "./worker-session.ts";

export interface WorkerInboxDeps {
  kind: TaskKind;
  versions: readonly number[];
  links: DispatcherLinks;
  runner: TaskRunner;
  drops: DropCounter;
  clock: Clock;
  log: Logger;
  onBye: () => void;
}

/** What a worker does with each frame that comes into its mailbox (I9). */
export class WorkerInbox {
  readonly #deps: WorkerInboxDeps;

  readonly #announceBusy: (ms: number) => Promise<void>;

  constructor(deps: WorkerInboxDeps) {
    this.#deps = deps;
    this.#announceBusy = (ms) => deps.links.announceBusy(ms);
  }

  /** Reads until the mailbox is closed. */
  async read(mailbox: Mailbox): Promise<void> {
    const { drops, versions } = this.#deps;
    const dropped = (cause: DropCause) => drops.count(cause);
    const each = (part: IncomingPart) => {
      const cause = this.#receive(part);
      if (cause !== undefined) drops.count(cause);
    };
    for await (const frames of mailbox) decodeMessage(frames, versions, each, dropped);
  }

  /** Handles one head; what comes back is why it was dropped. */
  #receive({ head, body }: IncomingPart): DropCause | undefined {
    if (head["kind"] === "heartbeat") return this.#onHeartbeat(head);
    const session = this.#deps.links.ofSession(String(head["session"]))?.session;
    if (session === undefined || session.dispatcherId !== head["from"]) return "session";
    if (head["v"] !== session.version) return "version";
    session.heard(this.#deps.clock.monotonicMs());
    switch (head["kind"]) {
      case "task":
        return this.#onTask(session, head, body);
      case "cancel":
        return this.#onCancel(session, head);
      case "bye":
        return this.#onBye(session, head);
      default:
        return "kind";
    }
  }

  #onHeartbeat(head: Record<string, unknown>): DropCause | undefined {
    const heartbeat = heartbeatHeadSchema.safeParse(head);
    if (!heartbeat.success) return "schema";
    const { links, clock } = this.#deps;
    const { session: sessionId, link: nonce, from } = heartbeat.data;
    const session = links.ofSession(sessionId)?.session;
    const greeted = session === undefined ? links.greetedBy(nonce) : undefined;
    if (greeted !== undefined) greeted.open(heartbeat.data);
    else if (session?.dispatcherId === from) {
      session.heard(clock.monotonicMs());
      if (session.update(heartbeat.data)) links.regrantSoon();
    } else return "session";
    return undefined;
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

  #onBye(session: WorkerSession, head: Record<string, unknown>): DropCause | undefined {
    const bye = byeHeadSchema.safeParse(head);
    if (!bye.success) return "schema";
    this.#deps.links.ofSession(session.id)?.receiveBye(bye.data);
    this.#deps.onBye();
    return undefined;
  }
}
