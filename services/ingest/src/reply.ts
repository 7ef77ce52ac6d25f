import { tooLarge, type Objection } from "@rs-agent/shared/mail/admission.ts";

/**
 * A reply that refuses, as smtp-server wants it: an error with the code. The enhanced status code
 * (RFC 3463) stands first in the text and goes out as it is.
 */
export class Refusal extends Error {
  readonly responseCode: number;
  /** RFC 3463, for the log. */
  readonly status: string;

  constructor(responseCode: number, status: string, text: string) {
    super(`${status} ${text}`);
    this.name = "Refusal";
    this.responseCode = responseCode;
    this.status = status;
  }
}

/** What no door takes is refused so at this one. */
export function refusalBy({ code, status, text }: Objection): Refusal {
  return new Refusal(code, status, text);
}

/** Every refusal that ingest makes by itself; syntax and sequence errors are smtp-server's. */
export const refuse = {
  relayingDenied: () =>
    new Refusal(550, "5.7.1", "relaying denied: the recipient is in no domain of ours"),
  clientNotListed: () => new Refusal(554, "5.7.1", "this listener is for listed clients only"),
  tooManyErrors: () => new Refusal(421, "4.7.0", "too many refused recipients, closing connection"),
  tooManyConnections: () => new Refusal(421, "4.3.2", "too many connections, try again later"),
  goingDown: () => new Refusal(421, "4.3.2", "going down, try again in a moment"),
  unknownParameter: (name: string) =>
    new Refusal(555, "5.5.4", `parameter ${name.slice(0, 40)} is not supported`),
  badSender: () => new Refusal(501, "5.1.7", "bad sender address"),
  badRecipient: () => new Refusal(501, "5.1.3", "bad recipient address"),
  /** RFC 6531 §3.5: the local part needs SMTPUTF8, which we do not offer. */
  nonAsciiAddress: () => new Refusal(553, "5.6.7", "the address is not ASCII"),
  tooLarge: (limit: number) => refusalBy(tooLarge(limit)),
  tooMuchInFlight: () => new Refusal(452, "4.3.1", "too much mail at once, try again later"),
  overloaded: () => new Refusal(452, "4.3.1", "too much mail waits already, try again later"),
  tooSlow: () => new Refusal(421, "4.4.2", "the mail did not arrive in time, closing connection"),
  commandTooSlow: () => new Refusal(421, "4.4.2", "no command came in time, closing connection"),
  cutShort: () => new Refusal(421, "4.4.2", "the mail ended before its end, closing connection"),
  tooManyRecipients: () => new Refusal(452, "4.5.3", "too many recipients"),
  /** Mail that would leave by default rules and unsigned waits at the client instead. */
  unknownTenant: (tenantId: string) =>
    new Refusal(451, "4.3.5", `no policy has the tenant ${tenantId} of this listener`),
  /** RFC 5321 §4.2.4 and §3.8: what follows would be a mail's bytes, so the session ends. */
  noChunking: () => new Refusal(500, "5.5.2", "BDAT is not offered, closing connection"),
  xforwardRefused: () =>
    new Refusal(451, "4.5.4", "XFORWARD was refused, so the mail's client is not known"),
  storeAway: () => new Refusal(451, "4.3.0", "cannot store mail now, try again later"),
} as const;
