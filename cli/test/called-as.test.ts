import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { calledAs } from "../src/called-as.ts";

let folder: string;
let root: string;
beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "called-as-")));
  root = join(folder, "checkout");
  await mkdir(join(root, "cli", "bin"), { recursive: true });
  await mkdir(join(root, "node_modules", ".bin"), { recursive: true });
  await mkdir(join(root, "services", "relay"), { recursive: true });
  await mkdir(join(folder, "bin"));
  const program = join(root, "cli", "bin", "rs-agent.mjs");
  await writeFile(program, "#!/usr/bin/env node\n");
  await chmod(program, 0o755);
  await symlink(program, join(root, "node_modules", ".bin", "rs-agent"));
});
afterEach(() => rm(folder, { recursive: true }));

/** PATH as npx sets it: with the folder of the packages' programs first. */
const pathWith = (...folders: string[]) =>
  [join(root, "node_modules", ".bin"), ...folders].join(delimiter);

test("in a checkout, and in its folders, it is npx", () => {
  for (const cwd of [root, join(root, "services", "relay")]) {
    expect(calledAs("rs-agent", { path: pathWith("/usr/bin"), cwd, root })).toBe("npx rs-agent");
  }
});

test("where it is installed as a program, it is its name, from everywhere", async () => {
  await symlink(join(root, "cli", "bin", "rs-agent.mjs"), join(folder, "bin", "rs-agent"));
  for (const cwd of [root, "/"]) {
    const place = { path: pathWith(join(folder, "bin")), cwd, root };
    expect(calledAs("rs-agent", place)).toBe("rs-agent");
  }
});

test("the same where the script of our units is installed, which brings the settings", async () => {
  const script = join(root, "deploy", "systemd", "rs-agent");
  await mkdir(join(script, ".."), { recursive: true });
  await writeFile(script, "#!/bin/sh\n", { mode: 0o755 });
  await symlink(script, join(folder, "bin", "rs-agent"));
  expect(calledAs("rs-agent", { path: pathWith(join(folder, "bin")), cwd: "/", root })).toBe(
    "rs-agent",
  );
});

test("a stranger's program of that name is not ours", async () => {
  await writeFile(join(folder, "bin", "rs-agent"), "#!/bin/sh\n", { mode: 0o755 });
  const place = { path: pathWith(join(folder, "bin")), cwd: root, root };
  expect(calledAs("rs-agent", place)).toBe("npx rs-agent");
});

test("elsewhere, because npx would fetch a stranger's, it is the file", () => {
  const place = { path: pathWith("/usr/bin"), cwd: folder, root };
  expect(calledAs("rs-agent", place)).toBe(join(root, "cli", "bin", "rs-agent.mjs"));
});
