import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadCliConfig } from "../src/config.ts";
import { withRunningSystem } from "../src/running-system.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "cli-config-"));
});
afterEach(() => rm(root, { recursive: true }));

const left =
  "# a comment\nMONGODB_URI='mongodb://a/?b=c'\nMONGODB_DB=left\nINGEST_SMTP=127.0.0.1:2525\n";

async function leave(...path: string[]): Promise<string> {
  const file = join(root, ...path, "rs-agent.env");
  await mkdir(join(root, ...path), { recursive: true });
  await writeFile(file, left);
  return file;
}

test("a running system is found by the file that it left, and the environment takes precedence", async () => {
  const file = await leave(".run");
  expect(withRunningSystem({ MONGODB_DB: "mine", AV_CLAMD: "" }, root)).toEqual({
    env: {
      MONGODB_URI: "mongodb://a/?b=c",
      MONGODB_DB: "mine",
      INGEST_SMTP: "127.0.0.1:2525",
    },
    file,
  });
});

test("RS_AGENT_RUN_DIR and RS_AGENT_ENV_FILE say where the file is", async () => {
  const file = await leave("elsewhere");
  for (const env of [{ RS_AGENT_RUN_DIR: "elsewhere" }, { RS_AGENT_ENV_FILE: file }]) {
    expect(withRunningSystem(env, root)).toMatchObject({ env: { MONGODB_DB: "left" }, file });
  }
});

test("an environment with another database names another system, from whose file nothing is taken", async () => {
  await leave(".run");
  const other = { MONGODB_URI: "mongodb://other" };
  expect(withRunningSystem(other, root)).toEqual({ env: other });
  const same = withRunningSystem({ MONGODB_URI: "mongodb://a/?b=c" }, root);
  expect(same.env.INGEST_SMTP).toBe("127.0.0.1:2525");
  expect(same.file).toBeUndefined();
});

test("without such a file there is only the environment; a file that is named must exist", () => {
  expect(withRunningSystem({ A: "b" }, root)).toEqual({ env: { A: "b" } });
  expect(() => withRunningSystem({ RS_AGENT_ENV_FILE: join(root, "no") }, root)).toThrow(/ENOENT/);
});

test("the actor is the user, or whoever RS_AGENT_USER names", () => {
  const env = { MONGODB_URI: "mongodb://a" };
  expect(loadCliConfig(env).by).not.toBe("");
  expect(loadCliConfig({ ...env, RS_AGENT_USER: "x" }).by).toBe("x");
});
