import { z } from "zod";
import type { OutgoingHead } from "../bus/codec.ts";
import { enrichOutputSchema, failureSchema, type TaskHead } from "../bus/wire.ts";
import type { Engine } from "../checks/finding.ts";
import { checkOf, type TaskKind } from "../checks/verdict.ts";
import type { HeldTask } from "./held-task.ts";
import type { Answer } from "./task-runner.ts";

function schemaFor(kind: TaskKind, output: Answer["output"]) {
  if (output.kind === "failed") return failureSchema;
  return kind === "enrich" ? enrichOutputSchema : checkOf(kind).finding;
}

/** A result head and the frame that goes with it. */
export interface BuiltResult {
  head: OutgoingHead;
  body: Buffer | undefined;
  /** Set when the handler's output was not what the wire allows; a `failed` result took its place. */
  invalid?: string;
}

/** What a worker adds to every result. */
export interface ResultSender {
  workerId: string;
  version: number;
  /** The engine that was last reported to the dispatcher. */
  announced: Engine | undefined;
  /** What the canaries found the engine blind to; an answer's own word comes first. */
  blind: readonly string[] | undefined;
  nowMs: number;
}

/**
 * The result frame of a task. An output that the dispatcher would have to drop is replaced here, where
 * its cause can be named.
 */
export function buildResult(task: HeldTask, answer: Answer, self: ResultSender): BuiltResult {
  const invalid = whatIsWrong(task.head.task, answer);
  if (invalid !== undefined) {
    const detail = `the handler's output is not on the wire: ${invalid}`.slice(0, 1_000);
    const output = { kind: "failed" as const, code: "WORKER_HANDLER_FAILED", detail };
    return { ...build(task, { output }, self), invalid };
  }
  return build(task, answer, self);
}

function build(task: HeldTask, answer: Answer, self: ResultSender): BuiltResult {
  const asked: TaskHead = task.head;
  const beganAtMs = task.beganAtMs ?? self.nowMs;
  const body = "bytes" in answer ? answer.bytes : undefined;
  const engine = "engine" in answer && answer.engine !== self.announced ? answer.engine : undefined;
  const blind = "blind" in answer ? answer.blind : self.blind;
  const head: Record<string, unknown> = {
    v: self.version,
    from: self.workerId,
    kind: "result",
    session: task.sessionId,
    taskId: asked.taskId,
    mailId: asked.mailId,
    sha256: asked.sha256,
    settingsHash: asked.settingsHash,
    task: asked.task,
    queueMs: beganAtMs - task.arrivedAtMs,
    workMs: Math.max(0, self.nowMs - beganAtMs),
    output: answer.output,
  };
  if (body !== undefined) head["bytes"] = body.length;
  if (engine !== undefined) head["engine"] = engine;
  if ("strikes" in answer) head["strikes"] = answer.strikes;
  if (blind !== undefined && blind.length > 0) head["blind"] = blind;
  return { head, body };
}

function whatIsWrong(kind: TaskKind, answer: Answer): string | undefined {
  const { output } = answer;
  if (output.kind === "clean" && kind === "virus") return undefined;
  const parsed = schemaFor(kind, output).safeParse(output);
  if (!parsed.success) return z.prettifyError(parsed.error);
  const hasBody = "bytes" in answer;
  if (hasBody === (output.kind === "enriched")) return undefined;
  return hasBody ? `bytes beside ${output.kind}` : "enriched without bytes";
}
