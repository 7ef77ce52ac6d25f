import type { Logger } from "nodemailer/lib/shared";
import { replyClass, type Reply } from "./reply.ts";

/** What a hop says that it can do (EHLO, RFC 5321 §4.1.1.1; LHLO, RFC 2033 §4.1). */
export interface HopAbilities {
  /** The extensions' names in upper case: `8BITMIME`, `SIZE`, `SMTPUTF8`, `DSN` … */
  extensions: ReadonlySet<string>;
  /** Bytes (RFC 1870 §3); undefined if it names no limit. */
  maxBytes: number | undefined;
}

/** Reads a reply to EHLO; without one the hop can do nothing but plain SMTP. */
export function abilitiesOf(ehlo: Reply | undefined): HopAbilities {
  const parameters = new Map<string, string>();
  // The first line greets, in words of its own.
  for (const line of (ehlo ?? "").split(/\r?\n/).slice(1)) {
    const found = /^250[ -](\S+)(?:\s+(.*))?$/.exec(line);
    if (found?.[1] !== undefined) parameters.set(found[1].toUpperCase(), found[2] ?? "");
  }
  const maxBytes = Number(parameters.get("SIZE") ?? 0);
  return {
    extensions: new Set(parameters.keys()),
    maxBytes: maxBytes > 0 ? maxBytes : undefined,
  };
}

/**
 * Finds the reply to EHLO among all that a session begins with. It reads the client's own transcript
 * (nodemailer's `transactionLog`), which names each command and each reply to it in turn. Each new
 * EHLO makes the one before worth nothing (after STARTTLS: RFC 3207 §4.2); a refused STARTTLS, AUTH
 * and everything later change nothing.
 */
export class EhloWatch implements Logger {
  #ehlo: Reply | undefined;
  #isNext = false;

  get abilities(): HopAbilities {
    return abilitiesOf(this.#ehlo);
  }

  debug(entry?: { tnx?: string | undefined } | string, text = ""): void {
    const whose = typeof entry === "object" ? entry.tnx : undefined;
    if (whose === "client") this.#onCommand(text);
    else if (whose === "server") this.#onReply(text);
  }

  #onCommand(command: string): void {
    this.#isNext = /^(?:EHLO|LHLO) /.test(command);
    if (this.#isNext || command.startsWith("HELO ")) this.#ehlo = undefined;
  }

  #onReply(reply: Reply): void {
    if (this.#isNext && replyClass(reply) === 2) this.#ehlo = reply;
    this.#isNext = false;
  }

  level(): void {}
  trace(): void {}
  info(): void {}
  warn(): void {}
  error(): void {}
  fatal(): void {}
}
