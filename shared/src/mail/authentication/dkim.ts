import { Readable } from "node:stream";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { inChunks } from "../chunks.ts";
import { headerFields } from "../header-fields.ts";
import type { AskDns } from "./dns.ts";

export interface DkimFinding {
  /** d= and s=, the domain in lower case. */
  domain: string;
  selector: string;
  /**
   * The results of RFC 8601 §2.7.1. A signature whose key is being tested (which counts as no
   * signature, RFC 6376 §3.6.1), or that leaves part of the body unsigned, is `neutral` at best.
   */
  result: "pass" | "fail" | "neutral" | "policy" | "temperror" | "permerror";
  /** Why it is not a pass. */
  detail?: string;
}

export interface DkimQuestion {
  /** The raw mail as it came in. */
  raw: Buffer;
  ask: AskDns;
  /**
   * The time for which x= is judged (RFC 6376 §3.5): when the mail came in, not when somebody
   * looks.
   */
  at: Date;
  /** Signatures of other domains are not verified, nor are their keys looked up. */
  isWanted?: (domain: string) => boolean;
  signal: AbortSignal;
}

/**
 * If there are more signatures, only the first ones that are wanted are verified (RFC 6376 §8.4).
 */
const mostSignatures = 10;

/**
 * Verifies the DKIM signatures of a mail. The mail is read in pieces, so that a large one stalls
 * nothing.
 * @throws the signal's reason once it aborts
 */
export async function checkDkim(question: DkimQuestion): Promise<DkimFinding[]> {
  const { raw, ask, at, isWanted = () => true, signal } = question;
  const parts = withoutMany(raw, isWanted);
  if (parts === undefined) return [];
  const isNamed = (name: string) => isWanted(name.slice(name.lastIndexOf("._domainkey.") + 12));
  const resolver: AskDns = (name, type) =>
    isNamed(name.toLowerCase())
      ? ask(name, type)
      : Promise.reject(Object.assign(new Error("not asked"), { code: "ENOTFOUND" }));
  const mail = Readable.from(inChunks(parts, signal), { objectMode: true });
  const { results } = await dkimVerify(mail, { resolver, strict: true, curTime: at });
  return results.flatMap(({ signingDomain = "", selector = "", status }) => {
    const domain = signingDomain.toLowerCase();
    if (!isWanted(domain)) return [];
    const finding = { domain, selector, result: status.result as DkimFinding["result"] };
    if (finding.result === "pass") {
      const weak = status.testing === true ? "its key is being tested" : partOf(status.underSized);
      return [weak === undefined ? finding : { ...finding, result: "neutral", detail: weak }];
    }
    const detail = typeof status.comment === "string" ? { detail: status.comment } : {};
    return [{ ...finding, ...detail }];
  });
}

function partOf(unsignedBytes = 0): string | undefined {
  return unsignedBytes > 0 ? "a part of the body is not signed" : undefined;
}

/**
 * The mail in consecutive parts, without the signatures beyond the limit: each costs a hash over
 * the body and a key. Undefined if no signature is wanted.
 */
function withoutMany(raw: Buffer, isWanted: (domain: string) => boolean): Buffer[] | undefined {
  const fields = [...headerFields(raw)].filter(({ name }) => name === "dkim-signature");
  const wanted = fields.filter(({ bodyStart, end }) =>
    isWanted(domainIn(raw.toString("latin1", bodyStart, Math.min(end, bodyStart + 4_096)))),
  );
  if (wanted.length === 0) return undefined;
  if (fields.length <= mostSignatures) return [raw];
  const kept = new Set(wanted.slice(0, mostSignatures));
  const parts: Buffer[] = [];
  let from = 0;
  for (const field of fields) {
    if (kept.has(field)) continue;
    parts.push(raw.subarray(from, field.start));
    from = field.end;
  }
  return [...parts, raw.subarray(from)];
}

/** The d= of a signature, as far as it can be told without parsing all of it. */
function domainIn(tags: string): string {
  const found = /(?:^|;)\s*d\s*=([^;]*)/.exec(tags)?.[1] ?? "";
  return found.replace(/\s+/g, "").toLowerCase();
}
