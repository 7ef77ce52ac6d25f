import fc from "fast-check";
import { Code, Long, ObjectId } from "mongodb";
import { afterEach, describe, expect, it } from "vitest";
import { isNewer, mailSchema } from "../../src/mail/record.ts";
import { anyValue } from "./any-value.ts";
import { useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();

const claim = {
  states: ["incoming"] as const,
  next: "m",
  limit: 100,
  owner: "me",
  leaseMs: 60_000,
};
const due = () => ({ state: "incoming", next: "m", dueAt: new Date(0) });

function raw() {
  return database().db.collection<{ _id: unknown; [field: string]: unknown }>("mails");
}

afterEach(async () => {
  await raw().deleteMany({});
});

describe("a document that is not a record", () => {
  it("becomes a dead letter with its reason, and the others go on", async () => {
    const { store } = database();
    const good = newMail({ next: "m" });
    await store.mails.insert(good);
    await raw().insertOne({ _id: "bad", ...due(), recipients: "nobody", smtp: { rcptTo: 5 } });
    const claimed = await store.mails.claim(claim);
    expect(claimed.map(({ mail }) => mail._id)).toEqual([good._id]);
    const letter = await store.mails.get("bad");
    expect(letter).toMatchObject({ state: "dead", malformed: { recipients: "nobody" } });
    expect(letter?.reason).toContain("recipients");
    expect(letter?.finalAt).toBeInstanceOf(Date);
    expect(await store.mails.claim(claim)).toEqual([]);
  });

  it("keeps what can be read of it: recipients end as dead, closed ones stay (I1)", async () => {
    const { store } = database();
    const mail = newMail({
      next: "m",
      parentId: "parent",
      recipients: [
        { address: "a@example.net", outcome: "sent", attempts: 1 },
        { address: "b@example.net", outcome: "open", attempts: 0 },
      ],
    });
    await raw().insertOne({ ...mail, header: "not an object" });
    await store.mails.claim(claim);
    const letter = await store.mails.get(mail._id);
    expect(letter).toMatchObject({ state: "dead", parentId: "parent", smtp: mail.smtp });
    expect(letter?.recipients.map(({ outcome }) => outcome)).toEqual(["sent", "dead"]);
    expect(await store.mails.find({ to: "b@example.net", limit: 5 })).toHaveLength(1);
  });

  it("with an id that no record may have is stored under an id derived from it", async () => {
    const { store } = database();
    const id = new ObjectId();
    await raw().insertOne({ _id: id, ...due(), smtp: { rcptTo: ["b@example.net"] } });
    expect(await store.mails.claim(claim)).toEqual([]);
    const found = await raw().find({}).toArray();
    expect(found.map(({ _id }) => typeof _id)).toEqual(["string"]);
    const [letter, ...more] = await store.mails.find({ state: "dead", limit: 9 });
    expect(more).toEqual([]);
    expect(letter?._id).toMatch(/^a[0-9a-f]{24}$/);
    expect(letter?.recipients).toMatchObject([{ address: "b@example.net", outcome: "dead" }]);
  });

  it("of a version that never was is a dead letter that says so", async () => {
    const { store } = database();
    await raw().insertOne({ ...newMail({ next: "m" }), v: 0 });
    expect(await store.mails.claim(claim)).toEqual([]);
    const [letter] = await store.mails.find({ state: "dead", limit: 1 });
    expect(letter?.reason).toContain("at v");
  });

  it("never stops others, whatever types its fields have", async () => {
    const { store } = database();
    const fields = Object.keys(mailSchema.shape).filter(
      (field) =>
        // Without these fields no claim finds it, or only that of suspects; with parentId or groups
        // it is a part of another mail; with expireAt the database itself removes it.
        !["_id", "state", "next", "dueAt", "unended", "parentId", "groups", "expireAt"].includes(
          field,
        ),
    );
    const someFields = fc.uniqueArray(fc.constantFrom(...fields), { minLength: 1, maxLength: 4 });
    const wrong = someFields.chain((names) =>
      fc.record(Object.fromEntries(names.map((name) => [name, anyValue]))),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(wrong, { minLength: 1, maxLength: 8 }), async (changes) => {
        await raw().deleteMany({});
        const good = newMail({ next: "m" });
        const documents = changes
          .map((change) => ({ ...newMail({ next: "m" }), ...change }))
          .filter((document) => !isNewer(document));
        await raw().insertMany([...documents, good]);
        const claimed = await store.mails.claim(claim);
        const ids = claimed.map(({ mail }) => mail._id);
        expect(ids).toContain(good._id);
        const dead = await store.mails.find({ state: "dead", limit: 100 });
        expect(ids.length + dead.length).toBe(documents.length + 1);
        for (const { reason } of dead) expect(reason).not.toBe("");
        expect((await store.mails.countOutcomes()).holds).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});

describe("a document of a hostile shape", () => {
  const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) });
  const entry = { at: new Date(0), event: "x" };
  const recipient = { address: "bob@example.net", outcome: "open", attempts: 0 };
  const body = newMail().body;
  const shapes: [string, object][] = [
    ["claims that nothing can be added to", { claims: "many" }],
    ["a list of claims", { claims: [1] }],
    ["as many claims as an int64 can count", { claims: Long.MAX_VALUE }],
    ["claims that are null", { claims: null }],
    ["claims without an end that are a string", { unended: "many" }],
    ["a number as parent", { parentId: 5 }],
    ["groups that are not lists", { groups: [1, null, { a: 1 }] }],
    ["10,001 recipients", { recipients: Array.from({ length: 10_001 }, () => recipient) }],
    [
      "200,000 recipients that are not recipients",
      { recipients: Array.from({ length: 200_000 }, () => 1) },
    ],
    ["recipients nested in recipients", { recipients: [[[recipient]]] }],
    ["a history of 100,000 entries", { history: Array.from({ length: 100_000 }, () => entry) }],
    ["verdicts nested 90 deep", { verdicts: { virus: deep(90) } }],
    ["a plan nested 90 deep", { plan: deep(90) }],
    ["a string of 10 MB", { reason: "x".repeat(10_000_000) }],
    ["a Message-ID of 10 MB", { header: { messageId: "x".repeat(10_000_000) } }],
    ["no body", { body: undefined }],
    ["a body that is a string", { body: "the mail itself" }],
    ["a body of negative size", { body: { ...body, size: -1 } }],
    ["a body of infinite size", { body: { ...body, size: Infinity } }],
    ["a body of another form", { body: { ...body, form: "file" } }],
    ["a receipt date that is a string", { receivedAt: "2026-01-01" }],
    ["a regular expression as sender", { smtp: { mailFrom: /a/, rcptTo: [], client: {} } }],
    ["code as recipients", { recipients: new Code("while (true);") }],
    ["operators as fields", { smtp: { $where: "while (true);" } }],
  ];

  it.each(shapes)(
    "with %s is a dead letter with its reason, and the others go on",
    async (_, shape) => {
      const { store } = database();
      const before = newMail({ next: "m" });
      const after = newMail({ next: "m" });
      const bad = newMail({ next: "m" });
      const hostile = Object.fromEntries(
        Object.entries({ ...bad, ...shape }).filter(([, value]) => value !== undefined),
      );
      await raw().insertMany([before, { ...hostile, _id: bad._id }, after]);
      // A second claim, as the next hint or tick makes it, gets whatever the first had to leave.
      const claimed = [...(await store.mails.claim(claim)), ...(await store.mails.claim(claim))];
      expect(claimed.map(({ mail }) => mail._id).sort()).toEqual([before._id, after._id].sort());
      const letter = await store.mails.get(bad._id);
      expect(letter).toMatchObject({ state: "dead", finalAt: expect.any(Date) as Date });
      expect(letter?.reason).toMatch(/at \w+/);
      expect(letter?.recipients.every(({ outcome }) => outcome === "dead")).toBe(true);
      expect((await store.mails.countOutcomes()).holds).toBe(true);
      expect(await store.mails.claim(claim)).toEqual([]);
    },
  );

  it.each([
    ["a field of almost 16 MB", { ballast: "x".repeat(16 * 1024 * 1024 - 3_000) }],
    [
      "history and Message-ID of 8 MB each",
      {
        header: { messageId: "x".repeat(8_000_000) },
        history: [{ ...entry, detail: "x".repeat(8_000_000) }],
      },
    ],
  ])(
    "with %s, too large to be kept whole in its dead letter, is one all the same",
    async (_, shape) => {
      const { store } = database();
      const bad = newMail({ next: "m" });
      const good = newMail({ next: "m" });
      await raw().insertMany([{ ...bad, receivedAt: "now", ...shape }, good]);
      const claimed = await store.mails.claim(claim);
      expect(claimed.map(({ mail }) => mail._id)).toEqual([good._id]);
      const letter = await store.mails.get(bad._id);
      expect(letter).toMatchObject({ state: "dead", malformed: { receivedAt: "now" } });
      expect(letter?.["malformed"]).toHaveProperty("leftOut.0");
    },
  );

  it("does not prevent waiting mail from being counted", async () => {
    const { store } = database();
    await raw().insertMany([
      { ...newMail({ next: "m" }), receivedAt: "x" },
      { ...newMail({ next: "m" }), receivedAt: undefined, dueAt: "x" },
    ]);
    for (const { oldestAt } of await store.mails.waiting()) expect(oldestAt).toBeInstanceOf(Date);
    expect(await store.mails.backlog(10)).toMatchObject({ count: 2 });
  });
});

describe("a record that no claim can find", () => {
  it("is held for a person if it is a mail, and a dead letter if it is not", async () => {
    const { store } = database();
    const noTime = newMail({ dueAt: undefined });
    const textTime = { ...newMail(), dueAt: "2026-01-01" };
    const noStep = newMail({ state: "ready", next: undefined });
    const strange = { ...newMail(), state: "on its way" };
    const held = newMail({ state: "held", next: undefined, dueAt: undefined });
    const fine = newMail();
    await raw().insertMany(
      [noTime, textTime, noStep, strange, held, fine].map((doc) =>
        Object.fromEntries(Object.entries(doc).filter(([, value]) => value !== undefined)),
      ) as { _id: unknown }[],
    );
    expect((await store.retention.sweep()).unseen).toBe(4);
    const states = async (id: string) => (await store.mails.get(id))?.state;
    expect(await states(noTime._id)).toBe("held");
    expect(await states(noStep._id)).toBe("held");
    expect(await states(textTime._id)).toBe("dead");
    expect(await states(strange._id)).toBe("dead");
    expect(await states(held._id)).toBe("held");
    expect(await states(fine._id)).toBe("incoming");
    expect((await store.mails.get(noTime._id))?.reason).toContain("no service could see it");
    expect((await store.retention.sweep()).unseen).toBe(0);
  });
});
