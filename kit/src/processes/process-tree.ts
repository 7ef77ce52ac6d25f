import { readdirSync, readFileSync } from "node:fs";

/**
 * The process and all its descendants (proc(5), /proc/PID/task/TID/children); only itself if not on
 * Linux.
 */
export function processTree(pid: number): number[] {
  return [
    pid,
    ...tasksOf(pid)
      .flatMap((task) => childrenOf(pid, task))
      .flatMap(processTree),
  ];
}

function tasksOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

function childrenOf(pid: number, task: string): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${task}/children`, "latin1");
    return children.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
