// Run once in the image's build, in the project's folder: takes from node_modules what no process
// of the image reads, and from the list of contents (sbom.cdx.json) what is then gone.
import { existsSync, globSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const readJson = (file) => JSON.parse(readFileSync(file, "utf8"));
const remove = (path) => rmSync(path, { recursive: true, force: true });

keepOnly(neededPackages());
keepOneBinding();
removeUnread();
writeFileSync("sbom.cdx.json", JSON.stringify(whatIsLeft(readJson("sbom.cdx.json")), undefined, 1));

/** What the services and the commands depend on. The kill kit needs a checkout, and its servers. */
function neededPackages() {
  const needed = new Set();
  const add = (folder) => {
    const { dependencies = {}, optionalDependencies = {} } = readJson(join(folder, "package.json"));
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (name.startsWith("@rs-agent/")) continue;
      const found = resolve(name, folder);
      if (found === undefined || needed.has(found)) continue;
      needed.add(found);
      add(found);
    }
  };
  for (const folder of ["shared", "cli", ...globSync("services/*")]) add(folder);
  return needed;
}

/** As Node does: in the nearest node_modules upwards that has it. */
function resolve(name, from) {
  for (let at = from; ; at = dirname(at)) {
    const folder = join(at, "node_modules", name);
    if (existsSync(join(folder, "package.json"))) return folder;
    if (at === ".") return undefined;
  }
}

function keepOnly(needed) {
  const installed = globSync([
    "**/node_modules/*/package.json",
    "**/node_modules/@*/*/package.json",
  ]);
  for (const folder of installed.map((file) => dirname(file))) {
    const isOurs = folder.startsWith(join("node_modules", "@rs-agent"));
    const holdsNeeded = [...needed].some((path) => !relative(folder, path).startsWith(".."));
    if (!isOurs && !holdsNeeded) remove(folder);
  }
}

/** zeromq brings a binary for each platform; the newest for ours stays (Node-API: all would do). */
function keepOneBinding() {
  const build = join("node_modules", "zeromq", "build");
  const manifest = Object.entries(readJson(join(build, "manifest.json")));
  const ours = manifest
    .map(([key, file]) => ({ key, file, ...JSON.parse(key) }))
    .filter(({ os, arch, libc }) => os === "linux" && arch === process.arch && libc === "glibc")
    .filter(({ abi }) => abi <= Number(process.versions.modules))
    .sort((a, b) => b.abi - a.abi)[0];
  if (ours === undefined) throw new Error(`zeromq has no binary for ${process.arch} with glibc`);
  const binary = readFileSync(join(build, ours.file));
  for (const folder of ["linux", "darwin", "win32"]) remove(join(build, folder));
  writeFileSync(join(build, "addon.node"), binary);
  writeFileSync(join(build, "manifest.json"), JSON.stringify({ [ours.key]: "addon.node" }));
}

/** Sources of what is there compiled, types, maps. A licence stays, whatever its file is called. */
function removeUnread() {
  for (const name of ["zeromq/src", "zeromq/script", "zod/src", "mongodb/src", "bson/src"]) {
    remove(join("node_modules", name));
  }
  const countries = join("node_modules", "@ip-location-db", "geo-whois-asn-country-mmdb");
  // One file for both address families is read.
  for (const family of ["ipv4", "ipv6"]) {
    remove(join(countries, `geo-whois-asn-country-${family}.mmdb`));
  }
  const unread = /\.(?:map|tsbuildinfo|md|markdown|d\.[cm]?ts)$/i;
  for (const entry of readdirSync("node_modules", { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !unread.test(entry.name)) continue;
    if (!/licen[cs]e|notice|copying/i.test(entry.name)) remove(join(entry.parentPath, entry.name));
  }
}

/** CycloneDX as `npm sbom` writes it, of the whole lock file; and Node itself. */
function whatIsLeft(sbom) {
  const installed = globSync([
    "**/node_modules/*/package.json",
    "**/node_modules/@*/*/package.json",
  ])
    .map(readJson)
    .map(({ name, version }) => `${name}@${version}`);
  const present = new Set([sbom.metadata.component["bom-ref"], ...installed]);
  const components = sbom.components.filter((component) => present.has(component["bom-ref"]));
  const dependencies = sbom.dependencies
    .filter(({ ref }) => present.has(ref))
    .map(({ ref, dependsOn = [] }) => ({
      ref,
      dependsOn: dependsOn.filter((to) => present.has(to)),
    }));
  const { node } = process.versions;
  const platform = { "bom-ref": `node@${node}`, type: "platform", name: "node", version: node };
  return { ...sbom, components: [platform, ...components], dependencies };
}
