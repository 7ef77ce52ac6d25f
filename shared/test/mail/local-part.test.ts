import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { comparedAddress } from "../../src/mail/local-part.ts";

/** A mailbox name quoted as RFC 5321 §4.1.2 allows, with some characters escaped needlessly. */
function quoted(name: string, escaped: readonly boolean[]): string {
  const characters = Array.from(name, (character, at) =>
    character === '"' || character === "\\" || escaped[at] === true ? `\\${character}` : character,
  );
  return `"${characters.join("")}"`;
}

const name = fc.string({ unit: "grapheme-ascii", maxLength: 12 });
const escapes = fc.array(fc.boolean(), { maxLength: 12 });

describe("comparedAddress", () => {
  it.each([
    ["Vip@Acme.example", "vip@acme.example"],
    ['"vip"@acme.example', "vip@acme.example"],
    ['"v\\ip"@acme.example', "vip@acme.example"],
    ['"odd user"@acme.example', '"odd user"@acme.example'],
    ['"odd\\ user"@acme.example', '"odd user"@acme.example'],
    ['"a@b"@acme.example', '"a@b"@acme.example'],
    ['"a\\"b"@acme.example', '"a\\"b"@acme.example'],
    ['""@acme.example', '""@acme.example'],
    ["postmaster", "postmaster"],
    ["", ""],
  ])("is for %s %s", (address, compared) => {
    expect(comparedAddress(address)).toBe(compared);
  });

  it("is the same for every way to write a mailbox, differs for another mailbox, and is its own normal form", () => {
    fc.assert(
      fc.property(name, name, escapes, escapes, (one, other, first, second) => {
        const forms = [quoted(one, first), quoted(one, second), quoted(other, first)];
        const [a, b, c] = forms.map((local) => comparedAddress(`${local}@x.example`));
        expect(b).toBe(a);
        expect(a === c).toBe(one.toLowerCase() === other.toLowerCase());
        expect(comparedAddress(a ?? "")).toBe(a);
      }),
    );
  });
});
