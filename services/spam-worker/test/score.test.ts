import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseReport, parseScore, parseSymbols } from "../src/spamd/score.ts";

const ruler = "---- ---------------------- --------------------------------------------------";
const reportOf = (...lines: string[]) =>
  ["Content preview:  x", ruler, ...lines, "", ""].join("\n");

describe("the Spam header", () => {
  it("gives flag, score and the points from which spamd says spam", () => {
    expect(parseScore("True ; 15.0 / 5.0")).toEqual({ spam: true, score: 15, required: 5 });
    expect(parseScore("False ; -2.6 / 5.0")).toEqual({ spam: false, score: -2.6, required: 5 });
  });

  it.each([
    "",
    "True",
    "true ; 15.0 / 5.0",
    "Yes ; 15.0 / 5.0",
    "True ; 15.0 / ",
    "True ; nan / 5.0",
    "False ; inf / 5.0",
    "True ; 15,0 / 5,0",
    "True ; 15.0 / 5.0 ; more",
    " False ; 0.0 / 5.0",
    "False ; 1e3 / 5.0",
  ])("is not a judgement as %j", (text) => {
    expect(parseScore(text)).toBeUndefined();
  });

  it("is not a judgement if flag and numbers contradict each other", () => {
    expect(parseScore("False ; 15.0 / 5.0")).toBeUndefined();
    expect(parseScore("True ; 1.0 / 5.0")).toBeUndefined();
  });

  it("never reads as ham what is not exactly its form", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const score = parseScore(text);
        if (score === undefined) return;
        expect(text).toMatch(/^(True|False) ; -?[\d.]+ \/ -?[\d.]+$/);
      }),
    );
  });
});

describe("the body of SYMBOLS", () => {
  it("is a list of names", () => {
    expect(parseSymbols("GTUBE,RDNS_NONE")).toEqual([{ name: "GTUBE" }, { name: "RDNS_NONE" }]);
    expect(parseSymbols("")).toEqual([]);
  });

  it.each(["GTUBE, RDNS_NONE", "GTUBE,,A", "a b", "<html>"])("is nothing else: %j", (body) => {
    expect(parseSymbols(body)).toBeUndefined();
  });
});

describe("the table of a REPORT", () => {
  it("gives rules with their points", () => {
    const report = reportOf(
      " 1.0 HEADER_FROM_DIFFERENT_DOMAINS From and EnvelopeFrom 2nd level mail",
      "                            domains are different",
      "1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email",
      "-0.1 DKIM_VALID             Message has at least one valid DKIM signature",
    );
    expect(parseReport(report, 1000.9)).toEqual([
      { name: "HEADER_FROM_DIFFERENT_DOMAINS", score: 1 },
      { name: "GTUBE", score: 1000 },
      { name: "DKIM_VALID", score: -0.1 },
    ]);
  });

  it("is not believed if its points do not add up to the score", () => {
    expect(parseReport(reportOf(" 1.0 A  x"), 7.0)).toBeUndefined();
  });

  it("is not believed if the report has none", () => {
    expect(parseReport("Everything is fine.\n 1.0 A  x\n", 1.0)).toBeUndefined();
  });

  it("is the last one, not one that the mail quotes", () => {
    const quoted = ["Content preview:", ruler, "-9.0 FORGED  x", "", reportOf(" 2.0 TRUE_ONE  y")];
    expect(parseReport(quoted.join("\n"), 2.0)).toEqual([{ name: "TRUE_ONE", score: 2 }]);
  });
});
