import { domainToASCII } from "node:url";
import fc from "fast-check";
import { expect, test } from "vitest";
import { normalDomain } from "../../src/mail/mail-domain.ts";

const parts = [
  ...[
    "a",
    "b-",
    "-c",
    "_d",
    "1",
    "127",
    "4294967295",
    "0x1",
    "0x",
    "e1",
    "1e",
    "ab--c",
    "com",
    "A",
  ],
  ...[
    "xn--",
    "xn--bcher-kva",
    "ß",
    "é",
    "\u00ad",
    "\u3002",
    "%41",
    ".",
    "..",
    " ",
    "/",
    ":",
    "@",
    "\n",
  ],
  ...["a".repeat(63), "a".repeat(64)],
];
const texts = fc
  .tuple(
    fc.array(fc.oneof(fc.constantFrom(...parts), fc.string({ maxLength: 3 })), { maxLength: 6 }),
    fc.constantFrom("", ".", "-"),
  )
  .map(([some, between]) => some.join(between));

test("the normal form of a domain is what IDNA makes of it, whatever the text is", () => {
  const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
  fc.assert(
    fc.property(texts, (text) => {
      const ascii = domainToASCII(text.replace(/\.$/, "")).toLowerCase();
      const isDomain = ascii.length <= 253 && ascii.split(".").every((part) => label.test(part));
      expect(normalDomain(text)).toBe(isDomain ? ascii : undefined);
    }),
    { numRuns: 20_000 },
  );
});
