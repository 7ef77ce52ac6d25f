import { onTestFinished } from "vitest";

/** Returns what the test has opened, and closes it after the test, in reverse order. */
export function untilTestEnds<T extends AsyncDisposable | Disposable>(opened: T): T {
  onTestFinished(async () => {
    if (Symbol.asyncDispose in opened) await opened[Symbol.asyncDispose]();
    else opened[Symbol.dispose]();
  });
  return opened;
}
