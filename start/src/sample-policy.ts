import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import type { PolicyStore } from "@rs-agent/shared/store/policies.ts";

const policyFile = fileURLToPath(new URL("../samples/policy.yaml", import.meta.url));

/** The policy of the sample mails, with a DKIM key that is made on the first call. */
export function samplePolicy(keyFile: string): PolicyDocument[] {
  if (!existsSync(keyFile)) makeKey(keyFile);
  const text = readFileSync(policyFile, "utf8");
  const quoted = JSON.stringify(keyFile).slice(1, -1);
  return parsePolicyYaml(text.replaceAll("${DKIM_KEY_FILE}", quoted), policyFile);
}

/**
 * Stores the sample policy if there is none, or an earlier sample policy; a policy that a person
 * made is never touched.
 */
export async function applySamplePolicy(
  store: PolicyStore,
  keyFile: string,
): Promise<"applied" | "other-policies"> {
  const sample = samplePolicy(keyFile);
  const ours = new Set(sample.map(({ _id }) => _id));
  const present = await store.all();
  if (present.some(({ _id }) => !ours.has(_id))) return "other-policies";
  await store.replace(sample);
  return "applied";
}

/** RSA 2048, which most receivers verify (RFC 8301). */
function makeKey(keyFile: string): void {
  const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  mkdirSync(dirname(keyFile), { recursive: true });
  writeFileSync(keyFile, privateKey, { mode: 0o600 });
}
