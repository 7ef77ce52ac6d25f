import type { OwnCheck } from "../checks/own-check.ts";
import { messageOf, RetryableError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { bookSteps, type PolicyBook } from "../policy/effective.ts";
import { inSlices } from "../slices.ts";
import type { PolicyStore } from "./policies.ts";

export interface PoliciesDeps {
  store: Pick<PolicyStore, "all" | "version">;
  /** Where mail goes whose policy names no route. */
  nextHop?: string | undefined;
  /** Called before a policy that names them is in force. */
  onOwnChecks?: (names: readonly OwnCheck[]) => Promise<void>;
  log: Logger;
}

/**
 * The policies in force. What does not hold together leaves the old ones so. New ones are read and
 * made ready in slices, beside the work by the old ones.
 */
export interface PoliciesInForce {
  book(): PolicyBook;
  /**
   * Asks for their version, and reads them only if that is another. Called by a timer.
   * @throws RetryableError while the database is away
   */
  refresh(): Promise<void>;
}

/** @throws what the first reading throws: without any policy nothing can be decided */
export async function openPolicies(deps: PoliciesDeps): Promise<PoliciesInForce> {
  const { store, nextHop, log, onOwnChecks } = deps;
  const options = nextHop === undefined ? {} : { nextHop };
  // The version first: what is stored between the two is read once more.
  let version = await store.version();
  let book = await inSlices(bookSteps(await store.all(), options));
  await onOwnChecks?.(book.ownChecks);
  const refresh = async () => {
    const newest = await store.version();
    if (newest === version) return;
    try {
      const documents = await store.all();
      const next = await inSlices(bookSteps(documents, options));
      await onOwnChecks?.(next.ownChecks);
      book = next;
      log.info({ documents: documents.length }, "policies changed");
    } catch (error) {
      // The database is away: asked again. What is wrong stays so until somebody changes it.
      if (error instanceof RetryableError) throw error;
      log.error({ reason: messageOf(error) }, "policies are wrong, the old ones stay in force");
    }
    version = newest;
  };
  return { book: () => book, refresh };
}
