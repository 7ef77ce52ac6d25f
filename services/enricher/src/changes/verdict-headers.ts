import type { EnrichTask } from "@rs-agent/shared/bus/wire.ts";
import type { HeaderField } from "@rs-agent/shared/checks/check.ts";
import {
  answeredIn,
  checkOf,
  type CheckKind,
  type Verdict,
} from "@rs-agent/shared/checks/verdict.ts";
import { foldField } from "@rs-agent/shared/mail/header-block.ts";
import type { ApplyChange } from "./change.ts";

/** Tells the reader, and the filters after us, what the checks found. */
export const addVerdictHeaders: ApplyChange<"verdict-headers"> = (mail, _change, { task }) => {
  const fields = verdictFields(task).map(([name, value]) => foldField(name, value, ","));
  mail.header.prepend(...fields);
  return undefined;
};

/**
 * The fields in their order. A check that policy turned off leaves no field; one that was asked for
 * and gave no verdict is marked `Unchecked`, never as clean (I2).
 */
export function verdictFields({ mailId, verdicts, settings }: EnrichTask): HeaderField[] {
  const asked = { threshold: settings.spamThreshold };
  return [
    ["X-RadicalSpam", mailId],
    ...answeredIn(verdicts).flatMap((name) => fieldsOf(name, verdicts[name], asked)),
  ];
}

function fieldsOf(name: CheckKind, verdict: Verdict | undefined, asked: object): HeaderField[] {
  if (verdict === undefined) return [];
  const { finding, engine, blind } = verdict;
  const check = checkOf(name);
  if (finding.kind === "unchecked") return [check.uncheckedField(finding.reason)];
  return check.headerFields({ finding, engine, blind }, asked);
}
