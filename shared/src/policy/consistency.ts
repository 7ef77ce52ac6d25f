import { builtInNames } from "../checks/built-in-checks.ts";
import { checkOf } from "../checks/verdict.ts";
import { BoundedMap } from "../bounded-map.ts";
import type { Steps } from "../slices.ts";
import { builtInNextHop } from "./built-in.ts";
import { completed, type CompleteRules, type LayeredRules } from "./complete-rules.ts";
import { nameOf, tenantIdSchema, type PolicyDocument, type TenantDocument } from "./document.ts";
import type { Direction } from "../mail/plan.ts";
import {
  domainOfAddress,
  normalAddress,
  normalDomain,
  withoutExtension,
} from "../mail/mail-domain.ts";
import { createLayers } from "./layers.ts";
import { isLoopbackHost, parseNextHop } from "./next-hop.ts";
import { documentsFor, type PolicyIndex, type PolicyProblem } from "./policy-index.ts";
import { stepsProblem } from "./steps.ts";

/**
 * What is wrong with documents that are each well-formed: ids that do not fit, things that two
 * tenants claim, rules for domains that nobody owns, and plans whose steps are out of order (I5).
 * Without `tenantsComplete` (some tenants could not be read), owners of domains are not checked.
 * With `inForce`, nothing is reported that an earlier release let pass and that the services take
 * care of themselves.
 */
export function* problemSteps(
  index: PolicyIndex,
  documents: Iterable<PolicyDocument>,
  options: { tenantsComplete?: boolean; inForce?: boolean } = {},
): Steps<PolicyProblem[]> {
  const { tenantsComplete = true, inForce = false } = options;
  const judge = createJudge(inForce ? ruleProblems : newRuleProblems);
  const ofIds: PolicyProblem[] = [];
  const ofKeys: PolicyProblem[] = [];
  const ofOwners: PolicyProblem[] = [];
  const ofPlans: PolicyProblem[] = [];
  for (const document of documents) {
    ofIds.push(...idProblems(document));
    if (document.scope === "tenant") ofKeys.push(...keyProblems(document));
    if (tenantsComplete) ofOwners.push(...ownerProblems(document, index));
    ofPlans.push(...planProblems(document, documentsUnder(document, index), judge));
    yield;
  }
  return [...index.doubledIds, ...ofIds, ...index.claimedTwice, ...ofKeys, ...ofOwners, ...ofPlans];
}

function idProblems(document: PolicyDocument): PolicyProblem[] {
  const expected = expectedId(document);
  if (document._id === expected) return [];
  const message =
    expected === undefined
      ? `${nameOf(document)} is not a valid ${document.scope}`
      : `must be ${expected}`;
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

function keyProblems(tenant: TenantDocument): PolicyProblem[] {
  const own = new Set(tenant.domains);
  const seen = new Set<string>();
  return (tenant.keys ?? []).flatMap(({ domain }, at) => {
    const message = seen.has(domain)
      ? `${domain} already has a key; a domain has only one`
      : `${domain} is not among this tenant's domains`;
    const isWrong = seen.has(domain) || !own.has(domain);
    seen.add(domain);
    return isWrong ? [{ documentId: tenant._id, path: ["keys", at, "domain"], message }] : [];
  });
}

function ownerProblems(document: PolicyDocument, { owners }: PolicyIndex): PolicyProblem[] {
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

/** The documents that lie under this one, most general first. */
function documentsUnder(document: PolicyDocument, index: PolicyIndex): PolicyDocument[] {
  if (document.scope === "default") return [];
  if (document.scope === "tenant") return documentsFor(index, undefined);
  const domain = ownDomain(document) ?? "";
  const owner = index.owners.get(domain);
  if (document.scope === "domain") return documentsFor(index, owner);
  const base = withoutExtension(nameOf(document), owner?.recipientDelimiter ?? "");
  return documentsFor(index, owner, { domain, addresses: base === undefined ? [] : [base] });
}

/** Finds what is wrong with the rules of these documents laid over one another. */
type Judge = (documents: readonly PolicyDocument[], direction: Direction) => RuleProblem[];

function createJudge(problemsOf: (rules: CompleteRules) => RuleProblem[]): Judge {
  const layers = createLayers(builtInNextHop);
  const known = new BoundedMap<LayeredRules, RuleProblem[]>(100);
  return (documents, direction) => {
    const rules = layers(documents, direction);
    const before = known.get(rules);
    if (before !== undefined) return before;
    const problems = problemsOf(completed(rules));
    known.set(rules, problems);
    return problems;
  };
}

/**
 * What is wrong in the plans that this document leads to because of it; inherited faults are not
 * its own.
 */
function planProblems(
  document: PolicyDocument,
  under: readonly PolicyDocument[],
  judge: Judge,
): PolicyProblem[] {
  const { _id: documentId, rules } = document;
  const problems = (["incoming", "outgoing"] as const).flatMap((direction) => {
    const before = judge(under, direction);
    const after = judge([...under, document], direction);
    const isNew = (one: RuleProblem) => !before.some(({ message }) => message === one.message);
    return after.filter(isNew).map(({ path, message }) => ({
      documentId,
      path: pathIn(rules, direction, path),
      message: `${message} (${direction} mail)`,
    }));
  });
  // Both directions usually have the same problem: once is enough.
  const place = ({ path }: PolicyProblem) => path.join(" ");
  return problems.filter(
    (one, at) => problems.findIndex((other) => place(other) === place(one)) === at,
  );
}

interface RuleProblem {
  path: string[];
  message: string;
}

/** The problems of rules that are about to be applied. */
function newRuleProblems(rules: CompleteRules): RuleProblem[] {
  const credential = credentialProblem(rules.route);
  return [
    ...ruleProblems(rules),
    ...(credential === undefined ? [] : [{ path: ["route", "tls"], message: credential }]),
  ];
}

/** Whoever sits between us and the hop must not learn the password (RFC 4954 §9). */
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

/** Where this document has the rule: under its direction, under both, or inherited. */
function pathIn(
  rules: PolicyDocument["rules"],
  direction: "incoming" | "outgoing",
  path: string[],
): string[] {
  const [top = ""] = path;
  if (top in (rules[direction] ?? {})) return ["rules", direction, ...path];
  return ["rules", ...path];
}
