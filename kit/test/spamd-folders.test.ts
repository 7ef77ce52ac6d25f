import { describe, expect, it } from "vitest";
import { withCompiledRules } from "../src/engines/spamd-folders.ts";

describe("a list of SpamAssassin's plugins", () => {
  it("gets the plugin that reads compiled rules, and nothing else of what is commented out", () => {
    const list = [
      "loadplugin Mail::SpamAssassin::Plugin::Check",
      "# loadplugin Mail::SpamAssassin::Plugin::Rule2XSBody",
      "# loadplugin Mail::SpamAssassin::Plugin::DCC",
      "",
    ].join("\n");
    expect(withCompiledRules(list).split("\n")).toEqual([
      "loadplugin Mail::SpamAssassin::Plugin::Check",
      "loadplugin Mail::SpamAssassin::Plugin::Rule2XSBody",
      "# loadplugin Mail::SpamAssassin::Plugin::DCC",
      "",
    ]);
  });
});
