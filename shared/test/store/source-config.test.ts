import { describe, expect, it } from "vitest";
import { TerminalError } from "../../src/errors.ts";
import { parseSources } from "../../src/store/source-config.ts";

describe("the setting SOURCES", () => {
  it("has mongo-mail-server's own names as defaults", () => {
    const [source] = parseSources('[{"name":"mms","form":"mongo-mail-server","mode":"scan-only"}]');
    expect(source).toEqual({
      name: "mms",
      form: "mongo-mail-server",
      mode: "scan-only",
      db: "message",
      collection: "message",
      bucket: "fs",
      mark: true,
      outgoing: false,
    });
  });

  it.each([
    ["no JSON"],
    ['[{"name":"x","form":"native","mode":"deliver"}]'],
    ['[{"name":"x","form":"other","mode":"deliver","db":"d","collection":"c"}]'],
    ['[{"name":"a b","form":"native","mode":"deliver","db":"d","collection":"c"}]'],
    [JSON.stringify([0, 1].map(() => ({ name: "x", form: "mongo-mail-server", mode: "deliver" })))],
  ])("is refused where it is wrong: %s", (json) => {
    expect(() => parseSources(json)).toThrow(TerminalError);
  });
});
