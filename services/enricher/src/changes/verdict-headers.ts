import type { EnrichTask } from "@rs-agent/shared/bus/wire.ts";
import { foldField } from "@rs-agent/shared/mail/header-block.ts";
import type { Engine } from "@rs-agent/shared/checks/finding.ts";
import type { SpamFinding } from "@rs-agent/shared/checks/spam.ts";
import type { SpamVerdict, VirusVerdict } from "@rs-agent/shared/checks/verdict.ts";
import type { ApplyChange } from "./change.ts";

type Field = readonly [name: string, value: string];
type Scored = Exclude<SpamFinding, { kind: "unchecked" }>;

/** Tells the reader, and the filters behind us, what the checks found. */
export const addVerdictHeaders: ApplyChange<"verdict-headers"> = (mail, _change, { task }) => {
  const fields = verdictFields(task).map(([name, value]) => foldField(name, value, ","));
  mail.header.prepend(...fields);
  return undefined;
};

/**
 * The fields in their order. A check that policy has off leaves no field; one that was asked for
 * and gave no verdict is marked `Unchecked`, never as clean (I2).
 */
export function verdictFields(task: EnrichTask): Field[] {
  const { virus, spam } = task.verdicts;
  return [
    ["X-RadicalSpam", task.mailId],
    ...(virus === undefined ? [] : virusFields(virus)),
    ...(spam === undefined ? [] : spamFields(spam, task.settings.spamThreshold)),
  ];
}

function virusFields({ finding, engine, blind }: VirusVerdict): Field[] {
  if (finding.kind === "unchecked") return [["X-Virus-Status", `Unchecked (${finding.reason})`]];
  const status =
    finding.kind === "infected"
      ? `Infected (${finding.names.map(virusName).join(", ")})`
      : blind === undefined || blind.length === 0
        ? "Clean"
        : `Clean (blind: ${blind.map(plain).join(", ")})`;
  const scanned: Field[] = engine === undefined ? [] : [["X-Virus-Scanned", engineText(engine)]];
  return [...scanned, ["X-Virus-Status", status]];
}

/**
 * A signature's author chose it: what is no ASCII stays, as encoded words, and what would steer a
 * reader's terminal, end the comment or pose as an encoded word does not.
 */
function virusName(name: string): string {
  const text = name
    .replace(/[\p{C}\p{Z}]+/gu, " ")
    .replace(/[(),\\]/g, "_")
    .replaceAll("=?", "=_")
    .trim();
  return text === "" ? "unnamed" : text;
}

/** `clamd 1.4.3 (signatures 27500 of 2026-06-01)`. */
function engineText({ name, version, signatureVersion, signatureAt }: Engine): string {
  const engine = `${plain(name)} ${plain(version)}`;
  if (signatureVersion === undefined) return engine;
  const date = signatureAt === undefined ? "" : ` of ${signatureAt.toISOString().slice(0, 10)}`;
  return `${engine} (signatures ${plain(signatureVersion)}${date})`;
}

/** SpamAssassin's own fields (Mail::SpamAssassin::Conf, `add_header`), so that filters read them. */
function spamFields({ finding, engine }: SpamVerdict, threshold: number): Field[] {
  if (finding.kind === "unchecked") return [["X-Spam-Status", `Unchecked (${finding.reason})`]];
  const isSpam = finding.score >= threshold;
  const stars = "*".repeat(Math.min(Math.max(Math.floor(finding.score), 0), maxStars));
  return [
    ...(isSpam ? [["X-Spam-Flag", "YES"] as const] : []),
    ["X-Spam-Status", spamStatus(finding, isSpam, threshold, engine)],
    ["X-Spam-Score", shownScore(finding.score, threshold)],
    ...(stars === "" ? [] : [["X-Spam-Level", stars] as const]),
  ];
}

const maxStars = 50;

function spamStatus(finding: Scored, isSpam: boolean, threshold: number, engine?: Engine): string {
  const names = finding.rules.map(({ name }) => plain(name)).sort();
  const tests = names.length === 0 ? "none" : names.join(",");
  const version = engine === undefined ? "" : ` version=${plain(engine.version)}`;
  const score = `score=${shownScore(finding.score, threshold)} required=${threshold.toFixed(1)}`;
  return `${isSpam ? "Yes" : "No"}, ${score} tests=${tests} autolearn=unavailable${version}`;
}

/** One decimal; as SpamAssassin does it, never rounded up to a threshold that was not reached. */
function shownScore(score: number, threshold: number): string {
  const rounded = score.toFixed(1);
  const misleads = score < threshold && Number(rounded) >= threshold;
  return misleads ? (Math.floor(score * 10) / 10).toFixed(1) : rounded;
}

/** What an engine said, without what would end a comment or a list. */
function plain(text: string): string {
  return text
    .replace(/[^\x21-\x7e]+/g, " ")
    .replace(/[(),\\]/g, "_")
    .trim();
}
