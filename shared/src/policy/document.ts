import { z } from "zod";
import { networkSchema } from "./networks.ts";
import { normalDomain } from "../mail/mail-domain.ts";
import { policyRulesSchema, section } from "./rules.ts";
import { keySchema } from "./signing-key.ts";

export { type PolicyRules } from "./rules.ts";

/** A tenant's name: part of ids, file names and log lines. */
export const tenantIdSchema = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, {
  error: "must be a tenant's name: up to 64 of a-z, 0-9, dot, dash and underscore",
});

export const domainSchema = z
  .string()
  .max(255)
  .refine((text) => normalDomain(text) !== undefined, {
    error: "must be a domain such as example.org",
  })
  .transform((text) => normalDomain(text) ?? text);

const common = { revision: z.number().int().nonnegative().default(0) };
const rules = policyRulesSchema.default({});

const defaultDocumentSchema = section({
  ...common,
  _id: z.literal("default"),
  scope: z.literal("default"),
  rules,
});

/** The fields of a tenant: what belongs to it, and its rules. */
export const tenantFields = {
  /** Clients in these networks send this tenant's outgoing mail. */
  networks: z.array(networkSchema).max(1_000).optional(),
  /** Domains whose incoming mail is accepted, and whose outgoing mail may be signed. */
  domains: z.array(domainSchema).max(100_000).optional(),
  /**
   * Each of these characters ends the name in a local part; an address's rules also apply to the
   * address with an extension.
   */
  recipientDelimiter: z
    .string()
    .regex(/^[+\-=_.#~^]{1,8}$/, { error: 'must be one or more of + - = _ . # ~ ^, such as "+"' })
    .optional(),
  keys: z.array(keySchema).max(100_000).optional(),
  rules,
};

const tenantDocumentSchema = section({
  ...common,
  _id: z.templateLiteral(["tenant:", z.string()]),
  scope: z.literal("tenant"),
  tenantId: tenantIdSchema,
  ...tenantFields,
});

const domainDocumentSchema = section({
  ...common,
  _id: z.templateLiteral(["domain:", z.string()]),
  scope: z.literal("domain"),
  rules,
});

const addressDocumentSchema = section({
  ...common,
  _id: z.templateLiteral(["address:", z.string()]),
  scope: z.literal("address"),
  rules,
});

/**
 * One document of `policies`. The id is the scope and its name: `default`, `tenant:acme`,
 * `domain:example.org`, `address:vip@example.org`; domains in ASCII and addresses in lower case.
 * The store sets `revision` when a document is replaced; 0 means that it was never stored.
 */
export const policyDocumentSchema = z.discriminatedUnion("scope", [
  defaultDocumentSchema,
  tenantDocumentSchema,
  domainDocumentSchema,
  addressDocumentSchema,
]);
export type PolicyDocument = z.output<typeof policyDocumentSchema>;
export type TenantDocument = Extract<PolicyDocument, { scope: "tenant" }>;
export type PolicyScope = PolicyDocument["scope"];

/** The id without its scope. */
export function nameOf({ _id }: PolicyDocument): string {
  return _id.slice(_id.indexOf(":") + 1);
}
