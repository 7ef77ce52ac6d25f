import type { Logger } from "../logger.ts";
import { decodeMessage, type IncomingPart } from "./codec.ts";
import type { DropCause, DropCounter } from "./drop-counter.ts";
import type { Mailbox } from "./mailbox.ts";
import type { PoolSession } from "./pool-session.ts";
import type { PoolSessions } from "./pool-sessions.ts";
import type { Outstanding, TaskResult } from "./pool-task.ts";
import { parseResult } from "./result-check.ts";
import {
  byeHeadSchema,
  heartbeatHeadSchema,
  startedHeadSchema,
  type ResultHead,
  type SessionKind,
} from "./wire.ts";
import type { SessionSnapshot } from "./worker-snapshot.ts";

export interface PoolInboxDeps {
  sessions: PoolSessions;
  versions: readonly number[];
  drops: DropCounter;
  log: Logger;
  /** False once the pool drains. */
  takesWorkers: () => boolean;
  onResult: (result: TaskResult) => void;
  /** There may be more credit of this kind than before. */
  onCredit: (kind: SessionKind) => void;
  /** There may be less out than before. */
  onSettled: () => void;
}

/**
 * What a dispatcher does with each frame that comes into its result socket (I4, I9).
 *
 * A PULL does not tell who sent a frame. With keys this is still enough: a session's id is 128
 * random bits, and leaves this process only through the PUSH to the worker's mailbox, encrypted
 * to the key that the allow list has for this kind. A peer that names it in a frame holds that key's secret
 * half; what comes from elsewhere names no session and is dropped. The task ids (I4) come the same way.
 */
export class PoolInbox {
  readonly #deps: PoolInboxDeps;

  constructor(deps: PoolInboxDeps) {
    this.#deps = deps;
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
    const { sessions } = this.#deps;
    if (head["kind"] === "ready") {
      return this.#deps.takesWorkers() ? sessions.open(head) : undefined;
    }
    const session = sessions.get(String(head["session"]));
    if (session === undefined || head["from"] !== session.workerId) return "session";
    if (head["v"] !== session.version) return "version";
    switch (head["kind"]) {
      case "result":
        return this.#onResult(session, head, body);
      case "heartbeat":
        return this.#onHeartbeat(session, head);
      case "started":
        return this.#onStarted(session, head);
      case "bye":
        return this.#onBye(session, head);
      default:
        return "kind";
    }
  }

  #onHeartbeat(session: PoolSession, head: Record<string, unknown>): DropCause | undefined {
    const heartbeat = heartbeatHeadSchema.safeParse(head);
    if (!heartbeat.success) return "schema";
    const before = session.snapshot();
    session.heard();
    if (session.update(heartbeat.data)) this.#deps.onCredit(session.kind);
    this.#logChange(session, before, session.snapshot());
    this.#deps.onSettled();
    return undefined;
  }

  #logChange(session: PoolSession, before: SessionSnapshot, after: SessionSnapshot): void {
    const worker = { worker: session.workerId, task: session.kind, mailbox: after.mailbox };
    const { log } = this.#deps;
    if (session.kind === "relay") {
      const relay = { relay: session.workerId, mailbox: after.mailbox };
      if (before.state === "opening") log.info(relay, "relay is here");
      return;
    }
    if (before.state === "opening") log.info({ ...worker, ...after.grant }, "worker is here");
    if (after.unable !== undefined && after.unable !== before.unable) {
      log.warn({ ...worker, reason: after.unable }, "worker is unable");
    } else if (before.unable !== undefined && after.unable === undefined) {
      log.info(worker, "worker is able again");
    }
  }

  #onStarted(session: PoolSession, head: Record<string, unknown>): DropCause | undefined {
    const started = startedHeadSchema.safeParse(head);
    if (!started.success) return "schema";
    session.heard();
    if (session.markStarted(started.data.sequence)) this.#deps.onCredit(session.kind);
    return undefined;
  }

  #onResult(
    session: PoolSession,
    head: Record<string, unknown>,
    body: Buffer | undefined,
  ): DropCause | undefined {
    const out = session.task(String(head["taskId"]));
    if (out === undefined) return "task";
    const { task, kind } = out;
    const result = parseResult(head, body, {
      kind,
      mailId: task.mailId,
      sha256: task.sha256,
      settingsHash: task.settingsHash,
    });
    if (typeof result === "string") return result;
    session.heard();
    session.settle(out);
    this.#deps.onCredit(kind);
    this.#finish(session, out, result, body);
    this.#deps.onSettled();
    return out.givenUp && result.output.kind !== "failed" ? "late" : undefined;
  }

  #finish(
    session: PoolSession,
    out: Outstanding,
    head: ResultHead,
    bytes: Buffer | undefined,
  ): void {
    if (out.givenUp) return;
    if (head.output.kind === "failed") {
      const { code, detail } = head.output;
      session.lose(out, code === "BUS_DEADLINE" ? "deadline" : "failed", { code, detail });
      return;
    }
    this.#deps.onResult({
      taskId: out.taskId,
      workerId: session.workerId,
      kind: out.kind,
      task: out.task,
      head: head as TaskResult["head"],
      bytes,
      engine: head.engine ?? session.engine,
      sentAtMs: out.sentAtMs,
    });
  }

  #onBye(session: PoolSession, head: Record<string, unknown>): DropCause | undefined {
    const bye = byeHeadSchema.safeParse(head);
    if (!bye.success) return "schema";
    session.heard();
    if (bye.data.done) session.end("bye");
    else session.workerLeaves();
    return undefined;
  }
}
