import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { createPolicyBook, type PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { PolicyStore } from "@rs-agent/shared/store/policies.ts";

export interface PoliciesDeps {
  store: Pick<PolicyStore, "all" | "version">;
  refreshMs: number;
  /** The database answered, or did not. */
  onHeard: (isThere: boolean) => void;
  log: Logger;
}

/** The policies in force. A timer asks for their version and reads them only if that is another. */
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
  // The version first: what is stored between the two is read once more.
  let version = await store.version();
  let book = createPolicyBook(await store.all());
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const refresh = async (): Promise<void> => {
    const newest = await store.version();
    onHeard(true);
    if (newest === version) return;
    try {
      const documents = await store.all();
      book = createPolicyBook(documents);
      log.info({ documents: documents.length }, "policies changed");
    } catch (error) {
      if (error instanceof RetryableError) throw error;
      log.error({ reason: messageOf(error) }, "policies are wrong, the old ones stay in force");
    }
    version = newest;
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
