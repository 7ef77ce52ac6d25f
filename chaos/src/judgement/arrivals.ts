import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { bytesOf } from "../mails/mail-bytes.ts";
import { planMail } from "../mails/planned-mail.ts";
import { dkim } from "../mails/policy.ts";
import type { Copy } from "../sink.ts";

/** A copy that came with wrong bytes, or without its signature. */
export interface Damage {
  copy: Copy;
  what: string;
}

const headEnd = Buffer.from("\r\n\r\n");

/**
 * Checks what arrives at the next hop: the raw mail as handed in must follow our own fields byte
 * for byte (only the body if the mail is tagged), and outgoing mail must bear our valid signature.
 */
export function createInspector(run: { seed: number; startedAt: Date; dnsRecord: () => string }) {
  const damages: Damage[] = [];
  const resolver = (name: string, type: string) => {
    if (type === "TXT" && name === `${dkim.selector}._domainkey.${dkim.domain}`)
      return Promise.resolve([[run.dnsRecord()]]);
    return Promise.reject(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }));
  };
  const inspect = async (copy: Copy, raw: Buffer) => {
    const { number } = copy;
    if (number === undefined || copy.isReport) return;
    const mail = planMail(run.seed, number);
    const given = bytesOf(run.seed, mail, run.startedAt);
    const tagged = mail.recipients.some(
      ({ address, arrives }) => arrives === "tagged" && copy.rcptTo.includes(address),
    );
    const wanted = tagged ? given.subarray(given.indexOf(headEnd)) : given;
    const got = raw.subarray(-wanted.length);
    if (!got.equals(wanted)) {
      damages.push({ copy, what: `its bytes differ: ${sha256Hex(got)} for ${sha256Hex(wanted)}` });
    }
    if (tagged && !/^Subject: \[SPAM\] /m.test(raw.toString("latin1", 0, 16_384))) {
      damages.push({ copy, what: "its subject is not tagged" });
    }
    if (mail.direction === "outgoing" && !(await isSigned(raw))) {
      damages.push({ copy, what: "it bears no valid signature of ours" });
    }
  };
  const isSigned = async (raw: Buffer) => {
    const { results } = await dkimVerify(raw, { resolver });
    return results.some(
      ({ signingDomain, status }) => signingDomain === dkim.domain && status.result === "pass",
    );
  };
  return { damages, inspect };
}
