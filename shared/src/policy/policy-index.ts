import { ownChecksIn } from "../checks/asked.ts";
import type { OwnCheck } from "../checks/own-check.ts";
import type { Steps } from "../slices.ts";
import { nameOf, type PolicyDocument, type TenantDocument } from "./document.ts";
import { NetworkMap } from "./network-map.ts";
import { parseNetwork } from "./networks.ts";
import type { SigningKey } from "./signing-key.ts";

/** One problem: in which document, where in it, and what would be right. */
export interface PolicyProblem {
  documentId: string;
  path: (string | number)[];
  message: string;
}

/**
 * Documents by all that they are found by. If several claim the same thing, the last one gets it.
 */
export interface PolicyIndex {
  /** The newest revision among all documents. */
  readonly revision: number;
  /** The document for everybody. */
  readonly fallback: PolicyDocument | undefined;
  /** By tenant's name. */
  readonly tenants: ReadonlyMap<string, TenantDocument>;
  /** The tenant that owns each domain. */
  readonly owners: ReadonlyMap<string, TenantDocument>;
  /** The documents of domains and of addresses, by the name in their id. */
  readonly domains: ReadonlyMap<string, PolicyDocument>;
  readonly addresses: ReadonlyMap<string, PolicyDocument>;
  /** The tenant to which the clients in these networks belong. */
  readonly networks: NetworkMap<TenantDocument>;
  /** By the domain that each key signs for. */
  readonly keys: ReadonlyMap<string, SigningKey>;
  /** As {@link ownChecksOf} finds them. */
  readonly ownChecks: readonly OwnCheck[];
  readonly doubledIds: readonly PolicyProblem[];
  readonly claimedTwice: readonly PolicyProblem[];
}

export function* indexSteps(documents: Iterable<PolicyDocument>): Steps<PolicyIndex> {
  let fallback: PolicyDocument | undefined;
  const tenants = new Map<string, TenantDocument>();
  const owners = new Map<string, TenantDocument>();
  const domains = new Map<string, PolicyDocument>();
  const addresses = new Map<string, PolicyDocument>();
  const networks = new NetworkMap<TenantDocument>();
  const keys = new Map<string, SigningKey>();
  const ownChecks = new Set<OwnCheck>();
  const doubledIds: PolicyProblem[] = [];
  const claimedTwice: PolicyProblem[] = [];
  let revision = 0;

  function* addTenant(tenant: TenantDocument): Steps<void> {
    const { _id: documentId } = tenant;
    const claim = (path: [string, number], entry: string, owner: TenantDocument | undefined) => {
      if (owner === undefined) return;
      const whose = owner._id === documentId ? "listed twice" : `already ${owner._id}'s`;
      claimedTwice.push({ documentId, path, message: `${entry} is ${whose}` });
    };
    tenants.set(tenant.tenantId, tenant);
    for (const [at, entry] of (tenant.networks ?? []).entries()) {
      claim(["networks", at], entry, networks.set(parseNetwork(entry), tenant));
      yield;
    }
    for (const [at, entry] of (tenant.domains ?? []).entries()) {
      claim(["domains", at], entry, owners.get(entry));
      owners.set(entry, tenant);
      yield;
    }
    for (const key of tenant.keys ?? []) keys.set(key.domain, key);
  }

  const ids = new Set<string>();
  for (const document of documents) {
    const { _id: documentId } = document;
    if (ids.has(documentId)) doubledIds.push({ documentId, path: [], message: "is there twice" });
    ids.add(documentId);
    revision = Math.max(revision, document.revision);
    for (const name of broughtBy(document)) ownChecks.add(name);
    if (document.scope === "default") fallback = document;
    if (document.scope === "tenant") yield* addTenant(document);
    if (document.scope === "domain") domains.set(nameOf(document), document);
    if (document.scope === "address") addresses.set(nameOf(document), document);
    yield;
  }
  const own = [...ownChecks].sort();
  return {
    ...{ revision, fallback, tenants, owners, domains, addresses, networks, keys },
    ...{ ownChecks: own, doubledIds, claimedTwice },
  };
}

/**
 * The documents that apply to mail of this tenant, most general first. `own`: the sender or
 * recipient whose rules apply too, because its domain is the tenant's.
 */
export function documentsFor(
  { fallback, domains, addresses }: PolicyIndex,
  tenant: TenantDocument | undefined,
  own?: { domain: string; addresses: readonly string[] },
): PolicyDocument[] {
  const special = own && [
    domains.get(own.domain),
    ...own.addresses.map((one) => addresses.get(one)),
  ];
  return [fallback, tenant, ...(special ?? [])].filter((document) => document !== undefined);
}

/** The own checks that these documents bring and do not merely switch off. */
export function ownChecksOf(documents: readonly PolicyDocument[]): OwnCheck[] {
  return [...new Set(documents.flatMap(broughtBy))].sort();
}

function broughtBy({ rules }: PolicyDocument): OwnCheck[] {
  return [rules, rules.incoming, rules.outgoing].flatMap((part) =>
    ownChecksIn(part).filter((name) => part?.checks?.[name]?.enabled !== false),
  );
}
