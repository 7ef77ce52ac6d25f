import type { Clock } from "@rs-agent/shared/clock.ts";
import {
  unableAfter,
  type EngineFailure,
  type Unable,
} from "@rs-agent/shared/engines/engine-client.ts";

/**
 * Put together from parts: this file must not be spam itself.
 * https://spamassassin.apache.org/gtube/
 */
export function gtube(): string {
  const parts = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE", "-TEST-EMAIL*C.34X"];
  return parts.join("");
}

/** A mail from us to ourselves with this text. */
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

/** An engine's answer to a canary. */
interface Told {
  kind: "answer";
  spam: boolean;
  score: number;
}

/**
 * Asks what a spam engine must know: GTUBE is spam, a clean mail is ham. Resolves to both answers
 * if it does.
 */
export async function askCanaries<S extends Told, H extends Told>(
  clock: Clock,
  askSpam: (mail: Buffer) => Promise<S | EngineFailure>,
  askHam: (mail: Buffer) => Promise<H | EngineFailure>,
): Promise<{ kind: "passed"; spam: S; ham: H } | Unable> {
  const spam = await askSpam(canaryMail(clock.now(), gtube()));
  if (spam.kind === "failed") return unableAfter(spam);
  if (!spam.spam) return unable(`GTUBE is ham to it (${spam.score} points)`);
  const ham = await askHam(canaryMail(clock.now(), "All is well."));
  if (ham.kind === "failed") return unableAfter(ham);
  if (ham.spam) return unable(`a clean mail is spam to it (${ham.score} points)`);
  return { kind: "passed", spam, ham };
}

function unable(reason: string): Unable {
  return { kind: "unable", reason };
}
