import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { createPolicyBook, type PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { PolicyStore } from "@rs-agent/shared/store/policies.ts";

export interface PoliciesDeps {
  store: Pick<PolicyStore, "all" | "revision">;
  refreshMs: number;
  /** The database answered, or did not. */
  onHeard: (isThere: boolean) => void;
  log: Logger;
}

/** The policies in force, asked for again by a timer. */
export interface Policies {
  book(): PolicyBook;
  close(): void;
}

/**
 * Reads the policies and keeps them up to date. What cannot be read or does not hold together
 * leaves the old ones in force.
 * @throws what the first reading throws: without policies nobody knows whose mail to take
 */
export async function openPolicies(deps: PoliciesDeps): Promise<Policies> {
  const { store, refreshMs, onHeard, log } = deps;
  let revision = await store.revision();
  let book = createPolicyBook(await store.all());
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const refresh = async (): Promise<void> => {
    const newest = await store.revision();
    onHeard(true);
    if (newest === revision) return;
    const documents = await store.all();
    revision = newest;
    book = createPolicyBook(documents);
    log.info({ revision, documents: documents.length }, "policies changed");
  };
  const again = () => {
    if (closed) return;
    timer = setTimeout(() => {
      refresh()
        .catch((error: unknown) => {
          if (error instanceof RetryableError) onHeard(false);
          if (!closed) log.warn({ reason: messageOf(error) }, "policies could not be read");
        })
        .finally(again);
    }, refreshMs);
    timer.unref();
  };
  again();
  return {
    book: () => book,
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}
