import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { processTree } from "./process-tree.ts";

/** Clock ticks per second of /proc's times. */
const ticks = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/**
 * CPU milliseconds (user and system) of a process and its descendants, including those that have
 * ended and were waited for: a server that works with short-lived children (postfix, spamd) loses
 * none of their time. 0 once it is gone (Linux).
 */
export function treeCpuMs(pid: number): number {
  return (processTree(pid).reduce((sum, each) => sum + ticksOf(each), 0) * 1000) / ticks;
}

/** proc(5): /proc/PID/stat. */
function ticksOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Fields are counted from after the command name, which may contain blanks (utime is the 14th);
    // the two after utime and stime are those of children that were waited for.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  } catch {
    return 0;
  }
}
