import type { AskDns } from "@rs-agent/shared/mail/authentication/dns.ts";
import { domainOf } from "@rs-agent/shared/mail/smtp-envelope.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import type { World } from "./world.ts";

/** Strangers who are who they say, and a domain that others forge in MAIL FROM. */
export const senderDomains = { honest: "stranger.example", forged: "forged.example" } as const;
export const strangerClient = "192.0.2.7";

const records: Readonly<Record<string, string>> = {
  [senderDomains.honest]: `v=spf1 ip4:${strangerClient} -all`,
  [senderDomains.forged]: "v=spf1 ip4:198.51.100.1 -all",
};

/** Whether SPF lists the client of a stranger's mail. */
export function isHonest({ smtp }: MailRecord): boolean {
  return domainOf(smtp.mailFrom) === senderDomains.honest;
}

/**
 * The DNS as a process reaches it: slow at times, and at times silent as long as there are faults.
 */
export function virtualDns(world: World, process: VirtualProcess): AskDns {
  const random = process.random.fork("dns");
  return (name, type) => {
    const isSilent = !world.nemesis.healed && random.chance(0.1);
    if (isSilent) world.onSilentDns();
    const delayMs = isSilent ? 2_000 : random.between(1, 400);
    return new Promise((resolve, reject) => {
      world.time.after(delayMs, process, () => {
        const record = type === "TXT" ? records[name] : undefined;
        if (record !== undefined && !isSilent) resolve([[record]]);
        else reject(Object.assign(new Error(name), { code: isSilent ? "ETIMEOUT" : "ENOTFOUND" }));
      });
    });
  };
}
