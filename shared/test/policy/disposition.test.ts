import { describe, expect, test } from "vitest";
import type { Enriched } from "../../src/mail/record.ts";
import { permanentReasons, transientReasons } from "../../src/checks/finding.ts";
import type { Verdicts } from "../../src/checks/verdict.ts";
import {
  uncheckedVerdict,
  verdictsHashOf,
  type Deliverable,
} from "../../src/policy/disposition.ts";
import type { Plan } from "../../src/mail/plan.ts";
import { planOf } from "./sample-policy.ts";
import {
  sha256,
  now,
  hoursAgo,
  noChanges,
  checksOnly,
  clean,
  eicar,
  unchecked,
  scored,
  virusVerdict,
  spamVerdict,
  step,
  override,
} from "./disposition-step.ts";

describe("checks", () => {
  test("are asked one after another, virus first", () => {
    expect(step({})).toEqual({ kind: "check", tasks: ["virus"] });
    expect(step({ virus: clean })).toEqual({ kind: "check", tasks: ["spam"] });
    expect(step({ virus: clean, spam: scored(1) })).toEqual({
      kind: "ready",
      disposition: "deliver",
    });
  });

  test("are asked side by side if the policy says parallel", () => {
    const plan = planOf(`default: { order: parallel, ${noChanges} }`);
    expect(step({ plan })).toEqual({ kind: "check", tasks: ["virus", "spam"] });
    expect(step({ plan, spam: scored(1) })).toEqual({ kind: "check", tasks: ["virus"] });
    expect(step({ plan, spam: scored(99) })).toEqual({ kind: "check", tasks: ["virus"] });
  });

  test("that are off are not asked", () => {
    const plan = (off: string) => planOf(`default: { ${off}, ${noChanges} }`);
    expect(step({ plan: plan("virus: off") })).toEqual({ kind: "check", tasks: ["spam"] });
    expect(step({ plan: plan("spam: off"), virus: clean }).kind).toBe("ready");
    expect(step({ plan: plan("spam: off, virus: off") }).kind).toBe("ready");
  });

  test("a virus found ends the scan, spam is not asked", () => {
    expect(step({ virus: eicar })).toEqual({
      kind: "quarantine",
      reason: "infected: Eicar-Signature",
    });
    const plan = planOf(`default: { order: parallel, ${noChanges} }`);
    expect(step({ plan, virus: eicar }).kind).toBe("quarantine");
  });

  test("a verdict on other bytes does not count (I2)", () => {
    const verdicts = { virus: { ...virusVerdict(clean), sha256: "b".repeat(64) } };
    expect(step({ verdicts })).toEqual({ kind: "check", tasks: ["virus"] });
  });

  test("a verdict made with other settings does not count (I2)", () => {
    const plan = planOf(`default: { spam: { user: me }, ${noChanges} }`);
    const verdicts = { virus: virusVerdict(clean), spam: spamVerdict(scored(1)) };
    expect(step({ plan, verdicts })).toEqual({ kind: "check", tasks: ["spam"] });
  });
});

describe("findings", () => {
  test.each(["quarantine", "discard", "hold"] as const)("infected mail is for %s", (onInfected) => {
    const plan = planOf(`default: { virus: { onInfected: ${onInfected} } }`);
    expect(step({ plan, virus: eicar })).toMatchObject({ kind: onInfected });
  });

  test("reject quarantines incoming mail and rejects outgoing mail", () => {
    const yaml = "default: { virus: { onInfected: reject } }";
    expect(step({ plan: planOf(yaml), virus: eicar }).kind).toBe("quarantine");
    expect(step({ plan: planOf(yaml, "outgoing"), virus: eicar }).kind).toBe("reject");
  });

  test.each([
    [4.9, { kind: "ready", disposition: "deliver" }],
    [5, { kind: "ready", disposition: "tag" }],
    [14.9, { kind: "ready", disposition: "tag" }],
    [15, { kind: "quarantine", reason: "spam: 15 points, the limit is 15" }],
    [1000, { kind: "quarantine", reason: "spam: 1000 points, the limit is 15" }],
  ])("with the default thresholds %s points give %j", (points, expected) => {
    expect(step({ virus: clean, spam: scored(points) })).toEqual(expected);
  });

  test("the policy's threshold decides, not spamd's", () => {
    const plan = planOf(`default: { spam: { threshold: 7 }, ${noChanges} }`);
    expect(step({ plan, virus: clean, spam: scored(6) })).toMatchObject({ disposition: "deliver" });
  });

  test("if both checks rule, the worse ruling holds", () => {
    const plan = planOf("default: { order: parallel, spam: { onHighSpam: discard } }");
    expect(step({ plan, virus: eicar, spam: scored(99) }).kind).toBe("discard");
    expect(step({ plan, virus: eicar, spam: scored(7) }).kind).toBe("quarantine");
    expect(step({ plan, virus: unchecked("encrypted"), spam: scored(99) }).kind).toBe("discard");
  });
});

describe("unchecked", () => {
  test.each(transientReasons)("%s waits 4 h from the first failure, then quarantines", (reason) => {
    for (const check of ["virus", "spam"] as const) {
      const virus = check === "virus" ? unchecked(reason) : clean;
      const found = check === "virus" ? { virus } : { virus, spam: unchecked(reason) };
      const since = (hours: number) => ({ check, reason, at: hoursAgo(hours) });
      const first = step({ ...found });
      expect(first).toEqual({ kind: "wait", check, reason, until: hoursAgo(-4) });
      const later = step({ ...found, uncheckedSince: since(3) });
      expect(later).toEqual({ kind: "wait", check, reason, until: hoursAgo(-1) });
      const end = step({ ...found, uncheckedSince: since(4) });
      expect(end).toEqual({
        kind: "quarantine",
        reason: `${check} unchecked: ${reason}, waited 4h`,
      });
    }
  });

  test.each(permanentReasons)("%s quarantines for virus and passes marked for spam", (reason) => {
    expect(step({ virus: unchecked(reason) })).toEqual({
      kind: "quarantine",
      reason: `virus unchecked: ${reason}`,
    });
    expect(step({ virus: clean, spam: unchecked(reason) })).toEqual({
      kind: "ready",
      disposition: "tag",
    });
  });

  test("the wait of another check does not count", () => {
    const uncheckedSince = { check: "virus", reason: "busy", at: hoursAgo(9) } as const;
    expect(step({ virus: clean, spam: unchecked("busy"), uncheckedSince }).kind).toBe("wait");
  });

  test("a change of the reason does not start the wait again", () => {
    const uncheckedSince = { check: "virus", reason: "busy", at: hoursAgo(5) } as const;
    expect(step({ virus: unchecked("time-out"), uncheckedSince }).kind).toBe("quarantine");
  });

  test("after the wait it passes only if the policy says so", () => {
    const plan = planOf(
      `default: { virus: { unchecked: { busy: { action: wait, for: 1h, then: pass } } }, ${noChanges} }`,
    );
    const uncheckedSince = { check: "virus", reason: "busy", at: hoursAgo(1) } as const;
    const input = { plan, virus: unchecked("busy"), spam: scored(0), uncheckedSince };
    expect(step(input)).toEqual({ kind: "ready", disposition: "tag" });
  });

  test("a parallel check that is missing is asked while the other one waits", () => {
    const plan = planOf("default: { order: parallel }");
    expect(step({ plan, virus: unchecked("busy") })).toEqual({ kind: "check", tasks: ["spam"] });
    expect(step({ plan, virus: unchecked("busy"), spam: scored(1) })).toMatchObject({
      kind: "wait",
      check: "virus",
    });
  });

  test("what a dispatcher itself records counts like an engine's word", () => {
    const settingsHash = checksOnly.virus?.settingsHash ?? "";
    const virus = uncheckedVerdict({
      reason: "engine-away",
      settingsHash,
      sha256,
      worker: "d",
      now: hoursAgo(1),
    });
    expect(step({ verdicts: { virus } })).toMatchObject({ kind: "wait", until: hoursAgo(-3) });
  });
});

describe("a person's release", () => {
  test("passes the finding that it names, and every missing step is still taken (I2)", () => {
    const overrides = [override("virus", "infected: Eicar-Signature")];
    expect(step({ virus: eicar, overrides })).toEqual({ kind: "check", tasks: ["spam"] });
    expect(step({ virus: eicar, spam: scored(0), overrides }).kind).toBe("ready");
    expect(step({ virus: eicar, spam: scored(99), overrides }).kind).toBe("quarantine");
  });

  test("does not pass another finding", () => {
    const names = ["Other", "Eicar-Signature"];
    const overrides = [override("virus", "infected: Eicar-Signature"), override("spam", "spam")];
    const virus = { kind: "infected", names } as const;
    expect(step({ virus: { ...virus, names: [...names] }, overrides }).kind).toBe("quarantine");
    expect(step({ virus: unchecked("encrypted"), overrides }).kind).toBe("quarantine");
  });

  test("of spam holds for any score, of unchecked for that reason", () => {
    const overrides = [override("virus", "unchecked: encrypted"), override("spam", "spam")];
    const input = { virus: unchecked("encrypted"), spam: scored(99), overrides };
    expect(step(input)).toEqual({ kind: "ready", disposition: "deliver" });
  });
});

test("an infected mail is not ready even if its policy lost the virus check afterwards (I2)", () => {
  const plan = planOf(`default: { virus: off, ${noChanges} }`);
  const verdicts = { virus: virusVerdict(eicar) };
  expect(step({ plan, verdicts, spam: scored(0) }).kind).toBe("quarantine");
});

test("a plan from elsewhere that delivers infected mail is not followed (I2)", () => {
  const { virus } = checksOnly;
  if (virus === undefined) throw new Error("the plan has a virus check");
  const plan: Plan = { ...checksOnly, virus: { ...virus, onInfected: "deliver" } };
  expect(step({ plan, virus: eicar, spam: scored(0) }).kind).toBe("quarantine");
});

describe("enrichment", () => {
  const plan = planOf("");
  const verdicts: Verdicts = {
    virus: virusVerdict(clean, plan),
    spam: spamVerdict(scored(1), plan),
  };

  function enrichedBy(made: Plan, disposition: Deliverable, told = verdicts): Enriched {
    const common = {
      restOffset: 0,
      sha256,
      size: 1,
      notes: [],
      worker: "e",
      queueMs: 0,
      workMs: 0,
    };
    return {
      ...common,
      settingsHash: made.enrich?.settingsHash ?? "",
      verdictsHash: verdictsHashOf(told, disposition),
      at: now,
    };
  }

  test("is asked once the checks are done, and makes the mail ready", () => {
    expect(step({ plan, verdicts })).toEqual({ kind: "enrich", disposition: "deliver" });
    const enriched = enrichedBy(plan, "deliver");
    expect(step({ plan, verdicts, enriched })).toEqual({ kind: "ready", disposition: "deliver" });
  });

  test("made for other settings, verdicts or another disposition is made again", () => {
    const other = planOf("default: { changes: { geoip: off } }");
    const spam = spamVerdict(scored(2), plan);
    for (const enriched of [
      enrichedBy(other, "deliver"),
      enrichedBy(plan, "tag"),
      enrichedBy(plan, "deliver", { ...verdicts, spam }),
    ]) {
      expect(step({ plan, verdicts, enriched }).kind).toBe("enrich");
    }
  });

  test("a mail that is not signed because there is no key is enriched, if only to say so", () => {
    const { enrich } = plan;
    if (enrich === undefined) throw new Error("the plan has no changes");
    const settings = { changes: [], spamThreshold: 5 };
    const stepOf = (more: { noKey?: boolean }) =>
      step({
        plan: { ...plan, enrich: { ...enrich, settings: { ...settings, ...more } } },
        verdicts,
      });
    expect(stepOf({ noKey: true }).kind).toBe("enrich");
    expect(stepOf({}).kind).toBe("ready");
  });

  test("the hash over the verdicts does not depend on when or by whom they were found", () => {
    const again = { ...verdicts.virus, at: hoursAgo(1), worker: "x", queueMs: 9 } as never;
    expect(verdictsHashOf({ ...verdicts, virus: again }, "tag")).toBe(
      verdictsHashOf(verdicts, "tag"),
    );
  });

  describe("with a signature demanded (I10)", () => {
    const signing: Plan = { ...plan, demandedSignature: { domain: "t.example", selector: "s" } };
    const signed = (domain: string, selector: string) => ({
      ...enrichedBy(signing, "deliver"),
      signature: { domain, selector },
    });

    test("exactly that signature makes the mail ready", () => {
      const enriched = signed("t.example", "s");
      expect(step({ plan: signing, verdicts, enriched }).kind).toBe("ready");
    });

    test("no signature or another one holds the mail", () => {
      const none = enrichedBy(signing, "deliver");
      for (const enriched of [none, signed("u.example", "s"), signed("t.example", "z")]) {
        expect(step({ plan: signing, verdicts, enriched })).toEqual({
          kind: "hold",
          reason: "the signature d=t.example s=s is missing",
        });
      }
    });

    test("a plan without a change that could sign holds the mail", () => {
      const { enrich, ...bare } = signing;
      expect(enrich).toBeDefined();
      expect(step({ plan: bare, verdicts, enriched: signed("t.example", "s") }).kind).toBe("hold");
    });
  });
});
