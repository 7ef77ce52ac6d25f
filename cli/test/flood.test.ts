import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startMaildirServer } from "@rs-agent/kit/smtp/maildir-server.ts";
import { runCli } from "./run-cli.ts";

const few = ["flood", "--tenants", "a.example", "--mix", "clean", "--mails", "5", "--rate", "50"];

test("refuses a target that is not on this host before anything is sent", async () => {
  await expect(runCli([...few, "--to", "smtp://192.0.2.1:25"], {})).rejects.toMatchObject({
    code: "CFG_TARGET",
  });
  const env = { MONGODB_URI: "mongodb://192.0.2.1:27017/" };
  await expect(runCli([...few, "--to", "mongo"], env)).rejects.toMatchObject({
    code: "CFG_TARGET",
  });
});

test.each([
  ["--rate", "fast"],
  ["--mix", "ham:3"],
  ["--mix", "corpus"],
  ["--size", "big"],
  ["--recipients", "9"],
  ["--for", "10"],
  ["--pid", "x"],
  ["--to", "mongo"],
  ["--check"],
])("says what is wrong with %s %s", async (option, ...value) => {
  const command = ["flood", "--tenants", "a.example", option, ...value];
  await expect(runCli(command, {})).rejects.toMatchObject({
    code: "CFG_INVALID",
    message: expect.stringContaining(option) as string,
  });
});

test("sends to the listener of the settings, and reports as text, data and page", async () => {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-flood-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const server = await startMaildirServer({ dir: join(dir, "mail") });
  onTestFinished(() => server.stop());
  const env = { INGEST_SMTP: `127.0.0.1:${String(server.port)}` };
  const page = join(dir, "report.html");
  const { out, err, code } = await runCli([...few, "--json", "--report", page], env);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({
    handedIn: { offered: 5, accepted: 5 },
    kinds: { clean: 5 },
  });
  expect(err).toMatch(/--rate 50, --seed \d+\nto smtp:\/\/127\.0\.0\.1:/);
  expect(server.delivered).toBe(5);
  expect(await readFile(page, "utf8")).toContain("uPlot");
});
