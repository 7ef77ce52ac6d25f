import { once } from "node:events";
import { createInterface } from "node:readline";
import { describe, expect, it, onTestFinished } from "vitest";
import { newToken } from "@rs-agent/shared/ids.ts";
import { spawnIngest } from "./ingest-process.ts";
import { SmtpDialogue } from "./smtp-dialogue.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

function start(env: Record<string, string>) {
  const child = spawnIngest(env);
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return child;
}

describe("the process", () => {
  it("says where it listens once it is ready, and drains at SIGTERM with exit code 0", async () => {
    const child = start({
      MONGODB_URI: mongodbUri(),
      MONGODB_DB: `ingest_${newToken().slice(0, 12)}`,
    });
    const exited = once(child, "exit");
    let address = "";
    for await (const line of createInterface(child.stderr)) {
      const entry = JSON.parse(line) as { msg?: string; smtp?: string };
      if (entry.msg !== "ready") continue;
      address = entry.smtp ?? "";
      break;
    }
    const client = await SmtpDialogue.open(address);
    child.kill("SIGTERM");
    expect(await client.reply()).toMatchObject({ code: 421 });
    client.close();
    expect(await exited).toEqual([0, null]);
  });

  it("names every wrong setting in one message, with exit code 78", async () => {
    const child = start({ MONGODB_URI: "", INGEST_SMTP: "nowhere", MAX_MAIL_BYTES: "5" });
    const [output, exited] = [createInterface(child.stderr), once(child, "exit")];
    const lines: string[] = [];
    for await (const line of output) lines.push(line);
    expect(await exited).toEqual([78, null]);
    for (const name of ["MONGODB_URI", "INGEST_SMTP", "MAX_MAIL_BYTES"]) {
      expect(lines.join("\n")).toContain(name);
    }
  });
});
