import { afterAll, describe, expect, it } from "vitest";
import { disclaimed, expectUntouched, typed, umlaut } from "./disclaimed.ts";
import { startMailReader } from "./mail-reader.ts";

const reader = startMailReader();
afterAll(() => reader.close());

/** The paths of the parts in which another parser finds the disclaimer, and the notes. */
async function footed(...lines: string[]) {
  const { text, notes } = await disclaimed(typed(...lines), umlaut);
  const leaves = await reader.read(Buffer.from(text, "latin1"));
  const paths = leaves.filter((leaf) => leaf.text.includes("Grüße"));
  return { paths: paths.map(({ path }) => path.join(".")), notes, text };
}

const multipart = (type: string, ...parts: string[][]) => [
  `Content-Type: multipart/${type}; boundary=b`,
  "",
  ...parts.flatMap((part) => ["--b", ...part]),
  "--b--",
];
const plain = ["Content-Type: text/plain", "", "Hi"];
const html = ["Content-Type: text/html", "", "<p>Hi"];
const attached = ["Content-Type: text/plain", "Content-Disposition: attachment", "", "x"];
const named = ['Content-Type: text/plain; name="a.txt"', "", "Hi"];
const inlineFile = ["Content-Type: text/plain", "Content-Disposition: inline; filename=a", "", "x"];
const japanese = ["Content-Type: text/plain; charset=iso-2022-jp", "", "\x1b$BF|\x1b(B"];

describe("the text that is the letter", () => {
  it.each([
    ["may have a name", named, [""]],
    ["may be a file that is shown, where there is no other", inlineFile, [""]],
    ["is not a file where there is another", multipart("mixed", inlineFile, plain), ["1"]],
    ["is not an attachment", multipart("mixed", attached, inlineFile), ["1"]],
    ["has a name in one of its forms", multipart("alternative", named, html), ["0", "1"]],
    [
      "is a file in one of its forms",
      multipart("alternative", inlineFile, html, ["Content-Type: text/calendar", "", "x"]),
      ["0", "1"],
    ],
  ])("%s", async (_, lines, paths) => {
    expect(await footed(...lines)).toMatchObject({ paths, notes: [] });
  });

  const withId = (id: string) => [`Content-ID: ${id}`, ...html];
  it.each([
    ["start", 'related; start="<r@x>"', ["1"]],
    ["start without brackets", "related; start=r@x", ["1"]],
    ["start after a comment", 'related; (start=x) start="<r@x>"', ["1"]],
    ["a start that no part has", 'related; start="<z@x>"', ["0"]],
    ["no start", "related", ["0"]],
  ])("is the root of multipart/related by %s (RFC 2387)", async (_, type, paths) => {
    const lines = multipart(type, withId("<a@x>"), withId("<r@x> (root)"));
    expect(await footed(...lines)).toMatchObject({ paths, notes: [] });
  });

  it("is not an entry of a digest, whatever its type", async () => {
    const digest = multipart("digest", ["", "Subject: one", "", "one"], plain);
    await expectUntouched(typed(...digest), "it has no text part", umlaut);
    const inner = digest.map((line) => line.replace("=b", "=d").replace("--b", "--d"));
    expect((await footed(...multipart("mixed", inner, plain))).paths).toEqual(["1"]);
  });
});

describe("a letter with a form that cannot have the disclaimer", () => {
  it("stays as it is, whatever the order of its forms", async () => {
    const why =
      "its charset iso-2022-jp cannot be extended, and all forms of the letter get it or none";
    await expectUntouched(typed(...multipart("alternative", japanese, html)), why, umlaut);
    await expectUntouched(typed(...multipart("alternative", html, japanese)), why, umlaut);
  });

  it("says nothing about other forms if it has only one", async () => {
    const why = "its charset iso-2022-jp cannot be extended";
    await expectUntouched(typed(...multipart("mixed", japanese, plain)), why, umlaut);
  });
});

describe("the header of a text part", () => {
  it("gets the empty line that it lacks if nothing follows it", async () => {
    const { text } = await disclaimed(
      typed("Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: text/html"),
      umlaut,
    );
    expect(
      text.endsWith("--b\r\nContent-Type: text/html\r\n\r\n\r\n<b>Gr&#252;&#223;e</b>\r\n"),
    ).toBe(true);
  });

  it("is not changed if one of its lines is not a field, which readers take for text", async () => {
    const part = ["Content-Type: text/plain", "Dear Bob,", "a=3D", "", "Ann"];
    const why = "a line in the header of its text is not a header field";
    await expectUntouched(typed(...multipart("mixed", part)), why, umlaut);
    await expectUntouched(typed("Content-Type: text/plain", "Dear Bob,", "", "Ann"), why, umlaut);
    const { text } = await disclaimed(typed(...multipart("mixed", part)));
    expect(text).toContain("a=3D\r\n\r\nAnn\r\n\r\n-- \r\nTenant & Co\r\n");
  });

  it.each([
    "text/plain; (charset=us-ascii) charset=iso-8859-1",
    "text/plain; charset (c) = iso-8859-1 (Latin; charset=x)",
    "text/plain; charset*=us-ascii''iso-8859-1",
    'text/plain; charset="iso-8859-1"; CHARSET=iso-8859-1',
    "text/plain (plain text)",
  ])("names one charset after %s", async (type) => {
    const body = type.includes("8859") ? "f\xfcr" : "Hi";
    const raw = typed(`Content-Type: ${type}`, "Content-Transfer-Encoding: 8bit", "", body);
    const { text } = await disclaimed(raw, { kind: "disclaimer", text: "5 €" });
    const [leaf] = await reader.read(Buffer.from(text, "latin1"));
    expect(leaf?.charsets).toEqual(["utf-8"]);
    expect(leaf?.text.replace(/\r?\n/g, "|")).toBe(`${type.includes("8859") ? "für" : "Hi"}||5 €|`);
  });
});
