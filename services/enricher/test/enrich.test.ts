import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { enrichOutputSchema } from "@rs-agent/shared/bus/wire.ts";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { changeKinds, type Change } from "@rs-agent/shared/mail/task-settings.ts";
import { changes } from "../src/changes/table.ts";
import { enrich } from "../src/enrich.ts";
import {
  deps,
  enriched,
  mailOf,
  pemOf,
  plainMail,
  signChange,
  spamVerdict,
  taskFor,
  unableReason,
  virusVerdict,
} from "./mail-to-enrich.ts";
import { countCpu } from "../../../test/support/cpu-time.ts";

const key = pemOf("ed25519");
const headerChanges: Change[] = [
  { kind: "strip" },
  { kind: "verdict-headers" },
  { kind: "extra-headers", headers: [{ name: "X-Extra", value: "1" }] },
  { kind: "geoip" },
  { kind: "subject-tag", tag: "[SPAM]" },
  { kind: "sender-rewrite", map: { "@tenant.example": "x@new.example" } },
];
const more = {
  verdicts: {
    ...virusVerdict({ kind: "clean" }),
    ...spamVerdict({ kind: "spam", score: 6, required: 5, rules: [] }),
  },
};

describe("enrich", () => {
  it("knows every change that a policy can ask for", () => {
    expect(Object.keys(changes).sort()).toEqual([...changeKinds].sort());
  });

  it("returns the raw mail byte for byte if nothing is asked for", async () => {
    const { final, bodyChanged, sha256, size, notes } = await enriched(plainMail, []);
    expect(final.equals(plainMail)).toBe(true);
    expect({ bodyChanged, sha256, size, notes }).toEqual({
      bodyChanged: false,
      sha256: sha256Hex(plainMail),
      size: plainMail.length,
      notes: [],
    });
  });

  it("makes all changes in one go and reports SMTP sender and signature", async () => {
    const signing = { ...signChange(key), domain: "new.example" } as Change;
    const all = [...headerChanges, { kind: "disclaimer", text: "bye" } as const, signing];
    const { text, mailFrom, signature, bodyChanged } = await enriched(plainMail, all, more);
    const fields = text.slice(0, text.indexOf("\r\n\r\n")).match(/^[^\s:]+(?=:)/gm);
    expect(fields).toEqual([
      "DKIM-Signature",
      "X-Relay-Countries",
      "X-Extra",
      "X-RadicalSpam",
      "X-Virus-Scanned",
      "X-Virus-Status",
      "X-Spam-Flag",
      "X-Spam-Status",
      "X-Spam-Score",
      "X-Spam-Level",
      "Received",
      "From",
      "To",
      "Subject",
      "Message-ID",
    ]);
    expect(text).toContain("From: Alice <x@new.example>\r\n");
    expect(text).toContain("Subject: [SPAM] Hello\r\n");
    expect(text.endsWith("yours, Alice\r\n\r\nbye\r\n")).toBe(true);
    expect({ mailFrom, signature, bodyChanged }).toEqual({
      mailFrom: "x@new.example",
      signature: { domain: "new.example", selector: "s1" },
      bodyChanged: true,
    });
  });

  it("changes no byte of the body by header changes, whatever its bytes (property)", async () => {
    const line = fc.oneof(
      fc.constantFrom(
        "From: a@tenant.example",
        "Subject: x",
        " fold",
        "X-Spam-Flag: NO",
        "",
        "junk",
        "Sender: b@tenant.example",
        "Subject:",
        "From:",
        "Received: x",
      ),
      fc.uint8Array({ maxLength: 40 }).map((data) => Buffer.from(data).toString("latin1")),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 15 }), async (lines) => {
        const raw = canonicalize(Buffer.from(lines.join("\r\n"), "latin1"));
        const { final, text, ...output } = await enriched(raw, headerChanges, more);
        const { restOffset, sha256, size } = output;
        const rest = raw.subarray(restOffset);
        expect(sha256Hex(final.subarray(final.length - rest.length))).toBe(sha256Hex(rest));
        expect([sha256, size]).toEqual([sha256Hex(final), final.length]);
        const isHeaderOnly = rest.length === 0 && !raw.subarray(0, restOffset).includes("\r\n\r\n");
        const headerEnd = final.length - rest.length;
        const closing = text.slice(headerEnd - 2, headerEnd);
        if (restOffset > 0 || !isHeaderOnly) expect(closing).toBe("\r\n");
        expect(text.slice(0, headerEnd)).not.toContain("X-Spam-Flag: NO");
        expect(enrichOutputSchema.parse(output)).toEqual(output);
      }),
      { numRuns: 500 },
    );
  });

  it("leaves a bounce with the null sender as it is", async () => {
    const raw = mailOf("From: MAILER-DAEMON@mx.example", "Subject: failed", "", "x");
    const smtp = { mailFrom: "", rcptTo: ["a@b"], client: { address: "", name: "", helo: "" } };
    const { mailFrom, text } = await enriched(raw, headerChanges, { ...more, smtp });
    expect(mailFrom).toBeUndefined();
    expect(text).toContain("From: MAILER-DAEMON@mx.example\r\nSubject: [SPAM] failed\r\n\r\nx\r\n");
  });

  it("signs 50 MB without stalling the event loop or copying the body", async () => {
    const raw = Buffer.concat([
      Buffer.from("From: a@tenant.example\r\n\r\n"),
      Buffer.alloc(50 * 1024 * 1024, `${"A".repeat(76)}\r\n`),
    ]);
    let turns = 0;
    let turn = setImmediate(function again() {
      turns += 1;
      turn = setImmediate(again);
    });
    const task = taskFor(raw, [{ kind: "strip" }, signChange(key)]);
    const { output, bytes } = await enrich(raw, task, deps, new AbortController().signal);
    clearImmediate(turn);
    expect(output).toMatchObject({ kind: "enriched", bodyChanged: false, restOffset: 0 });
    expect(bytes?.length).toBeLessThan(2_000);
    // Signing, verifying and hashing each go through 800 pieces of 64 KB.
    expect(turns).toBeGreaterThan(2_400);
  });

  it("handles a body that is one line of 20 MB in time that grows linearly", async () => {
    const raw = mailOf("From: a@tenant.example", "", "A".repeat(20 * 1024 * 1024));
    const cpuMs = countCpu();
    await enriched(raw, [signChange(key)]);
    expect(cpuMs()).toBeLessThan(10_000);
  });

  it("holds a mail whose header is larger than the limit, before reading its fields", async () => {
    const raw = Buffer.alloc(5 * 1024 * 1024, "a: b\r\n");
    expect(await unableReason(raw, [{ kind: "strip" }])).toContain("more than 4194304 bytes");
  });

  it("stops at the task's deadline", async () => {
    const task = taskFor(plainMail, [signChange(key)]);
    const deadline = AbortSignal.abort(new Error("deadline"));
    await expect(enrich(plainMail, task, deps, deadline)).rejects.toThrow("deadline");
  });
});
