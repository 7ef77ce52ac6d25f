import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { rsAgent } from "./called-as.ts";
import type { Diagnosis } from "./doctor/diagnosis.ts";

/** Where distributions put it: Debian, Alpine and Arch; Fedora; openSUSE; FreeBSD and Homebrew. */
const usualFiles = [
  "/etc/clamav/clamd.conf",
  "/etc/clamd.d/scan.conf",
  "/etc/clamd.conf",
  "/usr/local/etc/clamd.conf",
  "/usr/local/etc/clamav/clamd.conf",
];

export interface ClamdConf {
  file: string;
  text: string;
}

/** The configuration of a clamd on this host, if it is in one of the usual places or in `place`. */
export async function clamdConfOf(
  address: EngineAddress,
  place?: string,
): Promise<ClamdConf | undefined> {
  if (!isOnThisHost(address)) return undefined;
  for (const file of [...(place === undefined ? [] : [place]), ...usualFiles]) {
    const text = await readFile(file, "utf8").catch(() => undefined);
    if (text !== undefined && listensAt(optionsIn(text), address)) return { file, text };
  }
  return undefined;
}

/** clamd.conf(5): one name and its value per line; `#` begins a comment. The last one counts. */
export function optionsIn(text: string): Map<string, string> {
  const lines = text.matchAll(/^[ \t]*([A-Za-z]\w*)[ \t]+(?:"([^"\n]*)"|(\S.*?))[ \t]*\r?$/gm);
  return new Map([...lines].map(([, name = "", quoted, plain]) => [name, quoted ?? plain ?? ""]));
}

/** Whether a clamd with this configuration is the one at this address. */
export function listensAt(options: ReadonlyMap<string, string>, address: EngineAddress): boolean {
  if (address.kind === "unix") return options.get("LocalSocket") === address.path;
  return options.get("TCPSocket") === String(address.port);
}

export function isOnThisHost(address: EngineAddress): boolean {
  if (address.kind === "unix" || address.host === "localhost") return true;
  const { host } = address;
  return host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

/** For what only a clamd.conf tells, if there is none of this clamd here. */
export function withoutConf(part: string, what: string): Diagnosis {
  const found = `${what} is not known: no clamd.conf for it here`;
  const advice = `on its host: ${rsAgent} doctor --clamd-conf FILE`;
  return { part, ok: true, unknown: true, found, advice };
}

/** clamd.conf(5): BOOL. */
export function isYes(value: string): boolean {
  return ["yes", "true", "1"].includes(value.toLowerCase());
}
