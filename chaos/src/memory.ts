import { residentMb } from "@rs-agent/kit/processes/resident-memory.ts";
import { serviceNames, type ServiceName } from "@rs-agent/kit/system/service-names.ts";
import type { RunningSystem } from "@rs-agent/kit/system/system.ts";

/** The memory of a run's processes, sampled again and again. */
export interface MemoryWatch {
  /** The most resident memory that any process of each service had, in MB. */
  maxRssMb(): Record<ServiceName, number>;
  stop(): void;
}

const everyMs = 1_000;

export function watchMemory(services: RunningSystem): MemoryWatch {
  const highest = new Map<ServiceName, number>();
  const look = () => {
    const pids = services.pids();
    for (const name of serviceNames) {
      const rss = Math.max(0, ...pids[name].map(residentMb));
      highest.set(name, Math.max(highest.get(name) ?? 0, rss));
    }
  };
  const timer = setInterval(look, everyMs);
  return {
    maxRssMb: () => {
      const entries = serviceNames.map((name) => [name, Math.round(highest.get(name) ?? 0)]);
      return Object.fromEntries(entries) as Record<ServiceName, number>;
    },
    stop: () => clearInterval(timer),
  };
}
