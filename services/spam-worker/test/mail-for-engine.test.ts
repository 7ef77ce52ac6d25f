import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { cutAtLineEnd, mailForEngine } from "../src/mail-for-engine.ts";
import { returnPath } from "../src/spamd/return-path.ts";

const bytes = Buffer.from("Subject: x\r\n\r\none\r\ntwo\r\nthree\r\n");

it("gives the mail as it is", async () => {
  const settings = { maxBytes: 1_000, oversize: "unchecked" } as const;
  const given = await mailForEngine({ kind: "bytes", bytes }, settings);
  expect(given).toEqual({ kind: "mail", raw: bytes });
});

it("writes the null sender as <>", () => {
  expect(returnPath("").toString()).toBe("Return-Path: <>\r\n");
});

it("writes one line whatever the sender is", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (mailFrom) => {
      expect(returnPath(mailFrom).toString()).toMatch(/^Return-Path: <[^\r\n<>]*>\r\n$/);
    }),
  );
});

it("gives no mail above the limit, or only its head up to a line end, as the policy says", async () => {
  const mail = { kind: "bytes", bytes } as const;
  expect(await mailForEngine(mail, { maxBytes: 20, oversize: "unchecked" })).toEqual({
    kind: "too-large",
  });
  const given = await mailForEngine(mail, { maxBytes: 20, oversize: "head" });
  expect(given).toMatchObject({ kind: "mail", scannedBytes: 19 });
  if (given.kind === "mail") expect(given.raw.toString()).toBe("Subject: x\r\n\r\none\r\n");
});

it("never cuts within a line that has a line before it", () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom("a", "\n", "\r\n")), (parts) => {
      const text = Buffer.from(parts.join(""));
      const head = cutAtLineEnd(text);
      expect(text.subarray(0, head.length)).toEqual(head);
      if (text.includes("\n")) expect(head.at(-1)).toBe(0x0a);
      else expect(head).toEqual(text);
    }),
  );
});

it("reads a spooled mail, but only the head of an oversized one", async () => {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-test-spool-"));
  try {
    const path = join(dir, "mail");
    await writeFile(path, bytes);
    const mail = { kind: "file", path, size: bytes.length } as const;
    const whole = await mailForEngine(mail, { maxBytes: 1_000, oversize: "head" });
    const head = await mailForEngine(mail, { maxBytes: 20, oversize: "head" });
    expect(whole.kind === "mail" && whole.raw).toEqual(bytes);
    expect(head).toMatchObject({ scannedBytes: 19 });
    const truncated = { ...mail, size: bytes.length + 1 };
    await expect(mailForEngine(truncated, { maxBytes: 1_000, oversize: "head" })).rejects.toThrow(
      "ends after",
    );
  } finally {
    await rm(dir, { recursive: true });
  }
});
