/** A signal that aborts after `ms` or with `parent`; `end` frees its timer and listener. */
export function createDeadline(
  ms: number,
  parent?: AbortSignal,
): { signal: AbortSignal; end: () => void } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, ms);
  parent?.addEventListener("abort", abort, { once: true });
  if (parent?.aborted === true) abort();
  const end = () => {
    clearTimeout(timer);
    parent?.removeEventListener("abort", abort);
  };
  return { signal: controller.signal, end };
}

/** Settles with the promise, or at the signal's abort if that comes first. */
export async function settledOrAborted(
  promise: Promise<unknown>,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted) return;
  const aborted = Promise.withResolvers<undefined>();
  const abort = () => aborted.resolve(undefined);
  signal.addEventListener("abort", abort, { once: true });
  await Promise.race([promise, aborted.promise]);
  signal.removeEventListener("abort", abort);
}
