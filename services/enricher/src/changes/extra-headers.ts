import { foldField } from "@rs-agent/shared/mail/header-block.ts";
import type { ApplyChange } from "./change.ts";

/** Adds the fields that the policy names, on top and in its order; what the mail has stays. */
export const addExtraHeaders: ApplyChange<"extra-headers"> = (mail, { headers }) => {
  mail.header.prepend(...headers.map(({ name, value }) => foldField(name, value)));
  return undefined;
};
