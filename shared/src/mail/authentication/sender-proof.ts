import { domainToASCII } from "node:url";
import { getDomain } from "tldts";
import { isFromStrangers } from "../direction.ts";
import type { MailRecord } from "../record.ts";
import { checkDkim, type DkimFinding } from "./dkim.ts";
import type { AskDns } from "./dns.ts";
import { checkSpf, type SpfFinding } from "./spf.ts";

/**
 * Whether the sender of a failed mail may get a report (I12). Anybody can write any MAIL FROM, and
 * a report to a forged one is spam of our own (backscatter).
 *
 * 1. The sender of outgoing mail is told: the mail came from a tenant's network, listener or user.
 * 2. The sender of incoming mail is told if SPF passes for the domain of MAIL FROM and the recorded
 *    client, or if a DKIM signature holds whose domain is aligned with that of MAIL FROM.
 * 3. Whatever goes wrong is not proof.
 */
export type SenderProof = ProvenSender | UnprovenSender;

export interface ProvenSender {
  kind: "proven";
  /** For the history, e.g. `SPF pass for sender.example`. */
  detail: string;
}

export interface UnprovenSender {
  kind: "unproven";
  /** `dns`: nothing is known, because name servers did not answer. */
  why: "unverified" | "dns";
  /** For a person, e.g. `SPF softfail for sender.example, no DKIM signature of it`. */
  detail: string;
}

export interface SenderCheck {
  ask: AskDns;
  /** The time for all of it together. */
  withinMs: number;
  /** Our own name. */
  hostname: string;
}

/** Proof enough for mail that came in as outgoing. */
const ofOutgoing: ProvenSender = { kind: "proven", detail: "outgoing mail" };

/**
 * Asks the DNS if needed, for at most `withinMs`. `readRaw` gives the mail as it came in and is
 * called only if SPF does not pass; its errors are passed on.
 */
export async function proveSender(
  mail: MailRecord,
  readRaw: () => Promise<Buffer>,
  { ask, withinMs, hostname }: SenderCheck,
): Promise<SenderProof> {
  if (!isFromStrangers(mail)) return ofOutgoing;
  const beganMs = performance.now();
  const { mailFrom, client } = mail.smtp;
  const spf = await checkSpf({ mailFrom, client, ask, withinMs, hostname });
  if (spf.result === "pass") return { kind: "proven", detail: `SPF pass for ${spf.domain}` };
  const raw = await readRaw();
  const leftMs = Math.max(1, Math.round(beganMs + withinMs - performance.now()));
  const dkim = await checkAligned(mail, raw, ask, leftMs);
  const pass = dkim?.find(({ result }) => result === "pass");
  if (pass !== undefined) {
    return { kind: "proven", detail: `DKIM pass for ${pass.domain}, aligned with the sender` };
  }
  return unproven(spf, dkim);
}

/** The signatures whose domain is aligned with the sender's; undefined if it took too long. */
async function checkAligned(
  { smtp, receivedAt }: MailRecord,
  raw: Buffer,
  ask: AskDns,
  withinMs: number,
): Promise<DkimFinding[] | undefined> {
  const own = organization(smtp.mailFrom.slice(smtp.mailFrom.lastIndexOf("@") + 1));
  if (own === "") return [];
  const signal = AbortSignal.timeout(withinMs);
  const isLate = new Promise<undefined>((resolve) => {
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  const isWanted = (domain: string) => organization(domain) === own;
  // Nor is it proof what mailauth throws over a mail that it cannot read.
  const found = checkDkim({ raw, ask, at: receivedAt, isWanted, signal }).catch(() =>
    signal.aborted ? undefined : [],
  );
  return Promise.race([found, isLate]);
}

/** The organizational domain, by which DMARC aligns (RFC 7489 §3.2), or the domain itself. */
function organization(domain: string): string {
  const ascii = domainToASCII(domain.toLowerCase().replace(/\.$/, ""));
  return getDomain(ascii, { allowPrivateDomains: true, detectIp: false }) ?? ascii;
}

function unproven(spf: SpfFinding, dkim: DkimFinding[] | undefined): UnprovenSender {
  const isSilent = dkim === undefined || dkim.some(({ result }) => result === "temperror");
  const why = spf.result === "temperror" || isSilent ? "dns" : "unverified";
  const signatures = dkim?.map(({ result, domain, detail }) => {
    return `DKIM ${result} for ${domain}${detail === undefined ? "" : ` (${detail})`}`;
  });
  const said =
    signatures === undefined
      ? "DKIM not verified in time"
      : signatures.length === 0
        ? "no aligned DKIM signature"
        : signatures.slice(0, 3).join(", ");
  const whose = spf.domain === "" ? "" : ` for ${spf.domain}`;
  return { kind: "unproven", why, detail: `SPF ${spf.result}${whose}, ${said}`.slice(0, 500) };
}
