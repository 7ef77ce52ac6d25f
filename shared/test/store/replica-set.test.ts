import { describe, expect, it } from "vitest";
import { makeReplicaSet, stageOf } from "../../src/store/replica-set.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

describe("the replica set of one node", () => {
  it.each([
    ["primary", { isWritablePrimary: true, setName: "rs0", secondary: false }],
    // MongoDB 8 with --replSet that nobody has initiated.
    [
      "uninitiated",
      {
        isWritablePrimary: false,
        secondary: false,
        info: "Does not have a valid replica set config",
        isreplicaset: true,
      },
    ],
    ["waiting", { isWritablePrimary: false, secondary: true, setName: "rs0" }],
  ] as const)("is %s by what hello says", (stage, hello) => {
    expect(stageOf(hello)).toBe(stage);
  });

  it("is left as it is if it takes writes", async () => {
    const options = { name: "rs0", member: "127.0.0.1:27017", withinMs: 20_000 };
    expect(await makeReplicaSet({ ...options, uri: mongodbUri() })).toBe("was there");
  });

  it("reports the database as unreachable if nobody answers", async () => {
    const uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50";
    const made = makeReplicaSet({ uri, name: "rs0", member: "127.0.0.1:1", withinMs: 200 });
    await expect(made).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
  });
});
