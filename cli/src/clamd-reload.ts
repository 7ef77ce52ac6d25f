import { freemem } from "node:os";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import * as clamd from "@rs-agent/av-worker/clamd/command.ts";
import { isOnThisHost, isYes, optionsIn, withoutConf, type ClamdConf } from "./clamd-conf.ts";
import type { Diagnosis } from "./doctor/diagnosis.ts";
import { bytes } from "./terminal.ts";

/**
 * How a clamd loads new signatures. None of its commands tells whether it goes on scanning while it
 * loads (ConcurrentDatabaseReload); only the clamd.conf of a clamd on this host does. What cannot
 * be known is reported as unknown, never guessed.
 */
export interface ReloadFacts {
  /** The configuration of the clamd at this address, or the one that the operator named. */
  configFile?: string;
  concurrent?: boolean;
  /** The memory that its signatures take up, by STATS. */
  signatureBytes?: number;
  /** The free memory of this host, if clamd runs on it. */
  freeBytes?: number;
}

/** `config`: as `clamdConfOf` returns it. */
export async function readReloadFacts(
  address: EngineAddress,
  signal: AbortSignal,
  config: ClamdConf | undefined,
): Promise<ReloadFacts> {
  const stats = await clamd.stats(address, signal).catch(() => "");
  const signatureBytes = signatureBytesIn(stats);
  return {
    ...(config !== undefined && {
      configFile: config.file,
      concurrent: isYes(optionsIn(config.text).get("ConcurrentDatabaseReload") ?? "yes"),
    }),
    ...(signatureBytes !== undefined && { signatureBytes }),
    ...(isOnThisHost(address) && { freeBytes: freemem() }),
  };
}

/** What to tell about it. Pure. */
export function diagnoseReload(facts: ReloadFacts): Diagnosis {
  const { configFile = "", concurrent, signatureBytes, freeBytes } = facts;
  const part = "clamd reload";
  const needed = signatureBytes === undefined ? "" : bytes(signatureBytes);
  if (concurrent === undefined) {
    return withoutConf(part, "whether it scans while it loads signatures");
  }
  if (!concurrent) {
    const room = needed === "" ? "" : `: loading then takes ${needed} more for a while`;
    const advice =
      "clamd answers nothing while it loads signatures; its worker takes no mail then, and mail " +
      `waits. Set it to yes where memory allows${room}; or run two clamd that load at different times`;
    const found = `ConcurrentDatabaseReload no in ${configFile}`;
    return { part, ok: true, warning: true, found, advice };
  }
  const known = needed === "" ? "" : `, ${needed} of signatures`;
  const found = `ConcurrentDatabaseReload yes by ${configFile}${known}`;
  if (signatureBytes === undefined || freeBytes === undefined || signatureBytes < freeBytes) {
    return { part, ok: true, found };
  }
  const advice =
    "the kernel may kill clamd when it loads new signatures next to the old ones: give this host more " +
    "memory, or set ConcurrentDatabaseReload no (clamd then answers nothing while it loads)";
  const short = `${found}, but only ${bytes(freeBytes)} of memory are free`;
  return { part, ok: true, warning: true, found: short, advice };
}

/** `MEMSTATS: … pools 1 pools_used 1255.531M pools_total 1255.575M`. */
export function signatureBytesIn(stats: string): number | undefined {
  const megabytes = / pools_total ([\d.]+)M/.exec(stats)?.[1];
  return megabytes === undefined ? undefined : Math.round(Number(megabytes) * 1024 * 1024);
}
