import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { domains } from "./planned-mail.ts";

/** Clients here send outgoing mail of the tenant. Linux takes all of 127.0.0.0/8 for this host. */
export const clientAddresses = { incoming: "127.0.0.1", outgoing: "127.0.0.2" } as const;
/** What the name server of a run knows: the clients of strangers who are who they say. */
export const senderRecords = {
  [`TXT ${domains.stranger}`]: [`v=spf1 ip4:${clientAddresses.incoming} -all`],
  [`TXT ${domains.forged}`]: ["v=spf1 ip4:192.0.2.1 -all"],
};
export const dkim = { domain: domains.north, selector: "chaos" } as const;

/**
 * What the expected fates of the mails rest on. Retries come soon, so that a run need not last
 * hours; spamd judges only the head of a big mail, but it does judge it.
 */
const yaml = (keyFile: string) => `
default:
  spam: { onHighSpam: quarantine, maxBytes: 100k, oversize: head }
  relay: { retry: [1s, 2s, 3s] }
tenants:
  chaos:
    networks: [${clientAddresses.outgoing}]
    domains: [${domains.north}, ${domains.south}]
    keys:
      - { domain: ${dkim.domain}, selector: ${dkim.selector}, privateKey: ${JSON.stringify(`file:${keyFile}`)} }
    rules:
      outgoing:
        virus: { onInfected: reject }
        changes: { sign: on }
domains:
  ${domains.south}:
    spam: { onSpam: tag, onHighSpam: tag }
    changes:
      subject-tag: { tag: "[SPAM]" }
`;

/** The policies of a run. Writes a new DKIM key to `keyFile`; `dnsRecord` is its public half (RFC 6376 §3.6.1). */
export function chaosPolicy(keyFile: string): { documents: PolicyDocument[]; dnsRecord: string } {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "der" },
  });
  writeFileSync(keyFile, privateKey, { mode: 0o600 });
  return {
    documents: parsePolicyYaml(yaml(keyFile), "chaos.yaml"),
    dnsRecord: `v=DKIM1; k=rsa; p=${publicKey.toString("base64")}`,
  };
}
