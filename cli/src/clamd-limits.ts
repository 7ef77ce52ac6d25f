import type { Diagnosis } from "./doctor/diagnosis.ts";
import { optionsIn, withoutConf, type ClamdConf } from "./clamd-conf.ts";

/** clamd.conf(5) of ClamAV 1.0 to 1.4. */
const defaults = { MaxFileSize: "100M", MaxScanSize: "400M" } as const;
const units: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 1024 ** 2 };

/**
 * Whether clamd says `OK` to what it has not seen. Of a file inside an archive that is larger than
 * MaxFileSize it scans only the beginning, whatever AlertExceedsMax says, unless MaxScanSize ends
 * the scan first. No canary shows that at a bearable cost; the clamd.conf does. Pure.
 */
export function diagnoseLimits(config: ClamdConf | undefined): Diagnosis {
  const part = "clamd limits";
  if (config === undefined) {
    return withoutConf(part, "whether MaxFileSize leaves a hole");
  }
  const options = optionsIn(config.text);
  const [file, scan] = (["MaxFileSize", "MaxScanSize"] as const).map((name) => {
    const text = options.get(name) ?? defaults[name];
    return { text: `${name} ${text}`, size: sizeOf(text) };
  });
  const found = `${file?.text ?? ""}, ${scan?.text ?? ""} by ${config.file}`;
  if (file?.size === undefined || scan?.size === undefined) {
    return { part, ok: true, warning: true, found, advice: "clamd.conf(5): SIZE is 100M, 64k …" };
  }
  if (file.size >= scan.size) return { part, ok: true, found };
  const advice =
    "set MaxFileSize to at least MaxScanSize: clamd scans only the first MaxFileSize bytes of a " +
    "larger file inside an archive, and says OK";
  return { part, ok: true, warning: true, found, advice };
}

/** Bytes; 0 in the file means "no limit". Undefined: not a size by clamd.conf(5). */
function sizeOf(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d+)([km]?)$/i.exec(text) ?? [];
  const factor = units[unit.toLowerCase()];
  if (digits === undefined || factor === undefined) return undefined;
  return Number(digits) === 0 ? Infinity : Number(digits) * factor;
}
