import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { SMTPServer } from "smtp-server";
import { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import { SMTPStream } from "smtp-server/lib/smtp-stream.js";
import { describe, expect, it } from "vitest";
import manifest from "../package.json" with { type: "json" };
import { IngestConnection } from "../src/smtp-connection.ts";
import { SmtpInput } from "../src/smtp-input.ts";
import { SmtpListenerServer } from "../src/smtp-listener.ts";

/** The methods of our class that replace the library's: each must exist there to be replaced. */
function replaced(ours: { prototype: object }, theirs: { prototype: object }): string[] {
  const names = Object.getOwnPropertyNames(ours.prototype);
  return names.filter((name) => name !== "constructor" && name in theirs.prototype);
}

describe("smtp-server inside", () => {
  it("is exactly the version that was read", async () => {
    const inPackage = createRequire(import.meta.url).resolve("smtp-server/package.json");
    const { version } = JSON.parse(await readFile(inPackage, "utf8")) as { version: string };
    expect(manifest.dependencies["smtp-server"]).toBe(version);
  });

  it("has every method that is replaced", () => {
    expect(replaced(IngestConnection, SMTPConnection).sort()).toEqual([
      ...["_createParser", "_onClose", "_onCommand", "_parseAddressCommand", "_resetSession"],
      ...["handler_XFORWARD", "init", "send", "upgrade"],
    ]);
    expect(replaced(SmtpListenerServer, SMTPServer)).toEqual(["connect"]);
  });

  it("asks nothing of its parser that ours lacks, and none of its own methods reads a byte there", () => {
    const own = Object.getOwnPropertyNames(SMTPStream.prototype);
    const ours = Object.getOwnPropertyNames(SmtpInput.prototype);
    expect(own.filter((name) => !ours.includes(name)).sort()).toEqual([
      // Only called by methods that are replaced.
      ...["_commandTooLong", "_countDataBytes", "_endDataMode", "_feedDataStream"],
      // The session sets it for each parser.
      "oncommand",
    ]);
    const session = SMTPConnection.toString();
    const used = [...session.matchAll(/\b(?:this\._parser|parser)\.(\w+)/g)].map(
      ([, name]) => name,
    );
    expect([...new Set(used)].sort()).toEqual([
      ...["_dataMode", "continue", "dataBytes", "isClosed", "on", "oncommand", "startDataMode"],
    ]);
  });
});
