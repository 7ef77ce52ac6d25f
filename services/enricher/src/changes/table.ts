import type { ChangeKind } from "@rs-agent/shared/mail/task-settings.ts";
import type { ApplyChange } from "./change.ts";
import { addExtraHeaders } from "./extra-headers.ts";
import { addRelayCountries } from "./geoip.ts";
import { addDisclaimer } from "./disclaimer.ts";
import { rewriteSender } from "./sender-rewrite.ts";
import { sign } from "./sign.ts";
import { strip } from "./strip.ts";
import { tagSubject } from "./subject-tag.ts";
import { addVerdictHeaders } from "./verdict-headers.ts";

/** Every change that a policy can ask for, by kind. A new kind gets a file and a line here. */
export const changes: { readonly [K in ChangeKind]: ApplyChange<K> } = {
  strip,
  "verdict-headers": addVerdictHeaders,
  "extra-headers": addExtraHeaders,
  geoip: addRelayCountries,
  "subject-tag": tagSubject,
  "sender-rewrite": rewriteSender,
  disclaimer: addDisclaimer,
  sign,
};
