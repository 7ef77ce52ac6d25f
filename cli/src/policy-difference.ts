import { isDeepStrictEqual } from "node:util";
import { nameOf, type PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import { counted } from "./terminal.ts";

/** What changes if a policy file replaces everything that is stored. */
export interface PolicyDifference {
  added: PolicyDocument[];
  changed: PolicyDocument[];
  removed: PolicyDocument[];
  /** Domains whose mail was accepted so far and will be refused. */
  lostDomains: string[];
}

export function policyDifference(
  stored: readonly PolicyDocument[],
  wanted: readonly PolicyDocument[],
): PolicyDifference {
  const before = new Map(stored.map((document) => [document._id, document]));
  const after = new Set(wanted.map(({ _id }) => _id));
  const domains = new Set(wanted.flatMap(domainsOf));
  return {
    added: wanted.filter(({ _id }) => !before.has(_id)),
    changed: wanted.filter((document) => {
      const former = before.get(document._id);
      return former !== undefined && !isSame(former, document);
    }),
    removed: stored.filter(({ _id }) => !after.has(_id)),
    lostDomains: stored.flatMap(domainsOf).filter((domain) => !domains.has(domain)),
  };
}

/** Ignores the revision, which the store sets. */
function isSame(one: PolicyDocument, other: PolicyDocument): boolean {
  return isDeepStrictEqual({ ...one, revision: 0 }, { ...other, revision: 0 });
}

function domainsOf(document: PolicyDocument): readonly string[] {
  return document.scope === "tenant" ? (document.domains ?? []) : [];
}

/** One line per kind of change; none if nothing changes. */
export function differenceLines(difference: PolicyDifference): string[] {
  const { added, changed, removed, lostDomains } = difference;
  const line = (label: string, documents: readonly PolicyDocument[]) =>
    documents.length === 0 ? [] : [`${label}: ${listed(documents.map(labelOf))}`];
  return [
    ...line("new", added),
    ...line("changed", changed),
    ...line("removed", removed),
    ...(lostDomains.length === 0
      ? []
      : [`mail is refused from then on for ${listed(lostDomains)}`]),
  ];
}

/** The tenants that will be gone. */
export function lostTenants({ removed }: PolicyDifference): string[] {
  return removed.filter(({ scope }) => scope === "tenant").map(nameOf);
}

function labelOf(document: PolicyDocument): string {
  return document.scope === "default" ? "default" : `${document.scope} ${nameOf(document)}`;
}

/** A list cut after ten names. */
export function listed(names: readonly string[]): string {
  const more = names.length - 10;
  return names.slice(0, 10).join(", ") + (more > 0 ? ` and ${counted(more, "other")}` : "");
}
