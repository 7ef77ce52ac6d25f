import { mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { User } from "../processes/system-user.ts";

/**
 * A folder that the user can reach: `dir` or, if that lies below a folder closed to others (a clone
 * under /root, say), a temporary one that `remove` deletes.
 */
export async function reachableFolder(
  dir: string,
  user: User | undefined,
  name: string,
): Promise<{ dir: string; remove: () => Promise<void> }> {
  await mkdir(dir, { recursive: true });
  if (user?.uid === process.getuid?.() || (await othersMayPass(dir))) {
    return { dir, remove: () => Promise.resolve() };
  }
  const own = await mkdtemp(join(tmpdir(), `rs-agent-${name}-`));
  return { dir: own, remove: () => rm(own, { recursive: true, force: true }) };
}

/** True if any user may walk down to `dir`. */
async function othersMayPass(dir: string): Promise<boolean> {
  for (let at = dir; ; at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}
