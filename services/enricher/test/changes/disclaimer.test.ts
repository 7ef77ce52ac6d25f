import { describe, expect, it } from "vitest";
import { mailOf } from "../mail-to-enrich.ts";
import { umlaut, typed, disclaimed } from "./disclaimed.ts";

describe("disclaimer in text", () => {
  it("goes to the end of plain text and changes no other byte", async () => {
    const raw = mailOf("Subject: x", "", "Dear Bob,  ", "\ttab");
    const { text, bodyChanged } = await disclaimed(raw);
    expect(text).toBe(`${raw.toString("latin1")}\r\n-- \r\nTenant & Co\r\n`);
    expect(bodyChanged).toBe(true);
  });

  it.each([
    ["an empty body", mailOf("Subject: x", "", "")],
    ["no empty line", mailOf("Subject: x")],
  ])("makes a body of %s", async (_, raw) => {
    expect((await disclaimed(raw)).text).toBe("Subject: x\r\n\r\n-- \r\nTenant & Co\r\n");
  });

  it("is written in the part's charset if that has its characters", async () => {
    const raw = typed(
      "Content-Type: text/plain; charset=iso-8859-1",
      "Content-Transfer-Encoding: 8bit",
      "",
      "f\xfcr",
    );
    const { text } = await disclaimed(raw, umlaut);
    expect(text).toBe(`${raw.toString("latin1")}\r\nGr\xfc\xdfe\r\n`);
  });

  it("keeps quoted-printable text as it is encoded", async () => {
    const raw = typed(
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: Quoted-Printable",
      "",
      "f=c3=bcr a=",
      "ll =3D",
      "",
    );
    const { text } = await disclaimed(raw, umlaut);
    expect(text).toBe(`${raw.toString("latin1")}\r\nGr=C3=BC=C3=9Fe\r\n`);
  });

  it("decodes base64 and encodes it again", async () => {
    const body = Buffer.from("für alle\r\n").toString("base64");
    const raw = typed(
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: base64",
      "",
      body,
    );
    const { text } = await disclaimed(raw, umlaut);
    const encoded = text.slice(text.indexOf("\r\n\r\n"));
    expect(Buffer.from(encoded, "base64").toString()).toBe("für alle\r\n\r\nGrüße\r\n");
  });

  it.each([
    ["no charset at all", mailOf("Subject: x", "", "plain = text "), "plain =3D text=20"],
    [
      "ISO-8859-1 and a sign that it lacks",
      typed("Content-Type: text/plain;", "\tcharset=ISO-8859-1; x=y", "", "f\xfcr"),
      "f=C3=BCr",
    ],
  ])("makes UTF-8 in quoted-printable of %s", async (_, raw, first) => {
    const { text } = await disclaimed(raw, { kind: "disclaimer", text: "Grüße für 1 €" });
    expect(text).toMatch(/\r\nMIME-Version: 1.0\r\n/);
    expect(text).toMatch(/\r\nContent-Type: text\/plain;.*charset=utf-8/);
    expect(text).toContain("\r\nContent-Transfer-Encoding: quoted-printable\r\n");
    expect(text).toContain(`\r\n\r\n${first}\r\n\r\nGr=C3=BC=C3=9Fe f=C3=BCr 1 =E2=82=AC\r\n`);
  });

  it("makes quoted-printable of 7bit text if the disclaimer has longer lines than SMTP takes", async () => {
    const { text } = await disclaimed(mailOf("Subject: x", "", "Hi"), {
      kind: "disclaimer",
      text: "a ".repeat(700),
    });
    expect(text.split("\r\n").every((line) => line.length <= 76)).toBe(true);
    expect(text).toContain("Content-Transfer-Encoding: quoted-printable");
  });

  it("stuffs lines of format=flowed", async () => {
    const raw = typed("Content-Type: text/plain; format=flowed", "", "Hi");
    const { text } = await disclaimed(raw, { kind: "disclaimer", text: "x \n> quoted\nFrom me" });
    expect(text.endsWith("\r\n\r\nx\r\n > quoted\r\n From me\r\n")).toBe(true);
  });
});

describe("disclaimer in HTML", () => {
  it.each([
    ["before the body's end", "<html><body>Hi</BODY></html>", "<html><body>Hi", "</BODY></html>"],
    ["before the end of HTML", "<html>Hi</html>", "<html>Hi", "</html>"],
    ["at the end", "<p>Hi", "<p>Hi\r\n", ""],
  ])("goes %s, with non-ASCII characters by number", async (_, html, before, after) => {
    const raw = typed("Content-Type: text/html; charset=big5", "", html);
    const { text } = await disclaimed(raw, umlaut);
    const body = text.slice(text.indexOf("\r\n\r\n") + 4);
    expect(body).toBe(
      `${before}\r\n<b>Gr&#252;&#223;e</b>\r\n${after}${after === "" ? "" : "\r\n"}`,
    );
  });

  it("finds its place in quoted-printable even if the tag is broken over lines", async () => {
    const raw = typed(
      "Content-Type: text/html",
      "Content-Transfer-Encoding: quoted-printable",
      "",
      "<p>=C3=A4</bo=",
      "dy>",
    );
    const { text } = await disclaimed(raw, umlaut);
    expect(text.endsWith("<p>=C3=A4\r\n<b>Gr&#252;&#223;e</b>\r\n</bo=\r\ndy>\r\n")).toBe(true);
  });

  it("is made from the text if policy gives none", async () => {
    const { text } = await disclaimed(typed("Content-Type: text/html", "", "Hi"));
    expect(text).toContain("\r\n<p>-- <br>\r\nTenant &amp; Co</p>\r\n");
  });
});
