import { expect, it } from "vitest";
import { z } from "zod";
import { databaseName, loadConfig } from "../src/config.ts";

const load = (MONGODB_DB: string) =>
  loadConfig(z.object({ MONGODB_DB: databaseName() }), { MONGODB_DB }).MONGODB_DB;

it("a database's name is one that every MongoDB takes", () => {
  expect(load("mail-2_ä")).toBe("mail-2_ä");
  expect(load("")).toBe("rs_agent");
  expect(load("x".repeat(63))).toHaveLength(63);
  for (const name of ["a/b", "a.b", "a b", "a$b", 'a"b', "a\\b", "a*b", "a\0b", "a?b", "a|b"])
    expect(() => load(name), name).toThrow(/a database's name has no blank and none of/);
  expect(() => load("ä".repeat(32))).toThrow(/at most 63 bytes/);
});
