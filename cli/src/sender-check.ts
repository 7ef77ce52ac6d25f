import type { SenderProof } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Session } from "./session.ts";

/**
 * Whether the sender of incoming mail may be told that it failed (I12). Decided as in the relay,
 * with the name servers of this host or of DNS_SERVERS.
 */
export async function askForProof(
  { database, config }: Pick<Session, "database" | "config">,
  mail: MailRecord,
): Promise<SenderProof> {
  // What this needs takes a while to load, and no other command needs it.
  const [{ createDns }, { proveSender }] = await Promise.all([
    import("@rs-agent/shared/mail/authentication/dns.ts"),
    import("@rs-agent/shared/mail/authentication/sender-proof.ts"),
  ]);
  return proveSender(mail, () => database.bodies.get(mail.body), {
    ask: createDns({ servers: config.DNS_SERVERS, timeoutMs: config.DNS_TIMEOUT_MS }),
    withinMs: config.SENDER_CHECK_MS,
    hostname: config.MAIL_HOSTNAME,
  });
}
