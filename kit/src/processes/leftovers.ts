import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { signalGroup } from "./child.ts";

/**
 * The processes of a run folder, in a file: its owner first, then every process that the owner
 * started, each by pid and start time (proc(5), /proc/PID/stat field 22), so that it can never mean
 * another process. An owner that was killed leaves its processes behind; the next one ends them.
 */
export interface ProcessFile {
  /** Notes a process that leads a group of its own. */
  note(pid: number): void;
  /** Kills every process that was noted, with its group. */
  endAll(): void;
}

/**
 * Makes this process the owner, after ending what a dead owner left behind.
 * @throws TerminalError SETUP_FAILED while another owner lives
 */
export function takeOver(file: string): ProcessFile {
  const [owner, ...processes] = readEntries(file);
  if (owner !== undefined && owner.pid !== process.pid && isAlive(owner)) {
    throw new TerminalError(
      "SETUP_FAILED",
      `another start (process ${owner.pid}) runs in this folder: stop it with Ctrl-C or ` +
        `\`kill ${owner.pid}\`, or set RS_AGENT_RUN_DIR to another folder`,
    );
  }
  if (owner?.pid !== process.pid) {
    processes.filter(isAlive).forEach(killGroup);
    writeFileSync(file, lineOf(entryOf(process.pid)));
  }
  const noted = notedIn.get(file) ?? [];
  notedIn.set(file, noted);
  return {
    note: (pid) => {
      const entry = entryOf(pid);
      noted.push(entry);
      try {
        appendFileSync(file, lineOf(entry));
      } catch {
        // The disk is full, or the folder is gone: only the next start would have needed it.
      }
    },
    endAll: () => noted.filter(isAlive).forEach(killGroup),
  };
}

/**
 * What this process has noted, by file: the file may be gone when the processes are to be ended.
 */
const notedIn = new Map<string, Entry[]>();

interface Entry {
  pid: number;
  startedAt: number;
}

function readEntries(file: string): Entry[] {
  try {
    const lines = readFileSync(file, "utf8").split("\n");
    return lines.flatMap((line) => {
      const [pid, startedAt] = line.split(" ").map(Number);
      return pid === undefined || startedAt === undefined ? [] : [{ pid, startedAt }];
    });
  } catch {
    return [];
  }
}

function entryOf(pid: number): Entry {
  return { pid, startedAt: startTimeOf(pid) ?? 0 };
}

function lineOf({ pid, startedAt }: Entry): string {
  return `${pid} ${startedAt}\n`;
}

function isAlive({ pid, startedAt }: Entry): boolean {
  return startTimeOf(pid) === startedAt;
}

function killGroup({ pid }: Entry): void {
  signalGroup(pid, "SIGKILL");
}

/** Clock ticks since boot; undefined if there is no such process, or only its remains (a zombie). */
function startTimeOf(pid: number): number | undefined {
  try {
    // The name in parentheses may contain anything, even blanks and parentheses.
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ");
    return fields?.[0] === "Z" ? undefined : Number(fields?.[19]);
  } catch {
    return undefined;
  }
}
