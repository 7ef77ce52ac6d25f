import type { Logger } from "@rs-agent/shared/logger.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import { createPolicyBook, type PolicyBook } from "@rs-agent/shared/policy/effective.ts";

export interface PoliciesDeps {
  all: () => Promise<PolicyDocument[]>;
  /** Where mail goes whose policy names no route. */
  nextHop: string | undefined;
  log: Logger;
}

/** The current policies, read again by a timer. What does not hold together keeps the old ones. */
export interface Policies {
  book(): PolicyBook;
  refresh(): Promise<void>;
}

/** @throws what the first reading throws: without any policy nothing can be decided */
export async function openPolicies({ all, nextHop, log }: PoliciesDeps): Promise<Policies> {
  const options = nextHop === undefined ? {} : { nextHop };
  let documents = await all();
  let book = createPolicyBook(documents, options);
  const refresh = async () => {
    const read = await all();
    if (JSON.stringify(read) === JSON.stringify(documents)) return;
    documents = read;
    try {
      book = createPolicyBook(documents, options);
      log.info({ documents: documents.length }, "policies changed");
    } catch (error) {
      log.error({ reason: messageOf(error) }, "policies are wrong, the old ones stay in force");
    }
  };
  return { book: () => book, refresh };
}
