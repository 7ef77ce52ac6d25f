import { BoundedMap } from "../bounded-map.ts";
import type { OwnCheck } from "../checks/own-check.ts";
import { TerminalError } from "../errors.ts";
import { routesElsewhere } from "../mail/local-part.ts";
import { senderLookup } from "../mail/sender-map.ts";
import type { SmtpEnvelope } from "../mail/smtp-envelope.ts";
import { remembered } from "../remembered.ts";
import { atOnce, type Steps } from "../slices.ts";
import { builtInNextHop } from "./built-in.ts";
import { compilePlan, type PlanParts } from "./compile.ts";
import { completed, type CompleteRules } from "./complete-rules.ts";
import { problemSteps } from "./consistency.ts";
import type { PolicyDocument, TenantDocument } from "./document.ts";
import {
  domainOfAddress,
  normalAddress,
  normalDomain,
  onlyDomainOf,
  withoutExtension,
} from "../mail/mail-domain.ts";
import { createLayers, type Layers } from "./layers.ts";
import { parseAddress } from "./networks.ts";
import { parseNextHop } from "./next-hop.ts";
import { documentsFor, indexSteps, type PolicyIndex } from "./policy-index.ts";
import type { SigningKey } from "./signing-key.ts";
import { planHash, type Direction, type Plan } from "../mail/plan.ts";

export type { Direction } from "../mail/plan.ts";

/** What policy needs to know about a mail; a `MailRecord` fits. */
export interface MailForPolicy {
  smtp: Pick<SmtpEnvelope, "mailFrom" | "client">;
  origin: {
    via: string;
    outgoing?: boolean | undefined;
    incoming?: boolean | undefined;
    tenantId?: string | undefined;
    scanOnly?: boolean | undefined;
  };
  header?:
    { fromDomain?: string | undefined; fromAddresses?: readonly string[] | undefined } | undefined;
  /** In place of `header.fromDomain`: the one From address, or its domain. */
  headerFrom?: string | undefined;
  recipients: readonly { address: string; outcome?: string | undefined }[];
}

export interface PlanQuery {
  direction: Direction;
  /**
   * Outgoing: the listener's tenant or the client's. The tenant of incoming mail is its
   * recipient's.
   */
  tenantId?: string | undefined;
  mailFrom: string;
  headerFromDomain?: string | undefined;
  /** The From addresses, if known: a sender rewrite may name them one by one. */
  headerFromAddresses?: readonly string[] | undefined;
  recipient: string;
  /** Default `mail`. `dsn`: our own report, signed and never checked. `scan-only`: never changed. */
  purpose?: PlanParts["purpose"] | undefined;
}

/** Recipients of one mail who have the same effective policy. */
export interface PolicyGroup {
  plan: Plan;
  recipients: string[];
}

/** All policies, ready to be asked. Plans are shared between calls: never change one. */
export interface PolicyBook {
  /** The newest revision among all documents. */
  readonly revision: number;
  /** The own checks that some mail may have to pass. */
  readonly ownChecks: readonly OwnCheck[];
  /**
   * Decides by how the mail came in, never by an address that the sender wrote. A listener's own
   * tenant takes precedence over that of the client's network: the listener's clients have proved
   * who they are, wherever they are.
   */
  directionOf(
    clientAddress: string,
    listenerOutgoing: boolean,
    listenerTenant?: string,
  ): { direction: Direction; tenantId?: string };
  hasTenant(tenantId: string): boolean;
  /** Incoming: only recipients in a tenant's domains; anything else would make us an open relay. */
  acceptsRecipient(address: string, direction: Direction): boolean;
  planFor(query: PlanQuery): Plan;
  /**
   * The open recipients grouped by effective policy, in the order of the record. Recipients who
   * already have their outcome are in the first group; if none is open, there is no group.
   */
  groups(mail: MailForPolicy): PolicyGroup[];
}

export interface BookOptions {
  /** `host:port`: where mail goes if its policy names no next hop. */
  nextHop?: string;
}

/**
 * Makes a book from documents that have each passed their schema.
 * @throws TerminalError CFG_POLICY_INVALID naming everything that does not fit together
 */
export function createPolicyBook(
  documents: readonly PolicyDocument[],
  options: BookOptions = {},
): PolicyBook {
  return atOnce(bookSteps(documents, options));
}

/**
 * The same in steps, for callers that have other things to do than read tens of thousands of
 * documents.
 */
export function* bookSteps(
  documents: readonly PolicyDocument[],
  { nextHop = builtInNextHop }: BookOptions,
): Steps<PolicyBook> {
  const index = yield* indexSteps(documents);
  const problems = (yield* problemSteps(index, documents, { inForce: true })).map(
    ({ documentId, path, message }) => `${[documentId, ...path].join(" ")}: ${message}`,
  );
  if (parseNextHop(nextHop) === undefined) problems.push(`next hop ${nextHop}: must be host:port`);
  if (problems.length > 0) throw new TerminalError("CFG_POLICY_INVALID", problems.join("\n"));
  return new Book(index, nextHop);
}

/** How many distinct plans are kept; each is a kilobyte or two, and shares the rest with others. */
const maxPlans = 10_000;

class Book implements PolicyBook {
  readonly #index: PolicyIndex;
  readonly #layers: Layers;
  readonly #plans = new BoundedMap<string, Plan>(maxPlans);

  constructor(index: PolicyIndex, nextHop: string) {
    this.#index = index;
    this.#layers = createLayers(nextHop);
  }

  get revision() {
    return this.#index.revision;
  }

  get ownChecks() {
    return this.#index.ownChecks;
  }

  directionOf(clientAddress: string, listenerOutgoing: boolean, listenerTenant?: string) {
    if (listenerOutgoing && listenerTenant !== undefined) {
      return { direction: "outgoing" as const, tenantId: listenerTenant };
    }
    const address = parseAddress(clientAddress);
    const home = address && this.#index.networks.find(address);
    if (home !== undefined) return { direction: "outgoing" as const, tenantId: home.tenantId };
    return { direction: listenerOutgoing ? ("outgoing" as const) : ("incoming" as const) };
  }

  hasTenant(tenantId: string): boolean {
    return this.#index.tenants.has(tenantId);
  }

  acceptsRecipient(address: string, direction: Direction): boolean {
    if (direction === "outgoing") return address !== "";
    // RFC 5321 §4.5.1: postmaster without a domain is ours.
    if (address.toLowerCase() === "postmaster") return true;
    const local = address.slice(0, address.lastIndexOf("@"));
    // A next hop that trusts us would send it on.
    if (routesElsewhere(local)) return false;
    const domain = domainOfAddress(address);
    return domain !== undefined && local !== "" && this.#index.owners.has(domain);
  }

  groups(mail: MailForPolicy): PolicyGroup[] {
    const isOpen = ({ outcome = "open" }: { outcome?: string | undefined }) => outcome === "open";
    const planFor = this.#plansFor(mail);
    const planned = mail.recipients.filter(isOpen).map(({ address }) => {
      return { address, plan: planFor(address) };
    });
    const isOnePlan = new Set(planned.map(({ plan }) => plan)).size === 1;
    const groups = new Map<string, PolicyGroup>();
    for (const { address, plan } of planned) {
      const effect = isOnePlan ? "the same" : planHash(plan);
      const group = groups.get(effect) ?? { plan, recipients: [] };
      group.recipients.push(address);
      groups.set(effect, group);
    }
    const [first, ...others] = groups.values();
    if (first === undefined) return [];
    const closed = mail.recipients.filter((recipient) => !isOpen(recipient));
    const recipients = [...first.recipients, ...closed.map(({ address }) => address)];
    return [{ plan: first.plan, recipients }, ...others];
  }

  /** Looks up once what does not depend on the recipient. */
  #plansFor(mail: MailForPolicy): (recipient: string) => Plan {
    const { origin, smtp } = mail;
    const { mailFrom, client } = smtp;
    if (origin.via === "dsn") {
      const common = { mailFrom, ...headerFromOf(mail), purpose: "dsn" as const };
      return (recipient) =>
        this.planFor({ ...common, ...this.#dsnWay(common, recipient), recipient });
    }
    const purpose = origin.scanOnly === true ? "scan-only" : "mail";
    const way =
      origin.incoming === true
        ? { direction: "incoming" as const }
        : this.directionOf(client.address, origin.outgoing === true, origin.tenantId);
    if (way.direction === "incoming")
      return (recipient) => this.planFor({ ...way, mailFrom, recipient, purpose });
    const plan = this.planFor({ ...way, mailFrom, ...headerFromOf(mail), recipient: "", purpose });
    return () => plan;
  }

  /**
   * Our own report came in through no network: it goes to a tenant's user, or out to a stranger.
   */
  #dsnWay({ headerFromDomain }: HeaderFrom, recipient: string) {
    const { owners } = this.#index;
    const isOurs = owners.has(domainOfAddress(recipient) ?? "");
    const tenantId = owners.get(headerFromDomain ?? "")?.tenantId;
    return { direction: isOurs ? ("incoming" as const) : ("outgoing" as const), tenantId };
  }

  planFor(query: PlanQuery): Plan {
    const { direction, purpose = "mail" } = query;
    const { tenant, documents } = this.#chain(query);
    const ids = documents.map(({ _id }) => _id);
    const key = this.#keyFor(query, tenant, documents);
    const noKey = key === undefined && direction === "outgoing" && (tenant?.keys ?? []).length > 0;
    const name = JSON.stringify([direction, purpose, tenant?._id, key?.domain, ids]);
    const known = this.#plans.get(name);
    if (known !== undefined) return known;
    const plan = compilePlan({
      policyIds: ids.length === 0 ? ["built-in"] : [...ids].reverse(),
      revision: documents.reduce((newest, { revision }) => Math.max(newest, revision), 0),
      tenantId: tenant?.tenantId,
      direction,
      rules: completed(this.#layers(documents, direction)),
      key,
      noKey,
      purpose,
    });
    this.#plans.set(name, plan);
    return plan;
  }

  /** The documents that apply, most general first, and the tenant whose mail it is. */
  #chain(query: PlanQuery) {
    const { owners, tenants } = this.#index;
    const subject = query.direction === "incoming" ? query.recipient : query.mailFrom;
    const domain = domainOfAddress(subject) ?? "";
    const owner = owners.get(domain);
    const tenant = query.direction === "incoming" ? owner : tenants.get(query.tenantId ?? "");
    // An outgoing sender's own rules apply only if the sender's domain is the tenant's.
    const isOwn = tenant !== undefined && owner === tenant;
    const own = isOwn ? { domain, addresses: namesOf(subject, tenant) } : undefined;
    return { tenant, documents: documentsFor(this.#index, tenant, own) };
  }

  /**
   * The key of our signature: only for outgoing mail of the tenant that owns the domain of the From
   * that leaves, and for reports.
   */
  #keyFor(
    query: PlanQuery,
    tenant: TenantDocument | undefined,
    documents: readonly PolicyDocument[],
  ): SigningKey | undefined {
    const { direction, purpose } = query;
    if (purpose !== "dsn" && direction !== "outgoing") return undefined;
    const domain = leavingFromDomain(query, this.#layers(documents, direction)) ?? "";
    const { owners, keys } = this.#index;
    return purpose === "dsn" || owners.get(domain) === tenant ? keys.get(domain) : undefined;
  }
}

/** The rules of an address with an extension lie over those of the address without it. */
function namesOf(address: string, { recipientDelimiter = "" }: TenantDocument): string[] {
  const normal = normalAddress(address);
  if (normal === undefined) return [];
  const base = withoutExtension(normal, recipientDelimiter);
  return base === undefined ? [normal] : [base, normal];
}

const lookupOf = remembered(senderLookup);

type HeaderFrom = Pick<PlanQuery, "headerFromDomain" | "headerFromAddresses">;

/** Exactly one address or one domain: other text around it could hide the real author. */
function headerFromOf({ header, headerFrom }: MailForPolicy): HeaderFrom {
  const { fromDomain, fromAddresses } = header ?? {};
  if (fromDomain !== undefined || fromAddresses !== undefined) {
    return {
      headerFromDomain: normalDomain(fromDomain ?? ""),
      headerFromAddresses: fromAddresses,
    };
  }
  if (headerFrom === undefined || !/^[^\s<>",;:]+$/.test(headerFrom)) return {};
  if (!headerFrom.includes("@")) return { headerFromDomain: normalDomain(headerFrom) };
  return {
    headerFromDomain: domainOfAddress(headerFrom),
    headerFromAddresses: [headerFrom],
  };
}

/**
 * The domain of the From that leaves (I10): after the sender rewrite, if the rules have one that
 * will be made. A record from an earlier version has no addresses. Its domain then finds only what
 * the map says for `@domain`, and the enricher holds a mail that would leave under another one.
 */
function leavingFromDomain(
  query: PlanQuery,
  { changes }: Pick<CompleteRules, "changes">,
): string | undefined {
  const { headerFromDomain = "", headerFromAddresses = [`@${headerFromDomain}`], purpose } = query;
  const { enabled, map } = changes["sender-rewrite"];
  if (!enabled || (purpose ?? "mail") !== "mail") return normalDomain(headerFromDomain);
  const newAddress = lookupOf(map);
  return onlyDomainOf(headerFromAddresses.map((address) => newAddress(address) ?? address));
}
