import { expect, test } from "vitest";
import { settingsHashOf } from "@rs-agent/shared/mail/task-settings.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { mailWith, useCli } from "./run-cli.ts";

const cli = useCli();

const yaml = `
default:
  changes: { sender-rewrite: { map: { "@old.example": new@acme.example } } }
tenants:
  acme:
    networks: [10.0.0.0/8]
    domains: [acme.example]
    keys: [{ domain: acme.example, selector: s1, privateKey: file:/k.pem }]
`;

test.each([
  ["a@old.example", "d=acme.example s=s1"],
  ["old.example", "d=acme.example s=s1"],
  ["a@news.example", "none: the tenant has no key for the From that leaves"],
])("policy test tells the signature of a From %s", async (headerFrom, signature) => {
  const mail = ["--from", "a@acme.example", "--to", "b@x.example", "--ip", "10.1.1.1"];
  const args = ["policy", "test", ...mail, "--header-from", headerFrom, "--file", "p.yaml"];
  const { out } = await cli().run(args, { "p.yaml": yaml });
  expect(/signature +(.*)/.exec(out)?.[1]).toBe(signature);
});

test("explain says why a mail leaves unsigned, though nothing else is changed", async () => {
  const note = "not signed: the tenant has no key for news.example, the domain of the From";
  const settings = { changes: [], spamThreshold: 5, noKey: true };
  const settingsHash = settingsHashOf(settings);
  const mail = mailWith();
  const plan = { ...(mail.plan as Plan), enrich: { settings, settingsHash } };
  const made = { restOffset: 0, sha256: mail.body.sha256, size: 100, settingsHash };
  const by = { worker: "e1", queueMs: 1, workMs: 2, at: new Date(), verdictsHash: "" };
  const enriched = { ...made, ...by, notes: [note] };
  await cli().store.mails.insert({ ...mail, plan, enriched });
  const { out } = await cli().run(["explain", mail._id]);
  const words = out.replace(/\s+/g, " ");
  expect(words).toContain("changes none; not signed; 100 B to be sent");
  expect(words).toContain(note);
});
