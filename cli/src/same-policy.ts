import { isDeepStrictEqual } from "node:util";
import { RsError } from "@rs-agent/shared/errors.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { createPolicyBook, type PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { PolicyStore } from "@rs-agent/shared/store/policies.ts";

/**
 * Whether the stored policies would give a held mail the same plan, made from the same documents.
 * They are read once, and only if a mail needs it.
 */
export function createPolicyComparison(): (
  mail: MailRecord,
  store: Pick<PolicyStore, "all">,
) => Promise<boolean> {
  let reading: Promise<PolicyBook | undefined> | undefined;
  return async (mail, store) => {
    const { state, plan } = mail;
    if (state !== "held" || plan === undefined) return false;
    reading ??= readBook(store);
    const [group, ...others] = (await reading)?.groups(mail) ?? [];
    if (group === undefined || others.length > 0) return false;
    const { policyIds, revision } = group.plan;
    return isDeepStrictEqual(
      { policyIds, revision },
      { policyIds: plan.policyIds, revision: plan.revision },
    );
  };
}

/** Undefined if the stored policies do not fit together, so that nobody can say. */
async function readBook(store: Pick<PolicyStore, "all">): Promise<PolicyBook | undefined> {
  try {
    return createPolicyBook(await store.all());
  } catch (error) {
    if (!(error instanceof RsError) || error.code !== "CFG_POLICY_INVALID") throw error;
    return undefined;
  }
}
