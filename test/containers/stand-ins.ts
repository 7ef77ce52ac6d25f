import {
  chmod,
  copyFile,
  cp,
  mkdir,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { cacheFolderOf, loadMongoDbConfig } from "@rs-agent/kit/mongodb/config.ts";
import { findProgram, isExecutable } from "@rs-agent/kit/processes/find-program.ts";
import { run } from "./command.ts";
import type { Engine } from "./engine.ts";

/**
 * If no registry is reachable, the images on which the product's Dockerfiles build are made here
 * under their names: Debian with debootstrap, Node from the npm package `node`, and for MongoDB the
 * server that all tests use.
 */

const certificates = "/etc/ssl/certs/ca-certificates.crt";
const secantusPython = "SecantusDB==0.7.0b3";

/** @returns which server stands in for MongoDB */
export async function makeStandIns(
  engine: Engine,
  dir: string,
  report: (text: string) => void,
): Promise<string> {
  const cacheDir = cacheFolderOf(loadMongoDbConfig(process.env));
  report("Debian by debootstrap");
  const archive = await debianArchive(dir, join(cacheDir, "containers"));
  await engine.docker(["import", archive, "debian:bookworm-slim"]);
  report("Node from its npm package");
  await makeNode(engine, join(dir, "node"));
  report("a MongoDB");
  return makeMongoDb(engine, join(dir, "mongodb"), cacheDir);
}

/** As small as Debian's own slim image: no documentation, no translations, no package lists. */
async function debianArchive(dir: string, cacheDir: string): Promise<string> {
  const archive = join(cacheDir, "bookworm-slim.tar");
  if (await exists(archive)) return archive;
  const tree = join(dir, "bookworm");
  await run("debootstrap", ["--variant=minbase", "bookworm", tree]);
  const unneeded = ["usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale"];
  for (const path of [...unneeded, "var/cache/apt", "var/lib/apt/lists"]) {
    await rm(join(tree, path), { recursive: true, force: true });
  }
  await mkdir(join(tree, "var/cache/apt/archives/partial"), { recursive: true });
  const excluded = unneeded.map((path) => `path-exclude /${path}/*\n`).join("");
  await writeFile(join(tree, "etc/dpkg/dpkg.cfg.d/docker"), excluded);
  const suites = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian bookworm-updates main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
  ];
  await writeFile(join(tree, "etc/apt/sources.list"), `${suites.join("\n")}\n`);
  await mkdir(cacheDir, { recursive: true });
  await run("tar", ["-C", tree, "-c", "-f", `${archive}.part`, "."]);
  await rename(`${archive}.part`, archive);
  return archive;
}

/**
 * npm as it runs here, and the certificates that this machine trusts: its registry may be a mirror.
 */
async function makeNode(engine: Engine, context: string): Promise<void> {
  await mkdir(context, { recursive: true });
  await copyFile(await realpath(process.execPath), join(context, "node"));
  await cp(await npmFolder(), join(context, "npm"), { recursive: true, dereference: true });
  await copyFile(certificates, join(context, "certificates.crt"));
  await build(engine, context, "node:24-bookworm-slim", [
    "FROM debian:bookworm-slim",
    "COPY node /usr/local/bin/node",
    "COPY npm /usr/local/lib/node_modules/npm",
    `COPY certificates.crt ${certificates}`,
    "RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm",
    `ENV NODE_EXTRA_CA_CERTS=${certificates}`,
  ]);
}

async function npmFolder(): Promise<string> {
  const given = process.env["npm_execpath"];
  const script = given?.endsWith(".js") === true ? given : await findProgram("npm", pathOf());
  if (script === undefined) throw new Error("no npm on the PATH");
  return dirname(dirname(await realpath(script)));
}

async function makeMongoDb(engine: Engine, context: string, cacheDir: string): Promise<string> {
  await mkdir(context, { recursive: true });
  const options = "--host 0.0.0.0 --port 27017 --storage-path /data/db --log-level WARNING";
  const rust = await rustServer(cacheDir);
  const [server, more, install] =
    rust === undefined
      ? ["/opt/secantus/bin/secantusd-py", "", await withPython(context)]
      : [
          "secantusd-rs",
          "--log-file-max 32MB --cache-size 512M",
          ["COPY secantusd-rs /usr/local/bin/"],
        ];
  if (rust !== undefined) await copyFile(rust, join(context, "secantusd-rs"));
  // mongod's options would make it a replica set, which this server always is.
  const script = `#!/bin/sh\nexec ${server} ${options} --sync-on-commit ${more}\n`;
  await writeFile(join(context, "mongod"), script);
  await chmod(join(context, "mongod"), 0o755);
  await build(engine, context, "mongo:8", [
    "FROM debian:bookworm-slim",
    "RUN groupadd --gid 999 mongodb && useradd --uid 999 --gid mongodb mongodb",
    "RUN install -d -o mongodb -g mongodb /data/db /data/configdb",
    ...install,
    "COPY mongod /usr/local/bin/",
    'VOLUME ["/data/db", "/data/configdb"]',
    'CMD ["mongod"]',
  ]);
  return rust === undefined ? secantusPython : "secantusd-rs";
}

async function rustServer(cacheDir: string): Promise<string | undefined> {
  const onPath = await findProgram("secantusd-rs", pathOf());
  const cached = join(cacheDir, "bin", "secantusd-rs");
  return onPath ?? ((await isExecutable(cached)) ? cached : undefined);
}

async function withPython(context: string): Promise<string[]> {
  await copyFile(certificates, join(context, "certificates.crt"));
  return [
    `COPY certificates.crt ${certificates}`,
    "RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && python3 -m venv /opt/secantus",
    `RUN PIP_CERT=${certificates} /opt/secantus/bin/pip install --no-input --pre ${secantusPython}`,
  ];
}

async function build(engine: Engine, context: string, name: string, lines: readonly string[]) {
  await writeFile(join(context, "Dockerfile"), `${lines.join("\n")}\n`);
  await engine.docker(["build", "-q", "-t", name, context]);
}

function pathOf(): string {
  return process.env["PATH"] ?? "";
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
