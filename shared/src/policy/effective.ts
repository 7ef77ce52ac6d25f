import { LRUCache } from "lru-cache";
import { ownChecksIn } from "../checks/asked.ts";
import type { OwnCheck } from "../checks/own-check.ts";
import { TerminalError } from "../errors.ts";
import { settingsHashOf } from "../mail/task-settings.ts";
import { routesElsewhere } from "../mail/local-part.ts";
import { senderLookup } from "../mail/sender-map.ts";
import type { SmtpEnvelope } from "../mail/smtp-envelope.ts";
import { builtInNextHop, builtInRules } from "./built-in.ts";
import { compilePlan, type PlanParts } from "./compile.ts";
import { mergedRules, type CompleteRules } from "./complete-rules.ts";
import { ownersOf, policyProblems } from "./consistency.ts";
import type { PolicyDocument, TenantDocument } from "./document.ts";
import {
  domainOfAddress,
  normalAddress,
  normalDomain,
  onlyDomainOf,
  withoutExtension,
} from "../mail/mail-domain.ts";
import { contains, parseAddress, parseNetwork, type Network } from "./networks.ts";
import { parseNextHop } from "./next-hop.ts";
import type { Direction, Plan } from "../mail/plan.ts";

export type { Direction } from "../mail/plan.ts";

/** What the policy needs to know of a mail; a `MailRecord` fits. */
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
  /** Instead of `header.fromDomain`: the one From address, or its domain. */
  headerFrom?: string | undefined;
  recipients: readonly { address: string; outcome?: string | undefined }[];
}

export interface PlanQuery {
  direction: Direction;
  /** Outgoing: the listener's tenant or the client's. Incoming mail's tenant is its recipient's. */
  tenantId?: string | undefined;
  mailFrom: string;
  headerFromDomain?: string | undefined;
  /** The From addresses if they are known: a sender rewrite may name them one by one. */
  headerFromAddresses?: readonly string[] | undefined;
  recipient: string;
  /** Default `mail`. `dsn`: our own report, signed and never checked. `scan-only`: never changed. */
  purpose?: PlanParts["purpose"] | undefined;
}

/** Recipients of one mail whose effective policy is the same. */
export interface PolicyGroup {
  plan: Plan;
  recipients: string[];
}

/** All policies, ready to be asked. Plans are shared between calls: never change one. */
export interface PolicyBook {
  /** The newest revision among all documents. */
  readonly revision: number;
  /** The checks of their own that some mail may have to pass. */
  readonly ownChecks: readonly OwnCheck[];
  /**
   * By how the mail came in, never by an address that the sender wrote. A listener's own tenant goes
   * before that of the client's network: its clients have proved who they are, wherever they are.
   */
  directionOf(
    clientAddress: string,
    listenerOutgoing: boolean,
    listenerTenant?: string,
  ): { direction: Direction; tenantId?: string };
  hasTenant(tenantId: string): boolean;
  /** Incoming: only recipients in a tenant's domains, else we were an open relay. */
  acceptsRecipient(address: string, direction: Direction): boolean;
  planFor(query: PlanQuery): Plan;
  /**
   * The open recipients by equal effective policy, in the order of the record. Recipients that have
   * their outcome already go with the first group; without any open one there is no group.
   */
  groups(mail: MailForPolicy): PolicyGroup[];
}

export interface BookOptions {
  /** `host:port`: where mail goes whose policy names no next hop. */
  nextHop?: string;
}

/**
 * Makes a book of documents that have each passed their schema.
 * @throws TerminalError CFG_POLICY_INVALID naming everything that does not hold together
 */
export function createPolicyBook(
  documents: readonly PolicyDocument[],
  options: BookOptions = {},
): PolicyBook {
  const nextHop = options.nextHop ?? builtInNextHop;
  const problems = policyProblems(documents, { inForce: true }).map(
    ({ documentId, path, message }) => `${[documentId, ...path].join(" ")}: ${message}`,
  );
  if (parseNextHop(nextHop) === undefined) problems.push(`next hop ${nextHop}: must be host:port`);
  if (problems.length > 0) throw new TerminalError("CFG_POLICY_INVALID", problems.join("\n"));
  return new Book(documents, nextHop);
}

/** Distinct plans kept at hand; each is a few kilobytes. */
const maxPlans = 2_000;

class Book implements PolicyBook {
  readonly revision: number;
  readonly ownChecks: readonly OwnCheck[];
  readonly #nextHop: string;
  readonly #documents: ReadonlyMap<string, PolicyDocument>;
  readonly #owners: ReadonlyMap<string, TenantDocument>;
  readonly #tenants: ReadonlyMap<string, TenantDocument>;
  /** Narrowest first: in overlapping networks the more special one decides. */
  readonly #networks: readonly { network: Network; tenantId: string }[];
  readonly #plans = new LRUCache<string, { plan: Plan; effect: string }>({ max: maxPlans });
  readonly #rules = new LRUCache<string, CompleteRules>({ max: maxPlans });

  constructor(documents: readonly PolicyDocument[], nextHop: string) {
    const tenants = documents.filter((document) => document.scope === "tenant");
    this.#nextHop = nextHop;
    this.revision = newest(documents);
    this.ownChecks = ownChecksOf(documents);
    this.#documents = new Map(documents.map((document) => [document._id, document]));
    this.#tenants = new Map(tenants.map((tenant) => [tenant.tenantId, tenant]));
    this.#owners = ownersOf(tenants);
    this.#networks = tenants
      .flatMap(({ tenantId, networks = [] }) =>
        networks.map((text) => ({ network: parseNetwork(text), tenantId })),
      )
      .sort((a, b) => b.network.bits - a.network.bits);
  }

  directionOf(clientAddress: string, listenerOutgoing: boolean, listenerTenant?: string) {
    if (listenerOutgoing && listenerTenant !== undefined) {
      return { direction: "outgoing" as const, tenantId: listenerTenant };
    }
    const address = parseAddress(clientAddress);
    const home = address && this.#networks.find(({ network }) => contains(network, address));
    if (home !== undefined) return { direction: "outgoing" as const, tenantId: home.tenantId };
    return { direction: listenerOutgoing ? ("outgoing" as const) : ("incoming" as const) };
  }

  hasTenant(tenantId: string): boolean {
    return this.#tenants.has(tenantId);
  }

  acceptsRecipient(address: string, direction: Direction): boolean {
    if (direction === "outgoing") return address !== "";
    // RFC 5321 section 4.5.1: postmaster without a domain is ours.
    if (address.toLowerCase() === "postmaster") return true;
    const local = address.slice(0, address.lastIndexOf("@"));
    // A next hop that trusts us would route it on.
    if (routesElsewhere(local)) return false;
    const domain = domainOfAddress(address);
    return domain !== undefined && local !== "" && this.#owners.has(domain);
  }

  planFor(query: PlanQuery): Plan {
    return this.#plan(query).plan;
  }

  groups(mail: MailForPolicy): PolicyGroup[] {
    const groups = new Map<string, PolicyGroup>();
    const isOpen = ({ outcome = "open" }: { outcome?: string | undefined }) => outcome === "open";
    for (const { address } of mail.recipients.filter(isOpen)) {
      const { plan, effect } = this.#plan(this.#queryFor(mail, address));
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

  #queryFor(mail: MailForPolicy, recipient: string): PlanQuery {
    const { origin, smtp } = mail;
    const common = { mailFrom: smtp.mailFrom, ...headerFromOf(mail), recipient };
    if (origin.via === "dsn") return { ...common, ...this.#dsnWay(common), purpose: "dsn" };
    const way =
      origin.incoming === true
        ? { direction: "incoming" as const }
        : this.directionOf(smtp.client.address, origin.outgoing === true, origin.tenantId);
    return { ...common, ...way, purpose: origin.scanOnly === true ? "scan-only" : "mail" };
  }

  /** Our own report came in by no network: it goes to a tenant's user, or out to a stranger. */
  #dsnWay({ recipient, headerFromDomain }: Pick<PlanQuery, "recipient" | "headerFromDomain">) {
    const isOurs = this.#owners.has(domainOfAddress(recipient) ?? "");
    const tenantId = this.#owners.get(headerFromDomain ?? "")?.tenantId;
    return { direction: isOurs ? ("incoming" as const) : ("outgoing" as const), tenantId };
  }

  /** The plan and a hash of all that it does: ids and revisions of the documents do not matter. */
  #plan(query: PlanQuery): { plan: Plan; effect: string } {
    const { direction, purpose = "mail" } = query;
    const { tenant, documents } = this.#chain(query);
    const ids = documents.map(({ _id }) => _id);
    const rules = this.#rulesOf(documents, direction);
    const key = this.#keyFor(query, tenant, rules);
    const noKey = key === undefined && direction === "outgoing" && (tenant?.keys ?? []).length > 0;
    const name = JSON.stringify([direction, purpose, tenant?._id, key?.domain, ids]);
    const known = this.#plans.get(name);
    if (known !== undefined) return known;
    const plan = compilePlan({
      policyIds: ids.length === 0 ? ["built-in"] : [...ids].reverse(),
      revision: newest(documents),
      tenantId: tenant?.tenantId,
      direction,
      rules,
      key,
      noKey,
      purpose,
    });
    const made = { plan, effect: settingsHashOf({ ...plan, policyIds: [], revision: 0 }) };
    this.#plans.set(name, made);
    return made;
  }

  #rulesOf(documents: readonly PolicyDocument[], direction: Direction): CompleteRules {
    const name = JSON.stringify([direction, ...documents.map(({ _id }) => _id)]);
    const known = this.#rules.get(name);
    if (known !== undefined) return known;
    const layers = documents.map(({ rules }) => rules);
    const rules = mergedRules(builtInRules(direction, this.#nextHop), layers, direction);
    this.#rules.set(name, rules);
    return rules;
  }

  /** The documents that apply, most general first, and the tenant whose mail it is. */
  #chain(query: PlanQuery) {
    const subject = query.direction === "incoming" ? query.recipient : query.mailFrom;
    const domain = domainOfAddress(subject) ?? "";
    const owner = this.#owners.get(domain);
    const tenant = query.direction === "incoming" ? owner : this.#tenants.get(query.tenantId ?? "");
    // An outgoing sender's own rules apply only if the sender's domain is the tenant's.
    const isOwn = tenant !== undefined && owner === tenant;
    const ids = [
      "default",
      ...(tenant === undefined ? [] : [tenant._id]),
      ...(isOwn ? [`domain:${domain}`, ...addressIds(subject, tenant)] : []),
    ];
    return { tenant, documents: ids.flatMap((id) => this.#documents.get(id) ?? []) };
  }

  /**
   * Our signature: only on outgoing mail of the tenant that owns the domain of the From that leaves,
   * and on reports.
   */
  #keyFor(query: PlanQuery, tenant: TenantDocument | undefined, rules: CompleteRules) {
    const domain = leavingFromDomain(query, rules);
    const owner = this.#owners.get(domain ?? "");
    const isOurs = query.purpose === "dsn" || (query.direction === "outgoing" && owner === tenant);
    if (!isOurs) return undefined;
    return owner?.keys?.find((key) => key.domain === domain);
  }
}

/** Under the rules of an address with its extension are those of the address without it. */
function addressIds(address: string, { recipientDelimiter }: TenantDocument): string[] {
  const normal = normalAddress(address);
  if (normal === undefined) return [];
  const base = withoutExtension(normal, recipientDelimiter ?? "");
  return [...(base === undefined ? [] : [`address:${base}`]), `address:${normal}`];
}

/** The checks of their own that these documents bring and do not merely switch off. */
export function ownChecksOf(documents: readonly PolicyDocument[]): OwnCheck[] {
  const parts = documents.flatMap(({ rules }) => [rules, rules.incoming, rules.outgoing]);
  const names = parts.flatMap((part) =>
    ownChecksIn(part).filter((name) => part?.checks?.[name]?.enabled !== false),
  );
  return [...new Set(names)].sort();
}

function newest(documents: readonly PolicyDocument[]): number {
  return documents.reduce((highest, { revision }) => Math.max(highest, revision), 0);
}

type HeaderFrom = Pick<PlanQuery, "headerFromDomain" | "headerFromAddresses">;

/** One address or one domain, nothing else: text around it could hide the real author. */
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
 * will be made. A record of before has no addresses; its domain alone finds what the map says for
 * `@domain`, and the enricher holds what would leave under another one.
 */
function leavingFromDomain(query: PlanQuery, { changes }: CompleteRules): string | undefined {
  const { headerFromDomain = "", headerFromAddresses = [`@${headerFromDomain}`], purpose } = query;
  const { enabled, map } = changes["sender-rewrite"];
  if (!enabled || (purpose ?? "mail") !== "mail") return normalDomain(headerFromDomain);
  const newAddress = senderLookup(map);
  return onlyDomainOf(headerFromAddresses.map((address) => newAddress(address) ?? address));
}
