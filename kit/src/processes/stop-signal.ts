import { exit } from "@rs-agent/shared/lifecycle.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** One Ctrl-C may arrive several times: from the terminal, from npm and from the bootstrap. */
const sameKeyMs = 1_000;
/** The exit code, as a shell has it: 128 plus SIGINT's number. */
export const interrupted = 130;

/** Aborts at the first Ctrl-C (or SIGTERM, SIGHUP); a second one ends this process immediately. */
export function stopSignal(onFirst: () => void, onSecond = () => {}): AbortSignal {
  const controller = new AbortController();
  let firstAt: number | undefined;
  const onSignal = () => {
    const now = performance.now();
    if (firstAt === undefined) {
      firstAt = now;
      onFirst();
      controller.abort();
    } else if (now - firstAt > sameKeyMs) {
      onSecond();
      exit(interrupted);
    }
  };
  for (const signal of signals) process.on(signal, onSignal);
  return controller.signal;
}
