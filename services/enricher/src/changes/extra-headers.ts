import { foldField } from "@rs-agent/shared/mail/header-block.ts";
import type { ApplyChange } from "./change.ts";

/** Adds the policy's fields on top, in its order; fields that the mail already has stay. */
export const addExtraHeaders: ApplyChange<"extra-headers"> = (mail, { headers }) => {
  mail.header.prepend(...headers.map(({ name, value }) => foldField(name, value)));
  return undefined;
};
