import { globSync, readFileSync } from "node:fs";
import { isBuiltin, stripTypeScriptTypes } from "node:module";
import { dirname, join, matchesGlob } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { programs } from "../agent/programs.ts";

const root = dirname(dirname(import.meta.dirname));
const read = (file: string) => readFileSync(join(root, file), "utf8");

/** What `.dockerignore` lets through: its last line that fits a path or a folder above it decides. */
function isSent(path: string): boolean {
  const steps = path.split("/");
  const andAbove = steps.map((_, i) => steps.slice(0, i + 1).join("/"));
  let sent = true;
  for (const line of read(".dockerignore").split("\n")) {
    const pattern = line.replace(/^!/, "");
    if (line === "" || line.startsWith("#")) continue;
    if (andAbove.some((one) => matchesGlob(one, pattern))) sent = line.startsWith("!");
  }
  return sent;
}

/** Files of ours that `file` loads as it starts, and packages. A command that may be absent says so itself. */
function importsOf(file: string): { files: string[]; packages: string[] } {
  const script = file.endsWith(".ts") ? stripTypeScriptTypes(read(file)) : read(file);
  const found = { files: [] as string[], packages: [] as string[] };
  for (const { fileName } of ts.preProcessFile(script).importedFiles) {
    const ours = /^@rs-agent\/([\w-]+)\/(.+)$/.exec(fileName);
    const [name = ""] = /^(?:@[^/]+\/)?[^/]+/.exec(fileName) ?? [];
    if (fileName.startsWith(".")) found.files.push(join(dirname(file), fileName));
    else if (ours !== null) found.files.push(join(folderOf(ours[1]), "src", ours[2] ?? ""));
    else if (!isBuiltin(fileName)) found.packages.push(name);
  }
  return found;
}

function folderOf(workspace = ""): string {
  const [manifest] = globSync(`{,services/}${workspace}/package.json`, { cwd: root });
  return dirname(manifest ?? workspace);
}

function allThatLoads(entry: string): { files: Set<string>; packages: Set<string> } {
  const files = new Set([entry]);
  const packages = new Set<string>();
  for (const file of files) {
    const loaded = importsOf(file);
    for (const one of loaded.files) if (!/^(?:chaos|flood)\//.test(one)) files.add(one);
    for (const one of loaded.packages) packages.add(one);
  }
  return { files, packages };
}

/** `deploy/agent/prune.mjs` keeps the packages of these. */
const kept = globSync(["{shared,cli}/package.json", "services/*/package.json"], { cwd: root });
const keptPackages = kept.flatMap((manifest) => {
  const { dependencies = {} } = JSON.parse(read(manifest)) as { dependencies?: object };
  return Object.keys(dependencies);
});

describe.each(Object.entries(programs))("%s in the image", (_, { file }) => {
  const loads = allThatLoads(file);

  it("has each file that it loads", () => {
    expect([...loads.files].filter((one) => !isSent(one))).toEqual([]);
  });

  it("has each package that it loads", () => {
    expect([...loads.packages].filter((one) => !keptPackages.includes(one))).toEqual([]);
  });
});

it("keeps tests, secrets and what nobody runs out of the image", () => {
  const out = [
    "shared/test/mode.test.ts",
    "secrets/mongodb/uri",
    "docs/deploy.md",
    "chaos/src/chaos.ts",
  ];
  expect(out.filter(isSent)).toEqual([]);
  expect(isSent("services/relay/src/main.ts")).toBe(true);
});
