import { describe, expect, it } from "vitest";
import { createGroupCommit, type Settled } from "../../src/store/group-commit.ts";

interface Item {
  key: string;
  bytes: number;
}

/** Commits that wait until the test lets them end. */
function commits(
  options: { concurrency?: number; maxItems?: number; maxBytes?: number; lingerMs?: number } = {},
) {
  const under: { items: Item[]; end: (settled?: Settled<string>[]) => void }[] = [];
  const group = createGroupCommit<Item, string>({
    lingerMs: options.lingerMs ?? 1,
    maxItems: options.maxItems ?? 100,
    concurrency: options.concurrency ?? 1,
    ...(options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes }),
    keyOf: ({ key }) => key,
    bytesOf: ({ bytes }) => bytes,
    commit: (items) =>
      new Promise((resolve) => {
        under.push({
          items,
          end: (settled = items.map(({ key }) => ({ value: key }))) => resolve(settled),
        });
      }),
  });
  const add = (key: string, bytes = 1) => group.add({ key, bytes });
  const keys = () => under.map(({ items }) => items.map(({ key }) => key).join(""));
  return { add, under, keys };
}

describe("group commit", () => {
  it("commits together what comes within the time that it waits for more", async () => {
    const { add, under, keys } = commits();
    const added = [add("a"), add("b"), add("c")];
    await expect.poll(keys).toEqual(["abc"]);
    under[0]?.end();
    expect(await Promise.all(added)).toEqual(["a", "b", "c"]);
  });

  it("gathers what comes while a commit is under way, and goes on by itself", async () => {
    const { add, under, keys } = commits();
    const first = add("a");
    await expect.poll(keys).toEqual(["a"]);
    const later = [add("b"), add("c")];
    under[0]?.end();
    await first;
    await expect.poll(keys).toEqual(["a", "bc"]);
    under[1]?.end();
    expect(await Promise.all(later)).toEqual(["b", "c"]);
  });

  it("does not wait for others if none came recently", async () => {
    const { add, under, keys } = commits({ lingerMs: 60_000 });
    const first = add("a");
    await expect.poll(keys).toEqual(["a"]);
    const soonAfter = [add("b"), add("c")];
    under[0]?.end();
    await first;
    await expect.poll(keys).toEqual(["a", "bc"]);
    under[1]?.end();
    await Promise.all(soonAfter);
    await new Promise((resolve) => setTimeout(resolve, 30));
    void add("d");
    await expect.poll(keys).toEqual(["a", "bc", "d"]);
    under[2]?.end();
  });

  it("closes a group at its limits of number and bytes", async () => {
    const byNumber = commits({ maxItems: 2, concurrency: 9 });
    for (const key of "abcde") void byNumber.add(key);
    await expect.poll(byNumber.keys).toEqual(["ab", "cd", "e"]);
    const byBytes = commits({ maxBytes: 10, concurrency: 9 });
    for (const [key, bytes] of Object.entries({ a: 6, b: 6, c: 3, d: 50, e: 1 }))
      void byBytes.add(key, bytes);
    await expect.poll(byBytes.keys).toEqual(["a", "bc", "d", "e"]);
  });

  it("never has two items of one key under way, and keeps their order", async () => {
    const { add, under, keys } = commits({ concurrency: 5 });
    const added = [add("a"), add("a"), add("b"), add("a")];
    await expect.poll(keys).toEqual(["ab"]);
    under[0]?.end();
    await expect.poll(keys).toEqual(["ab", "a"]);
    under[1]?.end();
    await expect.poll(keys).toEqual(["ab", "a", "a"]);
    under[2]?.end();
    expect(await Promise.all(added)).toEqual(["a", "a", "b", "a"]);
  });

  it("fails only the items that failed", async () => {
    const { add, under, keys } = commits();
    const added = Promise.allSettled([add("a"), add("b")]);
    await expect.poll(keys).toEqual(["ab"]);
    under[0]?.end([{ error: new Error("refused") }, { value: "b" }]);
    expect((await added).map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  });

  it("fails every item of a commit that throws, and goes on", async () => {
    let calls = 0;
    const group = createGroupCommit<string, string>({
      lingerMs: 1,
      maxItems: 10,
      concurrency: 1,
      commit: (items) => {
        calls += 1;
        if (calls === 1) return Promise.reject(new Error("away"));
        return Promise.resolve(items.map((value) => ({ value })));
      },
    });
    await expect(Promise.all([group.add("a"), group.add("b")])).rejects.toThrow("away");
    expect(await group.add("c")).toBe("c");
  });
});
