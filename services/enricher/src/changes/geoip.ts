import { foldField } from "@rs-agent/shared/mail/header-block.ts";
import type { ApplyChange } from "./change.ts";

/**
 * Writes the SMTP client's country as SpamAssassin does (Mail::SpamAssassin::Plugin::RelayCountry):
 * an ISO 3166 code, `XX` for unknown, `**` for a private address.
 */
export const addRelayCountries: ApplyChange<"geoip"> = (mail, _change, { task, countries }) => {
  const country = countries.of(task.smtp.client.address);
  mail.header.prepend(foldField("X-Relay-Countries", country));
  return undefined;
};
