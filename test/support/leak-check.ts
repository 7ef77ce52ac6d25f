import type { ChildProcess } from "node:child_process";
import type { Server, Socket } from "node:net";
import { promisify } from "node:util";

/** What can be left open; one line each, as a person would look for it. */
export interface LeakCheck {
  /** What is open now and was not when the check began. */
  left(): string[];
}

interface Begun {
  timer: NodeJS.Timeout;
  where: string;
}

/**
 * Watches this process: child processes, sockets and servers through the handles that Node keeps,
 * timers from when they are set. A timer or handle that lets the process end (`unref`) does not
 * count.
 */
export function watchForLeaks(): LeakCheck {
  const before = new Set(openHandles());
  const timers = watchTimers();
  return {
    left: () => [
      ...openHandles()
        .filter((handle) => !before.has(handle))
        .flatMap(nameOf),
      ...timers().map(({ where }) => `a timer, begun ${where}`),
    ],
  };
}

function openHandles(): object[] {
  return (process as unknown as { _getActiveHandles(): object[] })._getActiveHandles();
}

function nameOf(handle: object): string[] {
  const { constructor } = handle;
  if (constructor.name === "ChildProcess") {
    const { pid, spawnargs } = handle as ChildProcess;
    return [`child process ${pid ?? "?"}: ${spawnargs.join(" ").slice(0, 200)}`];
  }
  if (constructor.name === "Server") {
    const address = (handle as Server).address();
    const where = typeof address === "object" ? `port ${address?.port ?? "?"}` : address;
    return [`a server that listens on ${where}`];
  }
  if (constructor.name === "Socket" || constructor.name === "TLSSocket") {
    const { remoteAddress, remotePort, destroyed } = handle as Socket;
    // Pipes of a child process are reported with it.
    if (destroyed || remotePort === undefined) return [];
    return [`a socket to ${remoteAddress ?? "?"}:${remotePort}`];
  }
  return [];
}

/**
 * Node tells how many timers there are, but not whose they are: Vitest has its own, set earlier.
 */
function watchTimers(): () => Begun[] {
  const begun = new Set<Begun>();
  const watched = <T extends typeof setTimeout | typeof setInterval>(begin: T): T => {
    const watching = ((...args: Parameters<T>) => {
      const timer = (begin as (...args: unknown[]) => NodeJS.Timeout)(...args);
      const stack = new Error().stack?.split("\n").slice(2, 5) ?? [];
      begun.add({ timer, where: stack.map((line) => line.trim()).join(" ") });
      return timer;
    }) as unknown as T;
    const own = (begin as { [promisify.custom]?: unknown })[promisify.custom];
    return Object.assign(watching, own === undefined ? {} : { [promisify.custom]: own });
  };
  globalThis.setTimeout = watched(globalThis.setTimeout);
  globalThis.setInterval = watched(globalThis.setInterval);
  return () => {
    for (const each of begun) if (!isRunning(each.timer)) begun.delete(each);
    return [...begun];
  };
}

function isRunning(timer: NodeJS.Timeout): boolean {
  return !(timer as unknown as { _destroyed: boolean })._destroyed && timer.hasRef();
}
