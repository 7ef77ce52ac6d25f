import type { EnrichOutput, EnrichTask } from "@rs-agent/shared/bus/wire.ts";
import { readHeaderBlock } from "@rs-agent/shared/mail/header-block.ts";
import type { Change, ChangeKind } from "@rs-agent/shared/mail/task-settings.ts";
import {
  neverAble,
  unable,
  type ApplyChange,
  type ChangeContext,
  type MailUnderChange,
  type Unable,
} from "./changes/change.ts";
import { leavingFrom } from "./changes/leaving-from.ts";
import { changes } from "./changes/table.ts";
import { outputOf } from "./output.ts";

/** What enrichment needs besides the task. */
export interface EnrichDeps extends Omit<ChangeContext, "task" | "signal"> {
  /**
   * In bytes. A mail with a longer header is held; no door accepts one, so none should get here.
   */
  readonly maxHeaderBytes: number;
}

/**
 * Makes all changes that the task asks for to a canonical raw mail, in the task's order.
 *
 * 1. Nothing follows the signature (I5).
 * 2. A mail whose policy demands a change that cannot be made is `unable`, never enriched without
 *    it (I10).
 */
export async function enrich(
  raw: Buffer,
  task: EnrichTask,
  deps: EnrichDeps,
  signal: AbortSignal,
): Promise<{ output: EnrichOutput; bytes?: Buffer }> {
  const wrong = wrongOrder(task.settings.changes) ?? tooLargeHeader(raw, deps.maxHeaderBytes);
  if (wrong !== undefined) return { output: wrong };
  const header = readHeaderBlock(raw);
  const rest = raw.subarray(header.restOffset);
  const mail: MailUnderChange = { header, rest, bodyChanged: false, notes: [] };
  for (const change of task.settings.changes) {
    signal.throwIfAborted();
    const failure = await apply(change.kind, mail, change, { ...deps, task, signal });
    if (failure !== undefined) return { output: failure };
  }
  if (task.settings.noKey === true) mail.notes.push(`not signed: ${whyNoKey(mail)}`);
  return outputOf(mail, raw, signal);
}

/** The table's entry and the change are of one kind, which TypeScript cannot see by itself. */
function apply<K extends ChangeKind>(
  kind: K,
  mail: MailUnderChange,
  change: Change,
  context: ChangeContext,
): ReturnType<ApplyChange<K>> {
  return changes[kind](mail, change as Extract<Change, { kind: K }>, context);
}

function whyNoKey({ header }: MailUnderChange): string {
  const from = leavingFrom(header);
  if ("why" in from) return from.why;
  return `the tenant has no key for ${from.domain}, the domain of the From that leaves`;
}

/** A loaded plan has its one signature last; what comes from the bus is checked again. */
function wrongOrder(asked: readonly Change[]): Unable | undefined {
  const signAt = asked.findIndex(({ kind }) => kind === "sign");
  if (signAt < 0 || signAt === asked.length - 1) return undefined;
  const next = asked[signAt + 1] as Change;
  return unable(`the policy asks for ${next.kind} after the signature, which nothing may follow`);
}

/** Finds the header's size before any of its fields is read. */
function tooLargeHeader(raw: Buffer, maxHeaderBytes: number): Unable | undefined {
  if (raw.length <= maxHeaderBytes) return undefined;
  const start = raw.subarray(0, maxHeaderBytes + 4);
  const isClosed = start.indexOf("\r\n\r\n") >= 0 || start.indexOf("\r\n") === 0;
  return isClosed
    ? undefined
    : neverAble(`the mail's header has more than ${maxHeaderBytes} bytes`);
}
