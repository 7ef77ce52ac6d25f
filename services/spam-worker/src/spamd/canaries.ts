import type { Clock } from "@rs-agent/shared/clock.ts";
import { canaryMail, gtube } from "../canary.ts";
import type { CanaryOutcome } from "../engine-client.ts";
import type { AskOptions, SpamdClient } from "./client.ts";
import type { RuleDetail } from "./judge.ts";

export type SpamdOutcome =
  | (Extract<CanaryOutcome, { kind: "able" }> & { detail: RuleDetail })
  | Extract<CanaryOutcome, { kind: "unable" }>;

/**
 * Puts two mails through a spamd: GTUBE must be spam, a clean mail must be ham. What comes back
 * also tells its version, and whether its report can be read.
 */
export async function putCanariesThrough(
  client: SpamdClient,
  clock: Clock,
  options: AskOptions,
): Promise<SpamdOutcome> {
  const spam = await client.report([canaryMail(clock.now(), gtube())], options);
  if (spam.kind === "failed") return unable(client, spam.detail);
  if (!spam.spam) return unable(client, `GTUBE is ham to it (${spam.score} points)`);
  const ham = await client.headers([canaryMail(clock.now(), "All is well.")], options);
  if (ham.kind === "failed") return unable(client, ham.detail);
  if (ham.spam) return unable(client, `a clean mail is spam to it (${ham.score} points)`);
  return {
    kind: "able",
    engine: { name: "spamd", version: versionOf(ham.headers) },
    detail: spam.rules === undefined ? "symbols" : "report",
  };
}

/** From `X-Spam-Checker-Version: SpamAssassin 4.0.1 (2024-03-25) on host`, which a site may drop. */
function versionOf(headers: Buffer): string {
  const block = headers.toString("latin1");
  const version = /^X-Spam-Checker-Version: SpamAssassin ([\w.-]{1,40})/im.exec(block);
  return version?.[1] ?? "unknown";
}

function unable(client: SpamdClient, reason: string): SpamdOutcome {
  return { kind: "unable", reason: `spamd ${client.address}: ${reason}` };
}
