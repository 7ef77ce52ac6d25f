import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { treeCpuMs } from "@rs-agent/kit/processes/cpu-time.ts";
import { processTree } from "@rs-agent/kit/processes/process-tree.ts";
import { residentMb } from "@rs-agent/kit/processes/resident-memory.ts";
import { wrongOption } from "@rs-agent/kit/options.ts";

/** A process on this host with its descendants. */
export interface NamedProcess {
  name: string;
  pid: number;
}

export interface ProcessUse {
  name: string;
  /** User and system time over the run, descendants included. */
  cpuMs: number;
  /** Descendants included. */
  maxRssMb: number;
}

/**
 * `name=PID`.
 * @throws TerminalError CFG_INVALID
 */
export function parseProcess(text: string): NamedProcess {
  const [, name, pid] = /^([^=\s]{1,40})=(\d{1,9})$/.exec(text) ?? [];
  if (name === undefined) throw wrongOption("--pid", text, "must be name=PID");
  if (residentMb(Number(pid)) > 0) return { name, pid: Number(pid) };
  throw wrongOption("--pid", text, "there is no such process on this host");
}

/**
 * What `npm start` started, by the file in its run folder (kit/src/processes/leftovers.ts); none
 * without that file.
 */
export function processesOfStart(runDir: string): NamedProcess[] {
  const seen = new Map<string, number>();
  return readText(join(runDir, "processes"))
    .split("\n")
    .slice(1)
    .map((line) => Number(line.split(" ")[0]))
    .filter((pid) => pid > 0 && residentMb(pid) > 0)
    .map((pid) => {
      const name = nameOf(pid);
      const count = (seen.get(name) ?? 0) + 1;
      seen.set(name, count);
      return { name: count === 1 ? name : `${name} ${count}`, pid };
    });
}

/** Looks every second until it is stopped. Works on Linux; elsewhere everything is 0. */
export function watchProcesses(processes: readonly NamedProcess[]): { stop(): ProcessUse[] } {
  const uses = processes.map(({ name, pid }) => ({
    name,
    pid,
    before: treeCpuMs(pid),
    now: 0,
    maxRssMb: 0,
  }));
  const look = () => {
    for (const use of uses) {
      // A process that has ended keeps what it used.
      use.now = Math.max(use.now, treeCpuMs(use.pid));
      const mb = processTree(use.pid).reduce((sum, each) => sum + residentMb(each), 0);
      use.maxRssMb = Math.max(use.maxRssMb, mb);
    }
  };
  look();
  const timer = setInterval(look, 1_000);
  return {
    stop() {
      clearInterval(timer);
      look();
      return uses.map(({ name, before, now, maxRssMb }) => ({
        name,
        cpuMs: Math.max(0, now - before),
        maxRssMb,
      }));
    },
  };
}

const interpreters = /^(?:node|perl|python[\d.]*)$/;

function nameOf(pid: number): string {
  const words = readText(`/proc/${pid}/cmdline`)
    .split(/[\0 ]/)
    .filter((word) => word !== "" && !word.startsWith("-"));
  const service = /services\/([\w-]+)\/src\/main\.ts$/;
  const ours = words.map((word) => service.exec(word)?.[1]).find((name) => name !== undefined);
  const programs = words.map((word) => basename(word)).filter((word) => !interpreters.test(word));
  return ours ?? programs[0] ?? String(pid);
}

function readText(file: string): string {
  try {
    return readFileSync(file, "latin1");
  } catch {
    return "";
  }
}
