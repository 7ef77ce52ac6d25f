import { newMailId, sha256Hex } from "@rs-agent/shared/ids.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { CheckKind, VerdictOf } from "@rs-agent/shared/checks/verdict.ts";
import { describe, expect, it, vi } from "vitest";
import type { Decision } from "../src/effects.ts";
import { HeldMail } from "../src/held-mail.ts";
import { SiblingChecks } from "../src/sibling-checks.ts";
import { openBench, tenant, type Bench } from "./in-process.ts";
import { Holding } from "@rs-agent/shared/store/holding.ts";

const recipients = ["a@acme.example", "b@other.acme.example"];

/** Waits until both recipients' mail is ready; the virus and spam verdicts of both parts. */
async function verdictsOf(bench: Bench, id: string) {
  await vi.waitFor(async () => {
    const children = await bench.database.mails.children(id);
    expect(children.map(({ state }) => state)).toEqual(["ready", "ready"]);
  });
  return (await bench.database.mails.children(id)).map(({ verdicts }) => verdicts);
}

const tasksOf = (bench: Bench, kind: CheckKind) =>
  bench.asked.filter((each) => each.startsWith(`${kind} `));

describe("the parts of a split mail", () => {
  it("ask once for a check whose settings they share", async () => {
    const bench = await openBench();
    await bench.policy(`${tenant}
domains:
  other.acme.example: { spam: { threshold: 3 } }
`);
    await bench.dispatcher();
    for (const kind of ["virus", "spam", "enrich"] as const) bench.worker(kind);
    const id = await bench.mail({ recipients });
    const [first, second] = await verdictsOf(bench, id);
    for (const kind of ["virus", "spam"] as const) {
      const [task] = tasksOf(bench, kind);
      expect(tasksOf(bench, kind)).toHaveLength(1);
      const asker = task?.split(" ")[1];
      const told = [first?.[kind]?.askedFor, second?.[kind]?.askedFor];
      expect(told.sort()).toEqual([asker, undefined]);
      expect(second?.[kind]?.finding).toEqual(first?.[kind]?.finding);
    }
  });

  it("each ask for themselves if engine settings differ", async () => {
    const bench = await openBench();
    await bench.policy(`${tenant}
domains:
  other.acme.example: { spam: { user: other } }
`);
    await bench.dispatcher();
    for (const kind of ["virus", "spam", "enrich"] as const) bench.worker(kind);
    await verdictsOf(bench, await bench.mail({ recipients }));
    expect(tasksOf(bench, "virus")).toHaveLength(1);
    expect(tasksOf(bench, "spam")).toHaveLength(2);
  });

  it("ask for themselves if the one that asked got no answer", async () => {
    const bench = await openBench();
    await bench.policy(`
default: { spam: { threshold: 3 } }
${tenant}
domains:
  other.acme.example: { spam: off }
`);
    await bench.dispatcher();
    let tasks = 0;
    bench.worker("virus", {
      handle: () => {
        tasks += 1;
        if (tasks === 1) return Promise.reject(new Error("the engine fell over"));
        return Promise.resolve({ output: { kind: "clean" } });
      },
    });
    for (const kind of ["spam", "enrich"] as const) bench.worker(kind);
    await verdictsOf(bench, await bench.mail({ recipients }));
    expect(new Set(tasksOf(bench, "virus"))).toHaveLength(2);
  });
});

const settingsHash = "0".repeat(32);

function part(overrides: Partial<MailRecord> = {}): HeldMail {
  const mail = {
    _id: newMailId(),
    parentId: "parent",
    body: { id: "body", form: "document", size: 1, sha256: sha256Hex("x") },
    ...overrides,
  } as MailRecord;
  const held = new HeldMail({ mail, holding: new Holding(mail, ""), validUntilMs: Infinity });
  held.plan = { virus: { settings: {}, settingsHash } } as unknown as HeldMail["plan"];
  return held;
}

function verdict(finding: VerdictOf<"virus">["finding"]): VerdictOf<"virus"> {
  const sha256 = sha256Hex("x");
  return { finding, settingsHash, sha256, worker: "w", queueMs: 0, workMs: 1, at: new Date() };
}

function openChecks() {
  const clock = { ms: 0 };
  const checks = new SiblingChecks({ monotonicMs: () => clock.ms, patienceMs: () => 1_000 });
  return { checks, clock };
}

const asks = [{ kind: "ask alone", task: "virus" }];

function adopts(askedFor: HeldMail) {
  const shared: unknown = expect.objectContaining({ askedFor: askedFor.mail._id });
  return [{ kind: "adopt", check: "virus", verdict: shared }];
}

/** The decisions without the mails' contents. */
function told(decisions: readonly Decision[]) {
  return decisions.map(({ held, effects }) => [held.mail._id, effects]);
}

describe("a sibling's check", () => {
  it("is taken by those that wait and by those that come later, for a while", () => {
    const { checks, clock } = openChecks();
    const [asker, waits, late, tooLate] = [part(), part(), part(), part()];
    expect(checks.join(asker, "virus")).toEqual(asks);
    expect(checks.join(waits, "virus")).toEqual([]);
    const decided = checks.onVerdict(asker, "virus", verdict({ kind: "clean" }));
    expect(told(decided)).toEqual([[waits.mail._id, adopts(asker)]]);
    expect(checks.join(late, "virus")).toEqual(adopts(asker));
    clock.ms += 61_000;
    expect(checks.expire()).toEqual([]);
    expect(checks.join(tooLate, "virus")).toEqual(asks);
  });

  it("is not waited for longer than an own answer would be", () => {
    const { checks, clock } = openChecks();
    const waits = part();
    checks.join(part(), "virus");
    checks.join(waits, "virus");
    clock.ms += 999;
    expect(checks.expire()).toEqual([]);
    clock.ms += 1;
    expect(told(checks.expire())).toEqual([[waits.mail._id, asks]]);
  });

  it("that could not be made, or whose mail has left, is asked for again", () => {
    const { checks } = openChecks();
    const [asker, waits, gone] = [part(), part(), part()];
    checks.join(asker, "virus");
    checks.join(waits, "virus");
    checks.join(gone, "virus");
    gone.leave();
    const failed = verdict({ kind: "unchecked", reason: "time-out" });
    expect(checks.onVerdict(asker, "virus", failed)).toEqual([]);
    asker.leave();
    const again = [{ kind: "ask", task: "virus" }];
    expect(told(checks.onLeft(asker))).toEqual([[waits.mail._id, again]]);
    expect(checks.join(waits, "virus")).toEqual(asks);
  });

  it.each<[string, Partial<MailRecord>]>([
    ["other bytes", { body: { id: "b", form: "document", size: 1, sha256: sha256Hex("y") } }],
    ["another parent", { parentId: "other" }],
    ["no parent", { parentId: undefined }],
    ["strikes", { strikes: 1 }],
  ])("is not shared with a mail that has %s", (_, differs) => {
    const { checks } = openChecks();
    checks.join(part(), "virus");
    expect(checks.join(part(differs), "virus")).toEqual(asks);
  });
});
