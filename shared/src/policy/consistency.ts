import { builtInNames, checkOf } from "../checks/verdict.ts";
import { builtInNextHop, builtInRules } from "./built-in.ts";
import { mergedRules, type CompleteRules } from "./complete-rules.ts";
import { nameOf, tenantIdSchema, type PolicyDocument, type TenantDocument } from "./document.ts";
import {
  domainOfAddress,
  normalAddress,
  normalDomain,
  withoutExtension,
} from "../mail/mail-domain.ts";
import { networkKey, parseNetwork } from "./networks.ts";
import { isLoopbackHost, parseNextHop } from "./next-hop.ts";
import { stepsProblem } from "./steps.ts";

/** One wrong thing: in which document, where in it, and what would be right. */
export interface PolicyProblem {
  documentId: string;
  path: (string | number)[];
  message: string;
}

/**
 * What is wrong with documents that are each well-formed: ids that do not fit, things that two
 * tenants claim, rules for domains that nobody owns, and plans whose steps are out of order (I5).
 * Without `tenantsComplete` (some tenants could not be read) nothing is said of who owns a domain;
 * with `inForce` nothing of what an earlier release let pass and the services see to themselves.
 */
export function policyProblems(
  documents: readonly PolicyDocument[],
  options: { tenantsComplete?: boolean; inForce?: boolean } = {},
): PolicyProblem[] {
  const { tenantsComplete = true, inForce = false } = options;
  const judge = inForce ? ruleProblems : newRuleProblems;
  const tenants = documents.filter((document) => document.scope === "tenant");
  const owners = ownersOf(tenants);
  const byId = new Map(documents.map((document) => [document._id as string, document]));
  return [
    ...doubledIds(documents),
    ...documents.flatMap((document) => idProblems(document)),
    ...claimedTwice(tenants),
    ...tenants.flatMap(keyProblems),
    ...(tenantsComplete ? documents.flatMap((document) => ownerProblems(document, owners)) : []),
    ...documents.flatMap((document) =>
      planProblems(document, documentsUnder(document, byId, owners), judge),
    ),
  ];
}

/** The tenant that owns each domain. */
export function ownersOf(tenants: readonly TenantDocument[]): Map<string, TenantDocument> {
  return new Map(
    tenants.flatMap((tenant) => (tenant.domains ?? []).map((domain) => [domain, tenant] as const)),
  );
}

function doubledIds(documents: readonly PolicyDocument[]): PolicyProblem[] {
  const seen = new Set<string>();
  return documents.flatMap(({ _id }) => {
    const isDouble = seen.has(_id);
    seen.add(_id);
    return isDouble ? [{ documentId: _id, path: [], message: "is there twice" }] : [];
  });
}

function idProblems(document: PolicyDocument): PolicyProblem[] {
  const expected = expectedId(document);
  if (document._id === expected) return [];
  const message =
    expected === undefined ? `${nameOf(document)} is no ${document.scope}` : `must be ${expected}`;
  return [{ documentId: document._id, path: [], message }];
}

function expectedId(document: PolicyDocument): string | undefined {
  const name = nameOf(document);
  switch (document.scope) {
    case "default":
      return "default";
    case "tenant":
      return tenantIdSchema.safeParse(name).success ? `tenant:${document.tenantId}` : undefined;
    case "domain":
      return prefixed("domain", normalDomain(name));
    case "address":
      return prefixed("address", normalAddress(name));
  }
}

function prefixed(scope: string, name: string | undefined): string | undefined {
  return name === undefined ? undefined : `${scope}:${name}`;
}

function claimedTwice(tenants: readonly TenantDocument[]): PolicyProblem[] {
  const owners = new Map<string, string>();
  const claim = (tenant: TenantDocument, list: "networks" | "domains") =>
    (tenant[list] ?? []).flatMap((entry, at) => {
      const key = list === "networks" ? networkKey(parseNetwork(entry)) : entry;
      const owner = owners.get(`${list} ${key}`);
      owners.set(`${list} ${key}`, tenant._id);
      if (owner === undefined) return [];
      const whose = owner === tenant._id ? "listed twice" : `already ${owner}'s`;
      return [{ documentId: tenant._id, path: [list, at], message: `${entry} is ${whose}` }];
    });
  return tenants.flatMap((tenant) => [...claim(tenant, "networks"), ...claim(tenant, "domains")]);
}

function keyProblems(tenant: TenantDocument): PolicyProblem[] {
  const seen = new Set<string>();
  return (tenant.keys ?? []).flatMap(({ domain }, at) => {
    const message = seen.has(domain)
      ? `${domain} has a key already; a domain is signed with one`
      : `${domain} is not among this tenant's domains`;
    const isWrong = seen.has(domain) || !(tenant.domains ?? []).includes(domain);
    seen.add(domain);
    return isWrong ? [{ documentId: tenant._id, path: ["keys", at, "domain"], message }] : [];
  });
}

function ownerProblems(
  document: PolicyDocument,
  owners: ReadonlyMap<string, TenantDocument>,
): PolicyProblem[] {
  if (document.scope === "default" || document.scope === "tenant") return [];
  const domain = ownDomain(document);
  if (domain === undefined || owners.has(domain)) return [];
  const message = `${domain} belongs to no tenant: list it in a tenant's domains`;
  return [{ documentId: document._id, path: [], message }];
}

function ownDomain(document: PolicyDocument): string | undefined {
  const name = nameOf(document);
  return document.scope === "address" ? domainOfAddress(name) : normalDomain(name);
}

/** The documents under this one, most general first. */
function documentsUnder(
  document: PolicyDocument,
  byId: ReadonlyMap<string, PolicyDocument>,
  owners: ReadonlyMap<string, TenantDocument>,
): PolicyDocument[] {
  if (document.scope === "default") return [];
  const domain = document.scope === "tenant" ? undefined : (ownDomain(document) ?? "");
  const ids = [
    "default",
    ...(domain === undefined ? [] : [owners.get(domain)?._id ?? ""]),
    ...(document.scope === "address" ? [`domain:${domain ?? ""}`] : []),
    ...addressUnder(document, owners.get(domain ?? "")),
  ];
  return ids.flatMap((id) => byId.get(id) ?? []);
}

/** The id of the address without its extension, if this is one with. */
function addressUnder(document: PolicyDocument, owner: TenantDocument | undefined): string[] {
  if (document.scope !== "address") return [];
  const base = withoutExtension(nameOf(document), owner?.recipientDelimiter ?? "");
  return base === undefined ? [] : [`address:${base}`];
}

/** What this document makes wrong in the plans that it leads to; inherited faults are not its own. */
function planProblems(
  document: PolicyDocument,
  under: readonly PolicyDocument[],
  judge: (rules: CompleteRules) => RuleProblem[],
): PolicyProblem[] {
  const { _id: documentId, rules } = document;
  const inherited = under.map((one) => one.rules);
  const problems = (["incoming", "outgoing"] as const).flatMap((direction) => {
    const start = builtInRules(direction, builtInNextHop);
    const before = judge(mergedRules(start, inherited, direction));
    const after = judge(mergedRules(start, [...inherited, rules], direction));
    const isNew = (one: RuleProblem) => !before.some(({ message }) => message === one.message);
    return after.filter(isNew).map(({ path, message }) => ({
      documentId,
      path: pathIn(rules, direction, path),
      message: `${message} (${direction} mail)`,
    }));
  });
  // Both directions usually show the same thing: once is enough.
  const place = ({ path }: PolicyProblem) => path.join(" ");
  return problems.filter(
    (one, at) => problems.findIndex((other) => place(other) === place(one)) === at,
  );
}

interface RuleProblem {
  path: string[];
  message: string;
}

/** Of rules that are to be applied. */
function newRuleProblems(rules: CompleteRules): RuleProblem[] {
  const credential = credentialProblem(rules.route);
  return [
    ...ruleProblems(rules),
    ...(credential === undefined ? [] : [{ path: ["route", "tls"], message: credential }]),
  ];
}

/** Who stands between us and the hop must not be told the password (RFC 4954 §9). */
function credentialProblem(route: CompleteRules["route"]): string | undefined {
  const { credential, tls, nextHop } = route;
  if (credential === undefined || tls === "required") return undefined;
  if (isLoopbackHost(parseNextHop(nextHop)?.host ?? "")) return undefined;
  const why = tls === "none" ? "in plain text" : "to whatever certificate is shown";
  return `${tls} with a credential would tell the password ${why}; it must be required`;
}

function ruleProblems(rules: CompleteRules): RuleProblem[] {
  const { changes } = rules;
  const steps = stepsProblem(rules);
  return [
    ...(steps === undefined ? [] : [{ path: ["steps"], message: steps }]),
    ...builtInNames.flatMap((name) => {
      const problem = checkOf(name).problemOf?.(rules[name]);
      return problem === undefined ? [] : [{ ...problem, path: [name, problem.path] }];
    }),
    ...(changes.disclaimer.enabled && changes.disclaimer.text === ""
      ? [{ path: ["changes", "disclaimer"], message: "is on but has no text" }]
      : []),
    ...(changes["extra-headers"].enabled &&
    Object.keys(changes["extra-headers"].headers).length === 0
      ? [{ path: ["changes", "extra-headers"], message: "is on but has no headers" }]
      : []),
    ...(changes["sender-rewrite"].enabled && Object.keys(changes["sender-rewrite"].map).length === 0
      ? [{ path: ["changes", "sender-rewrite"], message: "is on but has no map" }]
      : []),
  ];
}

/** Where the rule is in this document: under its direction, under both, or inherited. */
function pathIn(
  rules: PolicyDocument["rules"],
  direction: "incoming" | "outgoing",
  path: string[],
): string[] {
  const [top = ""] = path;
  if (top in (rules[direction] ?? {})) return ["rules", direction, ...path];
  return ["rules", ...path];
}
