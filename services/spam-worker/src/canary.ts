import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Engine } from "@rs-agent/shared/mail/verdict.ts";
import type { AskOptions, SpamdClient } from "./spamd/client.ts";
import type { RuleDetail } from "./verdict-of-mail.ts";

export type CanaryOutcome =
  { kind: "able"; engine: Engine; detail: RuleDetail } | { kind: "unable"; reason: string };

/**
 * Puts two mails through a spamd: GTUBE must be spam, a clean mail must be ham. What comes back
 * also tells its version, and whether its report can be read.
 */
export async function putCanariesThrough(
  client: SpamdClient,
  clock: Clock,
  options: AskOptions,
): Promise<CanaryOutcome> {
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

/** In parts: this file must not be spam itself. https://spamassassin.apache.org/gtube/ */
export function gtube(): string {
  const parts = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE", "-TEST-EMAIL*C.34X"];
  return parts.join("");
}

function canaryMail(now: Date, text: string): Buffer {
  const date = now.toUTCString().replace("GMT", "+0000");
  const lines = [
    "From: Postmaster <postmaster@example.com>",
    "To: Postmaster <postmaster@example.com>",
    "Subject: Health check of the spam filter",
    `Date: ${date}`,
    `Message-ID: <canary.${now.getTime().toString(36)}@example.com>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=us-ascii",
    "",
    "This mail checks that the spam filter works. Nobody will read it.",
    "",
    text,
    "",
  ];
  return Buffer.from(lines.join("\r\n"));
}

/** From `X-Spam-Checker-Version: SpamAssassin 4.0.1 (2024-03-25) on host`, which a site may drop. */
function versionOf(headers: Buffer): string {
  const block = headers.toString("latin1");
  const version = /^X-Spam-Checker-Version: SpamAssassin ([\w.-]{1,40})/im.exec(block);
  return version?.[1] ?? "unknown";
}

function unable(client: SpamdClient, reason: string): CanaryOutcome {
  return { kind: "unable", reason: `spamd ${client.address}: ${reason}` };
}
