import { z } from "zod";
import { section } from "./rules.ts";

const named = z
  .record(z.string(), z.unknown(), { error: "must be a list of names with rules under each" })
  .nullish();

/**
 * The outer form of a policy file. `default`, each of `domains` and each of `addresses` hold rules;
 * each of `tenants` holds networks, domains, keys and rules.
 */
export const policyFileSchema = section({
  default: z.unknown().optional(),
  tenants: z
    .record(
      z.string(),
      z.record(z.string(), z.unknown(), {
        error: "must be a section with networks, domains, keys and rules",
      }),
      { error: "must be a list of names with networks, domains, keys and rules under each" },
    )
    .nullish(),
  domains: named,
  addresses: named,
});
