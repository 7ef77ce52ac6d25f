import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";

/** Clock ticks a second of /proc's times. */
const ticks = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** CPU milliseconds (user and system) that a process has used so far; 0 once it is gone (Linux). */
export function cpuMs(pid: number): number {
  const fields = statOf(pid);
  return fields === undefined ? 0 : ((fields.utime + fields.stime) * 1000) / ticks;
}

/**
 * CPU milliseconds of a process, of what it has started, and of what of that has ended and was waited
 * for: a server that works with short-lived children (postfix, spamd) loses none of their time.
 */
export function treeCpuMs(root: number): number {
  const processes = new Map(allPids().flatMap((pid) => entryOf(pid)));
  const within = (pid: number): boolean => {
    if (pid === root) return true;
    const parent = processes.get(pid)?.ppid;
    return parent !== undefined && parent > 1 && within(parent);
  };
  let sum = 0;
  for (const [pid, { utime, stime, cutime, cstime }] of processes) {
    if (within(pid)) sum += utime + stime + cutime + cstime;
  }
  return (sum * 1000) / ticks;
}

interface Stat {
  ppid: number;
  utime: number;
  stime: number;
  /** Of children that were waited for. */
  cutime: number;
  cstime: number;
}

function entryOf(pid: number): [number, Stat][] {
  const stat = statOf(pid);
  return stat === undefined ? [] : [[pid, stat]];
}

function allPids(): number[] {
  return readdirSync("/proc").map(Number).filter(Number.isInteger);
}

/** proc(5): /proc/PID/stat. */
function statOf(pid: number): Stat | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Fields are counted behind the command name, which may hold blanks (utime is the 14th).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const at = (place: number) => Number(fields[place]);
    return { ppid: at(1), utime: at(11), stime: at(12), cutime: at(13), cstime: at(14) };
  } catch {
    return undefined;
  }
}
