import { expect, test } from "vitest";
import { policyDocumentSchema, type PolicyDocument } from "@rs-agent/shared/policy/document.ts";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { createPolicyComparison } from "../src/same-policy.ts";
import { mailWith } from "./run-cli.ts";

const tenant = (name: string, given: object = {}) =>
  policyDocumentSchema.parse({
    ...{ _id: `tenant:${name}`, scope: "tenant", tenantId: name, revision: 3 },
    domains: [`${name}.example`],
    ...given,
  });
const rules = (_id: string, revision: number) =>
  policyDocumentSchema.parse({ _id, scope: _id.slice(0, _id.indexOf(":")), revision });
const ofAddress = rules("address:b@t.example", 2);

/** The documents as they were when the mail was planned. */
const planned = [tenant("t"), tenant("u"), ofAddress];
const plan = createPolicyBook(planned).planFor({
  ...{ direction: "incoming", mailFrom: "a@x.example", recipient: "b@t.example" },
});

function isSame(documents: readonly PolicyDocument[]) {
  const store = { all: () => Promise.resolve([...documents]) };
  return createPolicyComparison()(mailWith({ state: "held", plan }), store);
}

test("the policy is the same as long as the documents that made a mail's plan are", async () => {
  expect(await isSame(planned)).toBe(true);
  expect(await isSame([tenant("t"), tenant("u", { revision: 9 }), tenant("v"), ofAddress])).toBe(
    true,
  );
});

test.each<[string, PolicyDocument[]]>([
  ["one of them has changed", [tenant("t", { revision: 4 }), ofAddress]],
  ["an older one of them is gone", [tenant("t")]],
  ["one more applies", [...planned, rules("domain:t.example", 1)]],
  ["another tenant has the domain", [tenant("w", { domains: ["t.example"] }), ofAddress]],
  ["what is stored contradicts itself", [...planned, tenant("v", { domains: ["t.example"] })]],
])("it is another if %s", async (_, documents) => {
  expect(await isSame(documents)).toBe(false);
});

test("nothing is read for mail that is not held, and for many mails only once", async () => {
  let reads = 0;
  const all = () => {
    reads += 1;
    return Promise.resolve(planned);
  };
  const compare = createPolicyComparison();
  expect(await compare(mailWith({ state: "ready", plan }), { all })).toBe(false);
  expect(reads).toBe(0);
  for (let n = 0; n < 3; n += 1)
    expect(await compare(mailWith({ state: "held", plan }), { all })).toBe(true);
  expect(reads).toBe(1);
});
