import { setTimeout as wait } from "node:timers/promises";
import type { ChaosSystem } from "../parts/chaos-system.ts";
import { nameOf, type Fault } from "./schedule.ts";

/** A fault that was caused, for counts and stories. */
export interface DoneFault {
  name: string;
  fault: Fault;
  at: Date;
  pid?: number;
}

export interface HavocOptions {
  system: ChaosSystem;
  schedule: readonly Fault[];
  /** Share of all mails that have met their end, 0 to 1: the faults are spread over it. */
  progress: () => number;
  onFault: (fault: DoneFault) => void;
  signal: AbortSignal;
}

/** The last mails are finished without new faults. */
const spreadOver = 0.95;
const shortestGapMs = 300;
/** If nothing moves, the next fault comes after this long all the same. */
const longestGapMs = 20_000;
const lookEveryMs = 50;

/** Causes all faults of the schedule; settles when each is over and what it held back goes on. */
export async function wreakHavoc(options: HavocOptions): Promise<DoneFault[]> {
  const { schedule, progress, signal, onFault } = options;
  const done: DoneFault[] = [];
  const lasting: Promise<void>[] = [];
  for (const [place, fault] of schedule.entries()) {
    const due = (spreadOver * (place + 0.5)) / schedule.length;
    const giveUpAt = performance.now() + longestGapMs;
    await pause(shortestGapMs, signal);
    while (progress() < due && performance.now() < giveUpAt && !signal.aborted) {
      await pause(lookEveryMs, signal);
    }
    if (signal.aborted) break;
    const note = (pid?: number) => {
      const each = { name: nameOf(fault), fault, at: new Date(), ...(pid && { pid }) };
      done.push(each);
      onFault(each);
    };
    lasting.push(inflict(options.system, fault, note, signal));
  }
  await Promise.all(lasting);
  return done;
}

/** Settles when the fault is over. */
async function inflict(
  system: ChaosSystem,
  fault: Fault,
  note: (pid?: number) => void,
  signal: AbortSignal,
): Promise<void> {
  if ("service" in fault) return inflictOnService(system, fault, note, signal);
  if ("part" in fault) {
    const part = system.parts[fault.part];
    await untilUp(() => part.pid, signal);
    note(part.pid);
    if (fault.kind === "kill-part") return part.killAndRestart(fault.downMs);
    part.signal("SIGSTOP");
    await pause(fault.forMs, signal);
    part.signal("SIGCONT");
    return;
  }
  const link = system.links[fault.link];
  note();
  if (fault.kind === "reset") link.reset();
  if (fault.kind === "half-close") link.halfClose(fault.side);
  if (fault.kind === "stall") link.stall();
  if (fault.kind === "refuse") await link.refuse();
  if (!("forMs" in fault)) return;
  await pause(fault.forMs, signal);
  await link.heal();
}

type ServiceFault = Extract<Fault, { service: unknown }>;
const signals = { kill: "SIGKILL", drain: "SIGTERM", stop: "SIGSTOP" } as const;

async function inflictOnService(
  { services }: ChaosSystem,
  fault: ServiceFault,
  note: (pid?: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { service, nth, kind } = fault;
  const pid = await untilUp(() => services.kill(service, signals[kind], nth), signal);
  note(pid);
  if (kind !== "stop") return;
  await pause(fault.forMs, signal);
  // Only this process: one that was killed meanwhile has a running successor.
  if (pid !== undefined) resume(pid);
}

/** While the process is down there is nothing to kill. */
async function untilUp(
  pidOf: () => number | undefined,
  signal: AbortSignal,
): Promise<number | undefined> {
  for (;;) {
    const pid = pidOf();
    if (pid !== undefined || signal.aborted) return pid;
    await pause(lookEveryMs, signal);
  }
}

function resume(pid: number): void {
  try {
    process.kill(pid, "SIGCONT");
  } catch {
    // ESRCH: it was killed meanwhile.
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await wait(ms, undefined, { signal }).catch(() => undefined);
}
