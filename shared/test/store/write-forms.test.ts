import * as fc from "fast-check";
import type { Document } from "mongodb";
import { expect, it } from "vitest";
import { newToken } from "../../src/ids.ts";
import { Holding } from "../../src/store/holding.ts";
import { eachAlone, together, type WriteForm } from "../../src/store/write-forms.ts";
import { ReplicaSet } from "../../../test/simulation/kit/database/replica-set.ts";
import { VirtualTime } from "../../../test/simulation/kit/virtual-time.ts";
import { mailIn } from "../life/mails.ts";
import { someChange } from "../life/some-change.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();
const tokens = [newToken(), newToken()];

/** A record, and one write to it by the holder of its last claim, or of an earlier one. */
const someWrite = fc.record({
  claim: fc.record({ token: fc.constantFrom(...tokens), rev: fc.nat(3) }),
  asks: fc.record({ token: fc.constantFrom(...tokens), rev: fc.nat(3) }),
  change: fc.oneof(someChange, fc.constant({ history: [], unset: [], releaseLease: true })),
  isUntried: fc.boolean(),
  fields: fc.record(
    { unended: fc.integer({ min: 0, max: 3 }), strikes: fc.nat(2), reason: fc.constant("$old") },
    { requiredKeys: [] },
  ),
});
type Written = typeof someWrite extends fc.Arbitrary<infer T> ? T : never;

function recordOf({ claim, fields }: Written, place: number): Document & { _id: string } {
  const { token, rev } = claim;
  const lease = { owner: "me", token, until: new Date(1) };
  return { ...mailIn("processing"), ...fields, _id: `m${place}`, lease, ...(rev > 0 && { rev }) };
}

function statementsOf(form: WriteForm, all: readonly Written[]) {
  const writes = all.map(({ asks, change, isUntried }, place) => {
    const holding = new Holding(
      { ...mailIn("processing"), _id: `m${place}`, rev: asks.rev },
      asks.token,
    );
    const asked = isUntried ? { ...change, untried: true } : change;
    return { holding, change: asked, mark: holding.markOf(asked) };
  });
  return form(writes).map(({ operation }) => operation);
}

/** The records after the writes, on the server. */
async function onServer(form: WriteForm, all: readonly Written[]): Promise<Document[]> {
  const collection = database().db.collection<Document & { _id: string }>("write-forms");
  await collection.deleteMany({});
  await collection.insertMany(all.map(recordOf));
  await collection.bulkWrite(statementsOf(form, all), { ordered: false });
  return collection.find().sort({ _id: 1 }).toArray();
}

/** The same in the simulation's own database. */
function simulated(form: WriteForm, all: readonly Written[]): Document[] {
  const set = new ReplicaSet(new VirtualTime(), () => 1);
  for (const [place, one] of all.entries()) set.insert("mails", recordOf(one, place), undefined);
  for (const operation of statementsOf(form, all)) {
    for (const [kind, { filter, update }] of Object.entries<never>(operation as never)) {
      set.update("mails", filter, update, { many: kind === "updateMany", by: undefined });
    }
  }
  return [...set.local("mails").values()].sort((a, b) => (a._id < b._id ? -1 : 1));
}

it("one statement for many does to each record what its own would do, and so does the simulation", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(someWrite, { minLength: 1, maxLength: 12 }), async (all) => {
      const alone = await onServer(eachAlone, all);
      expect(await onServer(together, all)).toEqual(alone);
      expect(simulated(together, all)).toEqual(alone);
      expect(simulated(eachAlone, all)).toEqual(alone);
    }),
    { numRuns: 60 },
  );
});

it("a statement is for mails with the same paths, at most 100 of them and 4 MB", () => {
  const writes = (count: number, bytes: number) =>
    Array.from({ length: count }, (_, place) => {
      const holding = new Holding({ ...mailIn("processing"), _id: `m${place}` }, newToken());
      const enriched = { headerBlock: Buffer.alloc(bytes) } as never;
      const change = { set: { enriched, reason: place % 2 === 0 ? "even" : undefined } } as never;
      return { holding, change, mark: holding.markOf(change) };
    });
  const sizes = (count: number, bytes: number) =>
    together(writes(count, bytes)).map((statement) => statement.writes.length);
  expect(sizes(500, 10)).toEqual([100, 100, 50, 100, 100, 50]);
  expect(sizes(8, 2_000_000)).toEqual([2, 2, 2, 2]);
  expect(sizes(1, 10)).toEqual([1]);
  const holding = new Holding(mailIn("processing"), newToken());
  const change = { set: { recipients: Array.from({ length: 1_000 }, () => ({})) } } as never;
  const write = { holding, change, mark: holding.markOf(change) };
  expect(together([write, write]).map(({ writes: its }) => its.length)).toEqual([1, 1]);
});
