import { checkOf, type TaskKind } from "../../checks/verdict.ts";
import { newToken, sha256Hex } from "../../ids.ts";
import { settingsHashOf } from "../../mail/task-settings.ts";
import { encodeMessages } from "../codec.ts";
import { heartbeatHeadSchema } from "../wire.ts";
import type { BareDispatcher } from "./bare-dispatcher.ts";

/** A task of the contract suite, as it went out. */
export interface Sent {
  taskId: string;
  sequence: number;
  head: Record<string, unknown>;
  frames: Buffer[];
}

/** The next task of this dispatcher, or with other fields than that has. */
export function buildTask(
  dispatcher: BareDispatcher,
  mail: Buffer,
  options: { patienceMs: number; settings: Record<string, unknown> | undefined },
  fields: Record<string, unknown> = {},
): Sent {
  const { ready, session, sequence } = dispatcher;
  const task = ready?.task === "relay" ? undefined : ready?.task;
  const { patienceMs, settings = plainSettings(task) } = options;
  const taskId = newToken();
  const head = {
    ...{ v: 1, from: "contract-1", kind: "task", session, taskId, sequence, attempt: 1 },
    mailId: newToken().slice(0, 20),
    ...{ sha256: sha256Hex(mail), size: mail.length, bytes: mail.length },
    ...{ task, settings, settingsHash: settingsHashOf(settings) },
    ...(task === "enrich" && { verdicts: {} }),
    deadlineMs: patienceMs,
    smtp: {
      mailFrom: "contract@example.org",
      rcptTo: ["someone@example.net"],
      client: { address: "192.0.2.1", name: "", helo: "contract" },
    },
    ...fields,
  };
  const [frames = []] = encodeMessages([{ head: head, body: mail }]);
  return { taskId, sequence, head, frames };
}

/** What a task of this kind says at least, or by default. */
function plainSettings(task: TaskKind | undefined): object {
  if (task === undefined) return {};
  if (task === "enrich") return { changes: [], spamThreshold: 5 };
  const check = checkOf(task);
  return check.settingsOf(check.builtIn);
}

/** The newest heartbeat, where it grants something. */
export function granting(dispatcher: BareDispatcher): Record<string, unknown> | undefined {
  const parsed = heartbeatHeadSchema.safeParse(dispatcher.all("heartbeat").at(-1)?.head);
  if (!parsed.success || (parsed.data.credit?.tasks ?? 0) < 1) return undefined;
  return parsed.data;
}

/** The newest heartbeat, where it says that the dispatcher has the worker to itself. */
export function soleIn(dispatcher: BareDispatcher): Record<string, unknown> | undefined {
  const last = dispatcher.all("heartbeat").at(-1)?.head;
  return last?.["sole"] === true ? last : undefined;
}
