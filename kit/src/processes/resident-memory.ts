import { readFileSync } from "node:fs";

/** Resident memory of a process in MB (proc(5), /proc/PID/status, VmRSS). 0 if it is gone. */
export function residentMb(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}
