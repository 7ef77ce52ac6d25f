import { globSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const read = (file: string) => readFileSync(join(root, file), "utf8");
const folders = ["shared", "services", "cli", "kit", "start", "bench", "chaos", "flood", "test"];

/** Packages whose inner modules we import, about which they promise nothing. */
function reachedInto(): string[] {
  const files = folders.flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }));
  const inner =
    /(?:from |import\(|require\)?\(|\(import\.meta\.url\)\()"((?:@[\w-]+\/)?[\w.-]+)\/lib\//g;
  const found = files
    .filter((file) => !file.includes("node_modules/"))
    .flatMap((file) => [...read(file).matchAll(inner)].map(([, name = ""]) => name));
  return [...new Set(found)].sort();
}

it("pins each package whose inner modules we use to exactly the installed version", () => {
  const reached = reachedInto();
  expect(reached).toEqual(["mailauth", "mongodb", "nodemailer", "smtp-server"]);
  const manifests = globSync(["package.json", "*/package.json", "services/*/package.json"], {
    cwd: root,
  });
  const require = createRequire(import.meta.url);
  for (const name of reached) {
    const { version } = JSON.parse(
      readFileSync(require.resolve(`${name}/package.json`), "utf8"),
    ) as {
      version: string;
    };
    for (const manifest of manifests) {
      const { dependencies, devDependencies } = JSON.parse(read(manifest)) as Record<
        string,
        Record<string, string> | undefined
      >;
      const asked = dependencies?.[name] ?? devDependencies?.[name];
      expect([undefined, version], `${name} in ${manifest}`).toContain(asked);
    }
  }
});
