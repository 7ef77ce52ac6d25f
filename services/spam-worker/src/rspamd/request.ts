import { isIP } from "node:net";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import type { MailToJudge } from "../spam-engine.ts";

/** Part of rspamd's 80 KB for the whole head: recipients beyond it are not named. */
const maxRcptBytes = 32_000;

/**
 * The headers of rspamd's protocol for what SMTP told us:
 * https://rspamd.com/doc/developers/protocol.html
 */
export type RequestHeaders = Record<string, string | string[]>;

/**
 * What rspamd is told about a mail besides its bytes.
 *
 * 1. Each value is one line: nothing that a stranger wrote can add a header (`File` would make
 *    rspamd read a file of its own host) or end the head.
 * 2. `User` is never sent: to rspamd it is the name by which the sender logged in, and it turns
 *    most rules off for such mail. `Deliver-To` says whose preferences apply.
 *
 * @throws TerminalError SPAM_ENGINE_ERROR for a user name that the protocol cannot carry
 */
export function requestHeaders({ mailId, raw, smtp, user }: MailToJudge): RequestHeaders {
  const { address, name, helo } = smtp.client;
  return {
    "Content-Length": String(raw.length),
    "Content-Type": "message/rfc822",
    "User-Agent": "rs-agent",
    "Queue-Id": oneLine(mailId),
    From: path(smtp.mailFrom),
    Rcpt: paths(smtp.rcptTo),
    ...(isIP(address) === 0 ? {} : { IP: address }),
    ...(oneLine(helo) === "" ? {} : { Helo: oneLine(helo) }),
    ...(oneLine(name) === "" ? {} : { Hostname: oneLine(name) }),
    ...(user === undefined ? {} : { "Deliver-To": checkedUser(user) }),
  };
}

/**
 * RFC 5321 §4.1.2: `<a@example.com>`, `<>` for the null sender. Nothing in the address can end the
 * path.
 */
function path(address: string): string {
  return `<${oneLine(address).replace(/[<>]/g, "")}>`;
}

function paths(addresses: readonly string[]): string[] {
  const named: string[] = [];
  let bytes = 0;
  for (const address of addresses) {
    const value = path(address);
    bytes += value.length + "Rcpt: \r\n".length;
    if (bytes > maxRcptBytes) break;
    named.push(value);
  }
  return named;
}

/** As UTF-8 (RFC 6531), in the form that node:http writes byte by byte. */
function oneLine(text: string): string {
  return Buffer.from(text.replace(/[\x00-\x1f\x7f]/g, "").trim(), "utf8").toString("latin1");
}

/** The name comes from the policy, where a wrong one must be corrected. */
function checkedUser(user: string): string {
  if (/^[^\x00-\x1f\x7f]+$/.test(user)) return oneLine(user);
  throw new TerminalError("SPAM_ENGINE_ERROR", `no user name for rspamd: ${JSON.stringify(user)}`);
}
