import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TerminalError } from "../src/errors.ts";
import { parseAllowList } from "../src/bus/allow-list.ts";
import { parsePolicyYaml } from "../src/policy/yaml.ts";
import { maxWrongs, readYaml } from "../src/yaml-source.ts";

/** What is wrong, as `line:column: message`; empty if it was read. */
function wrongsOf(text: string): string[] {
  const source = readYaml(text);
  if (source.kind === "read") return [];
  return source.wrongs.map(({ line, col, message }) => `${line}:${col}: ${message}`);
}

function valueOf(text: string): unknown {
  const source = readYaml(text);
  if (source.kind === "read") return source.value;
  throw new Error(wrongsOf(text).join("\n"));
}

describe("YAML that was meant as text is named, with the quotes that it needs", () => {
  test.each([
    ["tag: ***SPAM***", "1:6: ***SPAM*** reads as an alias, and no &**SPAM*** is before it; text"],
    ["a: { tag: ***SPAM*** }", "1:11: ***SPAM*** reads as an alias"],
    ["tag: * SPAM *", "1:6: Alias cannot be an empty string; text that begins with * needs"],
    ["tag: !!!SPAM!!!", "1:6: !!!SPAM!!! reads as a tag, and there is no such; text that begins"],
    ["tag: !important", "1:6: !important reads as a tag"],
    ["tag: &SPAM", "1:6: &SPAM reads as an anchor, and no alias uses it; text that begins with &"],
    ["tag: &News of today", "1:6: &News reads as an anchor, and no alias uses it"],
    ["tag: @spam", "1:6: Plain value cannot start with reserved character @; text that has such"],
    ["tag: spam: yes", "1:6: Nested mappings are not allowed in compact mappings; text that has"],
    ["tag: >>> SPAM", "1:7: Block scalar header includes extra characters: >>>; text that begins"],
    ["a: !!timestamp 2001-01-01", "1:16: the tag !!timestamp is not known here; leave it out"],
  ])("%s", (text, expected) => {
    const [first = "it was read"] = wrongsOf(`${text}\n`);
    expect(first.slice(0, expected.length)).toBe(expected);
  });

  test("the advice is what the person meant", () => {
    const [first = ""] = wrongsOf("tag: ***SPAM***\n");
    const [, advised = ""] = /needs quotes: (".*")$/.exec(first) ?? [];
    expect(valueOf(`tag: ${advised}`)).toEqual({ tag: "***SPAM***" });
  });
});

describe("keys, anchors and documents", () => {
  test.each([
    ["a: 1\nb: 2\na: 3\n", "3:1: a occurs twice in this section"],
    ["x: &x { a: 1 }\ny: { <<: *x }\n", "2:6: << merges nothing here (it was YAML 1.1): write"],
    ["? { a: 1 }\n: x\n", "1:3: a name must be text; no alias, list or section"],
    ["a: &a x\n*a : y\n", "2:1: a name must be text; no alias, list or section"],
    ["a: &a [*a]\n", "1:8: *a is inside &a, which would then contain itself"],
    ["a: &a { b: { c: *a } }\n", "1:17: *a is inside &a, which would then contain itself"],
    ["a: 1\n---\nb: 2\n", "2:1: a second document begins here; one file holds one"],
    ["a: *b\nb: &b 1\n", "1:4: *b reads as an alias, and no &b is before it"],
  ])("%j", (text, expected) => {
    const [first = "it was read"] = wrongsOf(text);
    expect(first.slice(0, expected.length)).toBe(expected);
  });

  test("an alias brings what the last anchor of its name holds", () => {
    const text = "a: &x { k: 1 }\nb: *x\nc: &x two\nd: [*x, *x]\n";
    expect(valueOf(text)).toEqual({ a: { k: 1 }, b: { k: 1 }, c: "two", d: ["two", "two"] });
  });

  test("a key called __proto__ is a key", () => {
    expect(Object.keys(valueOf("__proto__: { x: 1 }\n") as object)).toEqual(["__proto__"]);
  });
});

describe("a file of any size is answered in a time that grows only with its size", () => {
  const levels = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
  const laughs = levels
    .map((name, at) => {
      const inner = at === 0 ? "x" : `*${levels[at - 1] ?? ""}`;
      return `${name}: &${name} [${Array.from({ length: 9 }, () => inner).join(",")}]\n`;
    })
    .join("");

  test("aliases of aliases that would make 400 million values are refused by place", () => {
    expect(wrongsOf(laughs)).toEqual([
      expect.stringMatching(/^5:\d+: aliases make more than 10000 values of this file; write them/),
    ]);
  });

  test("aliases of one anchor, as many as there are domains, are not an attack", () => {
    const count = 5_000;
    const domains = Array.from({ length: count }, (_, at) => `  d${at}.example: *rules\n`);
    const text = `rules: &rules { spam: { threshold: 7 } }\ndomains:\n${domains.join("")}`;
    const { domains: read } = valueOf(text) as { domains: object };
    expect(Object.keys(read)).toHaveLength(count);
  });

  test.each(["{", "[", "? ", "- ", "{[", "a: {", "!a ", "&a "])(
    "%j, many thousand times",
    (one) => {
      expect(wrongsOf(one.repeat(20_000)).length).toBeLessThanOrEqual(maxWrongs);
    },
  );

  test("too deep nesting is reported once", () => {
    expect(wrongsOf("[".repeat(20_000))).toEqual([
      expect.stringMatching(/^1:\d+: is nested too deeply$/),
    ]);
  });
});

describe("whatever stands in a file", () => {
  const signs = [
    ...["*", "&", "!", "?", ":", "- ", "[", "]", "{", "}", ",", "#", "|", ">", "'", '"', "%", "@"],
    ...["\n", "  ", "---\n", "...\n", "<<", "a", "b: ", "&a ", "*a", "!!set ", "!!binary ", "\t"],
    ...["%YAML 1.1\n---\n", "default:\n", "tenants: ", "domains: ", "x.example: ", "0", "\u0000"],
  ];
  const garbage = fc.oneof(
    fc.array(fc.constantFrom(...signs), { maxLength: 60 }).map((parts) => parts.join("")),
    fc.string({ maxLength: 200, unit: "binary" }),
  );

  test("a policy file is read, or refused by line and column", () => {
    fc.assert(
      fc.property(garbage, (text) => {
        try {
          parsePolicyYaml(text, "p.yaml");
        } catch (error) {
          if (!(error instanceof TerminalError)) throw error;
          expect(error.code).toBe("CFG_POLICY_INVALID");
          expect(error.message).toMatch(/^p\.yaml:\d+:\d+: /);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("an allow list of the bus is read, or refused by name", () => {
    fc.assert(
      fc.property(garbage, (text) => {
        try {
          parseAllowList(text, "allow.yaml");
        } catch (error) {
          if (!(error instanceof TerminalError)) throw error;
          expect(error.message).toMatch(/^allow\.yaml: /);
        }
      }),
      { numRuns: 300 },
    );
  });
});
