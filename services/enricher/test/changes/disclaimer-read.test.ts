import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { Change } from "@rs-agent/shared/mail/task-settings.ts";
import { enriched } from "../mail-to-enrich.ts";
import { startMailReader, type Leaf } from "./mail-reader.ts";
import { anyMail } from "./mime-mails.ts";

const footer = "Acme Ltd., Bäcker Street 1, 5 €";
const disclaimer: Change = { kind: "disclaimer", text: footer, html: `<p>${footer}</p>` };

const reader = startMailReader();
afterAll(() => reader.close());

const timesIn = ({ text }: Leaf) => text.split(footer).length - 1;

/** What another parser finds in a mail before and after the disclaimer. */
async function readAround(raw: Buffer) {
  const { final, notes } = await enriched(raw, [disclaimer]);
  return { before: await reader.read(raw), after: await reader.read(final), final, notes };
}

/** Text before the footer, which must be as it was except for blanks. */
function textBefore({ text }: Leaf): string {
  return text.replace(footer, "").replace(/\s+/g, " ").trim();
}

/** The paths of parts with the footer; all others must be as they were. */
function footed({ before, after }: { before: Leaf[]; after: Leaf[] }): string[] {
  expect(after.map(({ path, type }) => ({ path, type }))).toEqual(
    before.map(({ path, type }) => ({ path, type })),
  );
  return after.flatMap((leaf, at) => {
    const old = before[at] as Leaf;
    if (leaf.bytes === old.bytes && timesIn(leaf) === 0) return [];
    expect({ ...leaf, times: timesIn(leaf), bytes: "" }).toEqual({
      ...old,
      text: leaf.text,
      charsets: leaf.charsets,
      shown: true,
      times: 1,
      bytes: "",
    });
    expect(leaf.charsets.length).toBeLessThanOrEqual(1);
    expect(textBefore(leaf)).toBe(textBefore(old));
    return [leaf.path.join(".")];
  });
}

describe("the disclaimer, as another parser reads it", () => {
  it.each([
    ["comment-in-content-type", [""]],
    ["empty-forms", ["0", "1"]],
    ["flowed-delsp", [""]],
    ["forwarded-mails", ["0"]],
    ["html-comment-at-end", [""]],
    ["html-in-one-line", [""]],
    ["invitation", ["0.0", "0.1"]],
    ["soft-break-at-end", [""]],
  ])("is shown once in each text of %s and nowhere else", async (name, paths) => {
    const raw = await readFile(new URL(`fixtures/${name}.eml`, import.meta.url));
    const read = await readAround(raw);
    expect(footed(read)).toEqual(paths);
    expect(read.before.filter(({ shown }) => shown).map(({ path }) => path.join("."))).toEqual(
      paths,
    );
    expect(read.notes).toEqual([]);
  });

  it.each([
    ["digest", "it has no text part"],
    ["read-receipt", "its content is multipart/report"],
    ["smime-signed", "its content is multipart/signed"],
  ])("changes no byte of %s, and a note says so", async (name, why) => {
    const raw = await readFile(new URL(`fixtures/${name}.eml`, import.meta.url));
    const { final, notes } = await enriched(raw, [disclaimer]);
    expect(final.toString("latin1")).toBe(raw.toString("latin1"));
    expect(notes).toEqual([`disclaimer skipped: ${why}`]);
  });

  it("is in all forms of a letter or in none, and changes nothing but text (property)", async () => {
    let footedMails = 0;
    let skippedMails = 0;
    await fc.assert(
      fc.asyncProperty(anyMail, async ({ raw, untouchable }) => {
        const read = await readAround(raw);
        const paths = footed(read);
        if (paths.length === 0) {
          skippedMails += 1;
          expect(read.final.equals(raw)).toBe(true);
          expect(read.notes).toEqual([expect.stringMatching(/^disclaimer skipped: ./)]);
          return;
        }
        footedMails += 1;
        expect(read.notes).toEqual([]);
        for (const bytes of untouchable) expect(read.final.includes(bytes)).toBe(true);
        const letters = new Set(paths.map((path) => path.replace(/\.?\d+$/, "")));
        // The letter is one: a text, or its forms side by side.
        expect(letters.size).toBe(1);
      }),
      { numRuns: 300 },
    );
    expect(Math.min(footedMails, skippedMails)).toBeGreaterThan(20);
  });
});
