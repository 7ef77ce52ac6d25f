import { generateKeyPairSync } from "node:crypto";
import type { EnrichOutput, EnrichTask } from "@rs-agent/shared/bus/wire.ts";
import { newToken, sha256Hex } from "@rs-agent/shared/ids.ts";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import {
  settingsHashOf,
  type Change,
  type EnrichSettings,
} from "@rs-agent/shared/mail/task-settings.ts";
import type { VerdictOf, Verdicts } from "@rs-agent/shared/checks/verdict.ts";
import { enrich, type EnrichDeps } from "../src/enrich.ts";

/** A mail from lines: canonical, one byte per character. */
export function mailOf(...lines: string[]): Buffer {
  return canonicalize(Buffer.from(lines.join("\r\n"), "latin1"));
}

export const plainMail = mailOf(
  "Received: from client.example (client.example [8.8.8.8]) by mx.example",
  "\tid abc; Mon, 1 Jun 2026 12:00:00 +0000",
  "From: Alice <alice@tenant.example>",
  "To: bob@example.net",
  "Subject: Hello",
  "Message-ID: <1@tenant.example>",
  "",
  "Dear Bob,",
  "",
  "yours, Alice",
);

export const deps: EnrichDeps = {
  countries: { of: () => "DE", close: () => undefined },
  authservIds: ["mx.tenant.example"],
  maxHeaderBytes: 4 * 1024 * 1024,
  now: () => new Date("2026-06-01T12:00:00Z"),
};

export function taskFor(
  raw: Buffer,
  changes: Change[],
  more: Partial<Pick<EnrichTask, "verdicts" | "disposition" | "smtp">> = {},
): EnrichTask {
  const settings = { changes, spamThreshold: 5 };
  return {
    v: 1,
    kind: "task",
    task: "enrich",
    from: "dispatcher",
    session: newToken(),
    taskId: newToken(),
    sequence: 1,
    mailId: "0123456789abcdefghij",
    attempt: 1,
    sha256: sha256Hex(raw),
    size: raw.length,
    settingsHash: settingsHashOf(settings),
    deadlineMs: 30_000,
    smtp: {
      mailFrom: "alice@tenant.example",
      rcptTo: ["bob@example.net"],
      client: { address: "8.8.8.8", name: "", helo: "client.example" },
    },
    settings,
    verdicts: {},
    ...more,
  };
}

export type EnrichedMail = Extract<EnrichOutput, { kind: "enriched" }> & {
  /** The whole mail as the relay will send it, one byte per character. */
  text: string;
  final: Buffer;
};

/** Enriches, and assembles the final mail as the relay does. */
export async function enriched(
  raw: Buffer,
  changes: Change[],
  more: Parameters<typeof taskFor>[2] = {},
  using: Partial<EnrichDeps> = {},
  settings: Partial<EnrichSettings> = {},
): Promise<EnrichedMail> {
  const task = taskFor(raw, changes, more);
  Object.assign(task.settings, settings);
  const result = await enrich(raw, task, { ...deps, ...using }, new AbortController().signal);
  const { output, bytes = Buffer.alloc(0) } = result;
  if (output.kind === "unable") throw new Error(output.reason);
  const final = output.bodyChanged
    ? bytes
    : Buffer.concat([bytes, raw.subarray(output.restOffset)]);
  return { ...output, final, text: final.toString("latin1") };
}

/** What is said about a mail that must be held. */
export async function unableOutput(raw: Buffer, changes: Change[]) {
  const { output } = await enrich(raw, taskFor(raw, changes), deps, new AbortController().signal);
  if (output.kind !== "unable") throw new Error("the mail was enriched");
  return output;
}

export async function unableReason(raw: Buffer, changes: Change[]): Promise<string> {
  return (await unableOutput(raw, changes)).reason;
}

const circumstances = {
  settingsHash: "0".repeat(32),
  sha256: "0".repeat(64),
  worker: "worker",
  queueMs: 1,
  workMs: 1,
  at: new Date("2026-06-01T12:00:00Z"),
};

export function virusVerdict(
  finding: VerdictOf<"virus">["finding"],
  more: Partial<VerdictOf<"virus">> = {},
): Verdicts {
  const engine = {
    name: "clamd",
    version: "1.4.3",
    signatureVersion: "27500",
    signatureAt: new Date("2026-05-30T08:00:00Z"),
  };
  return { virus: { finding, engine, ...circumstances, ...more } };
}

export function spamVerdict(finding: VerdictOf<"spam">["finding"]): Verdicts {
  return { spam: { finding, engine: { name: "spamd", version: "4.0.1" }, ...circumstances } };
}

/** A signing key as PEM; making RSA-2048 takes a moment, so tests share one. */
export function pemOf(type: "rsa" | "ed25519"): string {
  const { privateKey } =
    type === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ed25519");
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

export function signChange(privateKey: string): Change {
  return { kind: "sign", domain: "tenant.example", selector: "s1", privateKey };
}
