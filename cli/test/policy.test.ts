import { describe, expect, test } from "vitest";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { anotherDatabase, codeOf, expectNarrow, messageFrom, runCli, useCli } from "./run-cli.ts";

const cli = useCli();

describe("policy", () => {
  const yaml = `
default:
  changes:
    sender-rewrite: { enabled: on, map: { "@old.example": new@acme.example } }
    extra-headers: { enabled: on, headers: { X-Org: Acme } }
tenants:
  acme:
    networks: [10.0.0.0/8]
    domains: [acme.example]
    keys: [{ domain: acme.example, selector: s1, privateKey: file:/k.pem }]
    rules: { route: { nextHop: "mail.acme.example:25" } }
`;
  const files = { "p.yaml": yaml, "bad.yaml": "default:\n  spamm: off\n" };
  const run = (...args: string[]) => cli().run(["policy", ...args], files);

  test("apply stores what is right, show gives it back, and it can be applied again", async () => {
    expect((await run("apply", "p.yaml", "--dry-run")).out).toContain("2 documents, not stored");
    expect((await run("show")).out).toContain("no policy is stored");
    expect((await run("apply", "p.yaml")).out).toBe(
      "2 documents stored as revision 1\nnew: default, tenant acme\n",
    );
    const { out } = await run("show");
    expect(out).toContain("@old.example");
    const again = await cli().run(["policy", "apply", "-"], { "-": out });
    expect(again.out).toBe("2 documents stored as revision 2\n");
    expect((await run("show")).out).toBe(out);
  });

  test("apply says what it changes, and asks before removing tenants", async () => {
    const own = anotherDatabase();
    const apply = (text: string, ...options: string[]) =>
      runCli(["policy", "apply", "p.yaml", ...options], own, { "p.yaml": text });
    const two =
      "tenants: { a: { domains: [a.example] }, b: { domains: [b.example, c.example] } }\n";
    const one = "default: { spam: off }\ntenants: { a: { domains: [a.example, c.example] } }\n";
    expect((await apply(two)).out).toBe(
      "2 documents stored as revision 1\nnew: tenant a, tenant b\n",
    );
    expect((await apply(one, "--dry-run")).out.split("\n").slice(1, -1)).toEqual([
      "new: default",
      "changed: tenant a",
      "removed: tenant b",
      "mail is refused from then on for b.example",
    ]);
    const refusal = await messageFrom(apply(one));
    expect(refusal).toMatch(/^CLI_REFUSED: tenant b of the stored policy would be removed; --yes/);
    expect(refusal).toContain("\nremoved: tenant b\n");
    expect((await runCli(["policy", "show"], own)).out).toContain("b.example");
    const { out } = await apply(one, "--yes");
    expect(out).toContain("2 documents stored as revision 2\n");
    expect(out).toContain("mail is refused from then on for b.example\n");
    expect((await apply(one)).out).toBe("2 documents stored as revision 3\n");
    expect((await apply("tenants: { a: { domains: [a.example] } }\n")).out).toMatch(
      /^1 document stored as revision 4\nchanged: tenant a\nremoved: default\nmail is refused/,
    );
  });

  test("test names everything that it lacks in one message", async () => {
    const lacking = async (...args: string[]) =>
      messageOf(await run("test", ...args).catch((error: unknown) => error));
    expect(await lacking("--from", "a@acme.example", "--to", "b@x.example")).toBe(
      "error: policy test also needs --ip <address>",
    );
    expect(await lacking()).toBe(
      "error: policy test also needs --from <address>, --to <address>, --ip <address>",
    );
  });

  test("apply stores nothing if a line is wrong", async () => {
    const before = await cli().store.policies.revision();
    expect(await codeOf(run("apply", "bad.yaml"))).toBe("CFG_POLICY_INVALID");
    expect(await cli().store.policies.revision()).toBe(before);
  });

  test("test tells direction, policy, steps and route", async () => {
    const mail = ["--from", "a@acme.example", "--to", "b@x.example"];
    const { out } = await run("test", ...mail, "--ip", "10.1.1.1", "--file", "p.yaml");
    expectNarrow(out);
    expect(out).toMatch(/direction +outgoing, tenant acme/);
    expect(out).toMatch(/signature +d=acme.example s=s1/);
    expect(out).toMatch(/route +smtp mail.acme.example:25, TLS opportunistic/);
    expect(out.replace(/\s+/g, " ")).toContain("wait 4h, then quarantine");
  });

  test("test takes the tenant of a listener for outgoing mail, which policy must have", async () => {
    const mail = ["--from", "a@acme.example", "--to", "b@x.example", "--ip", "203.0.113.5"];
    const through = (tenant: string) =>
      run("test", ...mail, "--outgoing", tenant, "--file", "p.yaml").then(({ out }) => out);
    expect(await through("acme")).toMatch(/signature +d=acme.example s=s1/);
    expect(await through("acne")).toMatch(/refused +no policy has the tenant acne: 451 4.3.5/);
  });

  test.each([
    ["--ip", "10.1.1.1.1"],
    ["--to", "nobody"],
    ["--from", "a b"],
  ])("test refuses %s %s instead of judging it", async (option, value) => {
    const right = { "--from": "a@acme.example", "--to": "b@x.example", "--ip": "10.1.1.1" };
    const args = Object.entries({ ...right, [option]: value }).flat();
    await expect(run("test", ...args, "--file", "p.yaml")).rejects.toThrow(/It must be an /);
  });

  test("test says that a stranger's mail to a stranger is refused", async () => {
    const mail = ["--from", "a@acme.example", "--to", "b@x.example", "--ip", "203.0.113.1"];
    expect((await run("test", ...mail, "--file", "p.yaml")).out).toMatch(/refused .* 550 5.7.1/s);
  });

  test.each([
    ["test", "--from", "a@acme.example", "--to", "b@x.example", "--ip", "10.1.1.1", "--file"],
    ["apply", "--dry-run"],
    ["apply"],
  ])("%s of a file whose text reads as an alias names line, column and quotes", async (...args) => {
    const file = `tenants:
  acme:
    domains: [acme.example]
    rules:
      changes:
        subject-tag: { tag: ***SPAM*** }
`;
    const message = await messageFrom(
      runCli(["policy", ...args, "p.yaml"], {}, { "p.yaml": file }),
    );
    expect(message).toBe(
      "CFG_POLICY_INVALID: p.yaml:6:29: ***SPAM*** reads as an alias, and no &**SPAM*** is before " +
        'it; text that begins with * needs quotes: "***SPAM***"',
    );
  });

  test("a file whose aliases stand for thousands of aliases is refused by place", async () => {
    const file = `a: &a [x,x,x,x,x,x,x,x,x]
b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]
c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]
d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]
e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]
tenants: { acme: { domains: [acme.example], note: *e } }
`;
    const running = runCli(["policy", "apply", "--dry-run", "p.yaml"], {}, { "p.yaml": file });
    expect(await messageFrom(running)).toMatch(
      /^CFG_POLICY_INVALID: p\.yaml:5:\d+: aliases make more than 10000 values of this file/,
    );
  });
});
