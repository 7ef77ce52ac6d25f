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
      networks: [],
      xforwardPeers: [],
    });
  });

  it.each([
    ["no JSON"],
    ['[{"name":"x","form":"native","mode":"deliver"}]'],
    ['[{"name":"x","form":"other","mode":"deliver","db":"d","collection":"c"}]'],
    ['[{"name":"a b","form":"native","mode":"deliver","db":"d","collection":"c"}]'],
    ['[{"name":"x","form":"mongo-mail-server","mode":"deliver","outgoing":true}]'],
    ['[{"name":"x","form":"mongo-mail-server","mode":"deliver","tenant":"acme"}]'],
    ['[{"name":"x","form":"mongo-mail-server","mode":"deliver","networks":["0.0.0.0/0"]}]'],
    ['[{"name":"x","form":"mongo-mail-server","mode":"deliver","xforwardPeers":["mx.example"]}]'],
    [
      '[{"name":"x","form":"native","mode":"deliver","db":"d","collection":"c","xforwardPeers":["::1"]}]',
    ],
    [JSON.stringify([0, 1].map(() => ({ name: "x", form: "mongo-mail-server", mode: "deliver" })))],
  ])("is refused if it is wrong: %s", (json) => {
    expect(() => parseSources(json)).toThrow(TerminalError);
  });
});
