import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { decodeQuotedPrintable, encodeQuotedPrintable } from "../../src/mime/quoted-printable.ts";

describe("quoted-printable", () => {
  it("returns each byte with the offset that it came from (property)", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
        const bytes = canonicalize(Buffer.from(data));
        const encoded = encodeQuotedPrintable(bytes);
        expect(
          encoded
            .toString("latin1")
            .split("\r\n")
            .every((line) => line.length <= 76),
        ).toBe(true);
        expect(/^[\t\r\n\x20-\x7e]*$/.test(encoded.toString("latin1"))).toBe(true);
        const { bytes: decoded, offsets } = decodeQuotedPrintable(encoded);
        expect(decoded.equals(bytes)).toBe(true);
        expect(offsets.length).toBe(decoded.length + 1);
        expect(
          [...offsets].every((offset, at) => at === 0 || offset > (offsets[at - 1] as number)),
        ).toBe(true);
      }),
    );
  });

  it("reads soft breaks, padding and faulty escapes", () => {
    const { bytes } = decodeQuotedPrintable(Buffer.from("a =\t\r\nb=3D=ZZ=4 \t\r\n  c  ="));
    expect(bytes.toString()).toBe("a b==ZZ=4\r\n  c  ");
  });
});
