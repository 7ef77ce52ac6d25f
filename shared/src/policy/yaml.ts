import { stringify } from "yaml";
import type { z } from "zod";
import { TerminalError } from "../errors.ts";
import { maxWrongs, readYaml, type Wrong } from "../yaml-source.ts";
import { atOnce } from "../slices.ts";
import { problemSteps } from "./consistency.ts";
import {
  nameOf,
  policyDocumentSchema,
  type PolicyDocument,
  type PolicyScope,
  type TenantDocument,
} from "./document.ts";
import { normalAddress, normalDomain } from "../mail/mail-domain.ts";
import { policyFileSchema } from "./policy-file.ts";
import { indexSteps } from "./policy-index.ts";
import { positionOf, type YamlPath } from "./yaml-position.ts";

/** A document as the file has it, before it is known to be right. */
interface Candidate {
  value: { _id: string; scope: string };
  /** Where it is in the file. */
  base: YamlPath;
  /** Default, domains and addresses have their rules directly under their name. */
  hasBareRules: boolean;
}

interface Finding {
  path: YamlPath;
  /** The key itself is wrong, not its value. */
  atKey: boolean;
  message: string;
}

/**
 * Reads a whole policy file (docs/policy.md has its form). The error names what is wrong as
 * `file:line:column: what would be right`, sorted by line, and how many more faults there are.
 * `revision` is 0 in all documents.
 * @throws TerminalError CFG_POLICY_INVALID
 */
export function parsePolicyYaml(text: string, fileName: string): PolicyDocument[] {
  const source = readYaml(text);
  if (source.kind === "wrong") throw invalid(fileName, source.wrongs);
  const { value, tree, lines } = source;
  const { documents, findings } = readFile(value);
  if (findings.length === 0) return documents;
  const shown = findings.slice(0, maxWrongs).map(({ path, atKey, message }) => ({
    ...lines.linePos(positionOf(tree, path, atKey)),
    message,
  }));
  throw invalid(fileName, shown, findings.length - shown.length);
}

/**
 * The documents as a file from which `parsePolicyYaml` reads the same documents again. With
 * `maskKeys`, private keys that are in the database itself are hidden.
 */
export function formatPolicyYaml(
  documents: readonly PolicyDocument[],
  options: { maskKeys?: boolean } = {},
): string {
  const sorted = [...documents].sort((a, b) => (a._id < b._id ? -1 : 1));
  const ofScope = <S extends PolicyScope>(
    scope: S,
    shown: (document: DocumentOf<S>) => unknown,
  ) => {
    const its = sorted.filter((document): document is DocumentOf<S> => document.scope === scope);
    const entries = its.map((document) => [nameOf(document), shown(document)] as const);
    return entries.length === 0 ? undefined : Object.fromEntries(entries);
  };
  const file = {
    ...ofScope("default", ({ rules }) => rules),
    tenants: ofScope("tenant", (tenant) => tenantIn(tenant, options)),
    domains: ofScope("domain", ({ rules }) => rules),
    addresses: ofScope("address", ({ rules }) => rules),
  };
  return stringify(file, { lineWidth: 80 });
}

type DocumentOf<S extends PolicyScope> = Extract<PolicyDocument, { scope: S }>;

function tenantIn(
  { networks, domains, recipientDelimiter, keys, rules }: TenantDocument,
  { maskKeys = false }: { maskKeys?: boolean },
) {
  const shown = keys?.map(({ privateKey, ...key }) => {
    const isHidden = maskKeys && !privateKey.startsWith("file:");
    return { ...key, privateKey: isHidden ? "(hidden)" : privateKey };
  });
  return { networks, domains, recipientDelimiter, keys: shown, rules };
}

function readFile(value: unknown): { documents: PolicyDocument[]; findings: Finding[] } {
  const file = policyFileSchema.safeParse(value);
  if (!file.success) return { documents: [], findings: findingsOf(file.error, (path) => path) };
  const candidates = candidatesIn(file.data);
  if (candidates.length === 0) {
    const message = "holds no policy: expected default, tenants, domains or addresses";
    return { documents: [], findings: [{ path: [], atKey: false, message }] };
  }
  const documents: PolicyDocument[] = [];
  const findings: Finding[] = [];
  for (const candidate of candidates) {
    const parsed = policyDocumentSchema.safeParse(candidate.value);
    if (parsed.success) documents.push(parsed.data);
    else findings.push(...findingsOf(parsed.error, (path) => pathIn(candidate, path)));
  }
  return { documents, findings: [...findings, ...crossFindings(documents, candidates)] };
}

type PolicyFile = z.output<typeof policyFileSchema>;

function candidatesIn(file: PolicyFile): Candidate[] {
  const bare = (scope: "domain" | "address", list: "domains" | "addresses") =>
    Object.entries(file[list] ?? {}).map(([name, rules]) => {
      const normal = scope === "domain" ? normalDomain(name) : normalAddress(name);
      return {
        value: { _id: `${scope}:${normal ?? name}`, scope, rules: rules ?? {} },
        base: [list, name],
        hasBareRules: true,
      };
    });
  const tenants = Object.entries(file.tenants ?? {}).map(([tenantId, fields]) => ({
    value: { ...fields, _id: `tenant:${tenantId}`, scope: "tenant", tenantId },
    base: ["tenants", tenantId],
    hasBareRules: false,
  }));
  const fallback = {
    value: { _id: "default", scope: "default", rules: file.default ?? {} },
    base: ["default"],
    hasBareRules: true,
  };
  return [
    ...(file.default === undefined ? [] : [fallback]),
    ...tenants,
    ...bare("domain", "domains"),
    ...bare("address", "addresses"),
  ];
}

/** Only what single documents do not show: ids, double claims, orders of steps. */
function crossFindings(documents: PolicyDocument[], candidates: Candidate[]): Finding[] {
  const tenantsIn = (list: readonly { scope: string }[]) =>
    list.filter(({ scope }) => scope === "tenant").length;
  const tenantsComplete = tenantsIn(documents) === tenantsIn(candidates.map(({ value }) => value));
  const named = new Map(candidates.map((candidate) => [candidate.value._id, candidate]));
  const problems = problemSteps(atOnce(indexSteps(documents)), documents, { tenantsComplete });
  return atOnce(problems).flatMap(({ documentId, path, message }) => {
    const candidate = named.get(documentId);
    if (candidate === undefined) return [];
    return [{ path: pathIn(candidate, path), atKey: path.length === 0, message }];
  });
}

function pathIn({ base, hasBareRules }: Candidate, path: YamlPath): YamlPath {
  const inFile = hasBareRules && path[0] === "rules" ? path.slice(1) : path;
  return [...base, ...inFile];
}

function findingsOf(error: z.ZodError, place: (path: YamlPath) => YamlPath): Finding[] {
  return error.issues.flatMap((issue): Finding[] => {
    const within = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step));
    // A tenant's name is the key of its section.
    const isName = within.at(-1) === "tenantId";
    const path = place(isName ? [] : within);
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        path: [...path, key],
        atKey: true,
        message: issue.message,
      }));
    }
    if (issue.code === "invalid_key") {
      const message = issue.issues.map((inner) => inner.message).join("; ");
      return [{ path, atKey: true, message: `${String(path.at(-1))} ${message}` }];
    }
    return [{ path, atKey: isName, message: issue.message }];
  });
}

function invalid(fileName: string, found: readonly Wrong[], others = 0): TerminalError {
  const sorted = found.toSorted((a, b) => a.line - b.line || a.col - b.col);
  const lines = sorted.map(
    ({ line, col, message }) => `${fileName}:${String(line)}:${String(col)}: ${message}`,
  );
  const more = others === 0 ? [] : [`and ${String(others)} more`];
  return new TerminalError("CFG_POLICY_INVALID", [...new Set(lines), ...more].join("\n"));
}
