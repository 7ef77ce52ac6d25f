import { newToken } from "@rs-agent/shared/ids.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { unchecked, type Engine } from "@rs-agent/shared/checks/finding.ts";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import type { EngineState } from "@rs-agent/shared/engines/engine-client.ts";
import { canaryKinds, canaryMail, type CanaryKind } from "./canary-mails.ts";
import { version } from "./clamd/command.ts";
import type { CheckClamd } from "./clamd/engine.ts";
import { findingOf, nameOf } from "./clamd/replies.ts";
import { ClamdSession } from "./clamd/session.ts";

/** What AV_ALLOW_BLIND lets clamd call clean unseen. */
export const blindKinds = ["encrypted", "limit"] as const;
export type BlindKind = (typeof blindKinds)[number];

export interface CanaryRules {
  allowBlind: readonly BlindKind[];
  /** Signatures older than this make the clamd unable; absent: their age does not matter. */
  maxSignatureAgeMs?: number;
  now: () => Date;
}

interface BlindCanary {
  canary: CanaryKind;
  kind: BlindKind;
  /** What clamd calls OK without looking, and the line of clamd.conf that cures it. */
  what: string;
  line: string;
}

const blindCanaries: readonly BlindCanary[] = [
  {
    canary: "encrypted",
    kind: "encrypted",
    what: "an encrypted zip",
    line: "AlertEncryptedArchive yes",
  },
  {
    canary: "encrypted-pdf",
    kind: "encrypted",
    what: "an encrypted PDF",
    line: "AlertEncryptedDoc yes",
  },
  {
    canary: "limit",
    kind: "limit",
    what: "a zip nested past MaxRecursion",
    line: "AlertExceedsMax yes",
  },
];

/** Lines that clamd.conf(5) must have, or no worker takes mail with that clamd. */
export const demandedLines: readonly string[] = blindCanaries.map(({ line }) => line);

/** One sentence that names all that is missing, so that it is corrected in one go. */
function cureFor(unseen: readonly BlindCanary[]): string {
  const kinds = blindKinds.filter((kind) => unseen.some((one) => one.kind === kind)).join(",");
  const whats = unseen.map(({ what }) => what).join(" and ");
  const lines = unseen.map(({ line }) => line).join(" and ");
  return `clamd answers OK to ${whats}: set ${lines} in clamd.conf (or AV_ALLOW_BLIND=${kinds})`;
}

/**
 * Whether a clamd with these answers can be relied on: it finds EICAR in an attachment, calls a
 * clean mail clean, and says where it cannot look. Pure.
 */
export function judgeCanaries(
  findings: Record<CanaryKind, VirusFinding>,
  engine: Engine,
  rules: CanaryRules,
): EngineState {
  const { clean, eicar } = findings;
  if (clean.kind !== "clean") return unable(`the clean canary came back ${describe(clean)}`);
  if (eicar.kind !== "infected") {
    return unable(
      `EICAR in an attachment came back ${describe(eicar)}: no signatures, or ScanMail no?`,
    );
  }
  const unseen: BlindCanary[] = [];
  for (const one of blindCanaries) {
    const finding = findings[one.canary];
    if (sees(finding, one.kind)) continue;
    if (finding.kind !== "clean")
      return unable(`the canary "${one.canary}" came back ${describe(finding)}`);
    unseen.push(one);
  }
  const notAllowed = unseen.filter(({ kind }) => !rules.allowBlind.includes(kind));
  if (notAllowed.length > 0) return unable(cureFor(notAllowed));
  const blind = blindKinds.filter((kind) => unseen.some((one) => one.kind === kind));
  const stale = staleness(engine, rules);
  return stale === undefined ? { kind: "able", engine, blind } : unable(stale);
}

/** A virus name for an archive that could not be opened will do as well: it is no `OK`. */
function sees(finding: VirusFinding, kind: BlindKind): boolean {
  return finding.kind === "infected" || (finding.kind === "unchecked" && finding.reason === kind);
}

function staleness(engine: Engine, { maxSignatureAgeMs, now }: CanaryRules): string | undefined {
  if (maxSignatureAgeMs === undefined) return undefined;
  const { signatureAt } = engine;
  if (signatureAt === undefined) return "clamd does not say how old its signatures are";
  const ageMs = now().getTime() - signatureAt.getTime();
  if (ageMs <= maxSignatureAgeMs) return undefined;
  return `clamd's signatures are of ${signatureAt.toISOString()}: older than AV_MAX_SIGNATURE_AGE_HOURS`;
}

function describe(finding: VirusFinding): string {
  if (finding.kind === "infected") return `infected (${finding.names.join(", ")})`;
  if (finding.kind === "clean") return "clean";
  return finding.detail === undefined ? finding.reason : `${finding.reason} (${finding.detail})`;
}

function unable(reason: string): EngineState {
  return { kind: "unable", reason: reason.slice(0, 500) };
}

/** What a pool demands of clamd: VERSION and the canaries, with new bytes each time. */
export function createCanaryCheck(rules: CanaryRules): CheckClamd {
  return async (address, signal) => {
    try {
      const { engine } = await version(address, signal);
      return judgeCanaries(await scanCanaries(address, signal), engine, rules);
    } catch (error) {
      return unable(messageOf(error));
    }
  };
}

async function scanCanaries(
  address: EngineAddress,
  signal: AbortSignal,
): Promise<Record<CanaryKind, VirusFinding>> {
  const nonce = newToken();
  const session = new ClamdSession(address);
  const scan = async (kind: CanaryKind): Promise<[CanaryKind, VirusFinding]> => {
    const input = { kind: "bytes" as const, bytes: canaryMail(kind, nonce) };
    const outcome = await session.scan(input, signal);
    if (outcome.kind === "answered") return [kind, findingOf(outcome.reply, nameOf(input))];
    if (outcome.kind === "aborted") return [kind, unchecked("time-out", "no answer in time")];
    return [kind, unchecked(outcome.reason, outcome.detail)];
  };
  const findings = await Promise.all(canaryKinds.map(scan));
  session.destroy();
  return Object.fromEntries(findings) as Record<CanaryKind, VirusFinding>;
}
