import { loadSigningKey } from "@rs-agent/enricher/dkim/key.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import type { AskDns } from "@rs-agent/shared/mail/authentication/dns.ts";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import type { SigningKey } from "@rs-agent/shared/policy/signing-key.ts";
import { counted } from "../terminal.ts";
import { eachOf } from "./each-of.ts";
import type { Diagnosis } from "./diagnosis.ts";

/** More keys are not looked at: a run of `doctor` must end. */
const mostKeys = 200;
const part = "DKIM key";

/**
 * Each DKIM key of the policy: can it be read here, and does the DNS have its public half? Those
 * that are well share one line.
 */
export async function diagnoseKeys(
  documents: readonly PolicyDocument[],
  dns: AskDns,
): Promise<Diagnosis[]> {
  const keys = documents.flatMap((document) =>
    document.scope === "tenant" ? (document.keys ?? []) : [],
  );
  const looked = keys.slice(0, mostKeys);
  const seen = await eachOf(looked, (key) => diagnoseKey(key, dns));
  const well = looked.filter((_, at) => seen[at] === undefined).map(nameOf);
  const more = keys.length - looked.length;
  return [
    ...(well.length === 0
      ? []
      : [{ part, ok: true, found: `readable and published: ${some(well)}` }]),
    ...seen.filter((one) => one !== undefined),
    ...(more === 0
      ? []
      : [
          {
            part,
            ok: true,
            unknown: true as const,
            found: `${counted(more, "key")} not looked at`,
          },
        ]),
  ];
}

/** Undefined if the key is well. */
async function diagnoseKey(key: SigningKey, dns: AskDns): Promise<Diagnosis | undefined> {
  const name = nameOf(key);
  let record: string;
  try {
    ({ record } = await loadSigningKey(key.privateKey));
  } catch (error) {
    const advice =
      "mail that it should sign is held until the enricher can read it; where enrichers run on other " +
      "hosts, ask there, as their user";
    return { part, ok: false, found: `${name}: ${messageOf(error)}`, advice };
  }
  const published = await recordsAt(name, dns);
  return judge(name, record, published);
}

type Published = { kind: "records"; records: string[] } | { kind: "no answer"; reason: string };

async function recordsAt(name: string, dns: AskDns): Promise<Published> {
  try {
    const records = await dns(name, "TXT");
    // One record may come as several strings (RFC 6376 §3.6.2.2).
    return { kind: "records", records: records.map((strings) => [strings].flat().join("")) };
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (["ENOTFOUND", "ENODATA", "EBADNAME"].includes(code))
      return { kind: "records", records: [] };
    return { kind: "no answer", reason: code };
  }
}

/** Whether the published record lets others verify what this key signs. Pure. */
function judge(name: string, record: string, published: Published): Diagnosis | undefined {
  if (published.kind === "no answer") {
    const found = `${name}: readable; no name server says whether it is published (${published.reason})`;
    return { part, ok: true, unknown: true, found, advice: "--dns ADDRESS names one" };
  }
  const keys = published.records.map(tagsOf).filter((tags) => tags.has("p"));
  const ours = tagsOf(record);
  const advice = `publish this TXT record at ${name}; until then nobody can verify these signatures:`;
  const unwell = (found: string): Diagnosis => ({
    ...{ part, ok: false, found: `${name}: ${found}`, advice },
    copy: `${name}. IN TXT ( ${quotedStrings(record)} )`,
  });
  const [only, second] = keys;
  if (only === undefined) {
    const missing = unwell("readable, but no record is published for it");
    // RFC 2606 reserves these names, so this is somebody trying things out.
    return isReserved(name) ? { ...missing, ok: true, warning: true } : missing;
  }
  if (second !== undefined)
    return unwell("more than one key is published there; there must be only one");
  if (only.get("p") === "") return unwell("its record says that the key is revoked");
  if (only.get("p") !== ours.get("p") || (only.get("k") ?? "rsa") !== ours.get("k"))
    return unwell("another key is published");
  if ((only.get("t") ?? "").split(":").includes("y")) {
    const found = `${name}: published as a test (t=y): others may treat such mail as unsigned`;
    return { part, ok: true, warning: true, found, advice: "take t=y out of the record" };
  }
  return undefined;
}

/** RFC 6376 §3.2: `name=value`, separated by semicolons; blanks in `p` do not count. */
function tagsOf(record: string): Map<string, string> {
  return new Map(
    record.split(";").flatMap((tag): [string, string][] => {
      const at = tag.indexOf("=");
      const value = tag.slice(at + 1).replaceAll(/\s+/g, "");
      return at < 0 ? [] : [[tag.slice(0, at).trim(), value]];
    }),
  );
}

/** A string of a TXT record has at most 255 bytes (RFC 1035 §3.3). */
function quotedStrings(record: string): string {
  return (record.match(/.{1,255}/g) ?? []).map((part) => `"${part}"`).join(" ");
}

function nameOf({ selector, domain }: SigningKey): string {
  return `${selector}._domainkey.${domain}`;
}

function isReserved(name: string): boolean {
  return /(?:^|\.)(?:example(?:\.com|\.net|\.org)?|test|invalid|localhost)$/i.test(name);
}

function some(names: readonly string[]): string {
  const more = names.length - 3;
  return names.slice(0, 3).join(", ") + (more > 0 ? ` and ${counted(more, "other")}` : "");
}
