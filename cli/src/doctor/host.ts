import { statfs } from "node:fs/promises";
import type { Database, Disk } from "@rs-agent/shared/store/database.ts";
import { bytes } from "../terminal.ts";
import { span } from "../times.ts";
import type { Diagnosis } from "./diagnosis.ts";

/** Below these a disk is short of space; below a tenth of them it is not well. */
const shortShare = 0.1;
const shortBytes = 2 * 1024 ** 3;

const unknownDisk: Diagnosis = {
  ...{ part: "disk", ok: true, unknown: true },
  found: "the database does not tell how much of its disk is free",
};

/** The database's disk, as the database reports it, and the disks of these folders on this host. */
export async function diagnoseDisk(
  database: Pick<Database, "disk">,
  folders: readonly string[],
): Promise<Diagnosis[]> {
  const under = await database.disk();
  const here = await Promise.all(
    folders.map(async (folder) => ({ folder, disk: await diskOf(folder) })),
  );
  // If one of its folders is known here, that folder's disk is the database's.
  const silent = folders.length > 0 ? [] : [unknownDisk];
  return [
    ...(under === undefined ? silent : [judgeDisk("the database", under)]),
    ...here.map(({ folder, disk }) =>
      disk === undefined
        ? { part: "disk", ok: true, warning: true as const, found: `${folder} cannot be checked` }
        : judgeDisk(folder, disk),
    ),
  ];
}

async function diskOf(folder: string): Promise<Disk | undefined> {
  try {
    const { bsize, bavail, blocks } = await statfs(folder);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return undefined;
  }
}

export function judgeDisk(where: string, { freeBytes, totalBytes }: Disk): Diagnosis {
  const share = freeBytes / Math.max(totalBytes, 1);
  const found = `${where}: ${bytes(freeBytes)} free of ${bytes(totalBytes)}`;
  const isBelow = (part: number) => share < shortShare * part || freeBytes < shortBytes * part;
  if (!isBelow(1)) return { part: "disk", ok: true, found };
  const advice =
    "mail that cannot be stored is answered with 451; shorten retention, or give it a larger disk";
  return isBelow(0.1)
    ? { part: "disk", ok: false, found, advice }
    : { part: "disk", ok: true, warning: true, found, advice };
}

const oddMs = 2_000;
const wrongMs = 60_000;

/** Compares this host's clock with the database's, which governs leases. Pure. */
export function diagnoseClock(database: Database["clock"], now: Date): Diagnosis {
  const errorMs = database.errorMs?.() ?? 0;
  const offMs = now.getTime() - database.now().getTime();
  const ms = Math.abs(offMs);
  const part = "clock";
  if (ms <= oddMs + errorMs) return { part, ok: true, found: "this host and the database agree" };
  const found = `this host is ${span(ms)} ${offMs > 0 ? "ahead of" : "behind"} the database`;
  const advice =
    "let both keep time by NTP: leases go by the database's clock, but certificates, signatures and " +
    "the dates in logs by the host's";
  return ms <= wrongMs + errorMs
    ? { part, ok: true, warning: true, found, advice }
    : { part, ok: false, found, advice };
}
