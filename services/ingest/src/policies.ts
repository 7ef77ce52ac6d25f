import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { openPolicies, type PoliciesDeps } from "@rs-agent/shared/store/policies-in-force.ts";

export interface WatchedPoliciesDeps extends PoliciesDeps {
  refreshMs: number;
  /** The database answered, or did not. */
  onHeard: (isThere: boolean) => void;
}

/** The policies in force, which a timer keeps up to date. */
export interface Policies {
  book(): PolicyBook;
  close(): void;
}

/** @throws what the first reading throws: without policies nobody knows whose mail to take */
export async function watchPolicies(deps: WatchedPoliciesDeps): Promise<Policies> {
  const { refreshMs, onHeard, log } = deps;
  const policies = await openPolicies(deps);
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const again = () => {
    if (closed) return;
    timer = setTimeout(() => {
      policies
        .refresh()
        .then(
          () => onHeard(true),
          (error: unknown) => {
            if (error instanceof RetryableError) onHeard(false);
            if (!closed) log.warn({ reason: messageOf(error) }, "policies could not be read");
          },
        )
        .finally(again);
    }, refreshMs);
    timer.unref();
  };
  again();
  return {
    book: () => policies.book(),
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}
