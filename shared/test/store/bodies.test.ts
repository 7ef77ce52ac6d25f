import { randomBytes } from "node:crypto";
import { describe, expect, it } from "vitest";
import { TerminalError } from "../../src/errors.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();

describe("bodies", () => {
  it("come back byte for byte, with their size and SHA-256", async () => {
    const { bodies } = database().store;
    const raws = [Buffer.alloc(0), Buffer.from("Subject: é\r\n\r\n"), randomBytes(70_000)];
    const refs = await Promise.all(raws.map((raw) => bodies.put(raw)));
    for (const [index, ref] of refs.entries()) {
      expect(ref).toMatchObject({ form: "document", size: raws[index]?.length });
      expect(raws[index]?.equals(await bodies.get(ref))).toBe(true);
    }
  });

  it("of 40 MB go through GridFS and come back byte for byte", async () => {
    const { bodies } = database().store;
    const raw = randomBytes(40_000_000);
    const ref = await bodies.put(raw);
    expect(ref).toMatchObject({ form: "gridfs", size: raw.length });
    expect(raw.equals(await bodies.get(ref))).toBe(true);
  });

  it("are one document up to 8 MB and a GridFS file above", async () => {
    const { bodies } = database().store;
    const limit = 8 * 1024 * 1024;
    const fits = await bodies.put(Buffer.alloc(limit, 1));
    const above = await bodies.put(Buffer.alloc(limit + 1, 1));
    expect([fits.form, above.form]).toEqual(["document", "gridfs"]);
    expect((await bodies.get(fits)).length).toBe(limit);
    expect((await bodies.get(above)).length).toBe(limit + 1);
  });

  it("that are missing are a terminal error, in either form", async () => {
    const { bodies } = database().store;
    const ref = { id: "gone", size: 1, sha256: "0".repeat(64) };
    for (const form of ["document", "gridfs"] as const)
      await expect(bodies.get({ ...ref, form })).rejects.toMatchObject({
        code: "STORE_BODY_MISSING",
      });
  });

  it("that were changed, cut or lost a chunk are a terminal error", async () => {
    const { store, db } = database();
    const small = await store.bodies.put(Buffer.from("whole"));
    await db
      .collection("bodies")
      .updateOne({ _id: small.id as never }, { $set: { raw: Buffer.from("hole!") } });
    const large = await store.bodies.put(randomBytes(9_000_000));
    await db.collection("bodies.chunks").deleteOne({ files_id: large.id, n: 3 });
    for (const ref of [small, large]) {
      const got = store.bodies.get(ref);
      await expect(got).rejects.toThrow(TerminalError);
      await expect(got).rejects.toMatchObject({ code: "STORE_BODY_CORRUPT" });
    }
  });
});
