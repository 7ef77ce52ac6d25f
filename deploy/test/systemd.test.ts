import { execFile, spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmod, copyFile, cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { mkdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { MongoClient } from "mongodb";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { z } from "zod";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { allocatorEnv, nodeOptions } from "@rs-agent/kit/processes/service-process.ts";
import { serviceNames } from "@rs-agent/kit/system/service-names.ts";
import { initKeyFolder } from "../../cli/src/key-folder.ts";
import { mongodbUri } from "../../test/support/test-mongodb.ts";
import { schemas } from "./manifests.ts";
import { folder, installed, root, settings, units, type Unit } from "./unit-files.ts";

const run = promisify(execFile);
const page = readFileSync(join(root, "docs/install.md"), "utf8");
const services = [...units].map(([file, unit]) => ({ file, unit, name: unit.service }));

function namesOf(service: string): Set<string> {
  const schema = schemas[service];
  const object = schema instanceof z.ZodPipe ? schema.in : schema;
  if (!(object instanceof z.ZodObject)) throw new Error(`${service} has no settings`);
  return new Set(Object.keys(object.shape));
}

function unitOf(service: string): Unit {
  const found = services.find(({ name }) => name === service);
  if (found === undefined) throw new Error(`there is no unit of ${service}`);
  return found.unit;
}

describe("the units", () => {
  it("are one for each service, all of them wanted by the target", () => {
    expect(services.map(({ name }) => name).sort()).toEqual([...serviceNames].sort());
    for (const { unit } of services) {
      expect(unit.all("Install", "WantedBy")).toEqual(["rs-agent.target"]);
      expect(unit.last("Unit", "PartOf")).toBe("rs-agent.target");
    }
  });

  it.each(services)("$file sets only what its service knows", ({ unit, name }) => {
    const known = [...namesOf(name), "NODE_ENV", ...Object.keys(allocatorEnv)];
    expect(Object.keys(unit.environment).filter((each) => !known.includes(each))).toEqual([]);
    expect(unit.environment).toMatchObject(allocatorEnv);
    const [node, ...rest] = unit.last("Service", "ExecStart").split(" ");
    const main = `services/${name}/src/main.ts`;
    expect([node, rest]).toEqual([`${installed}/node_modules/.bin/node`, [...nodeOptions, main]]);
  });

  it("rs-agent.env has only settings that a service knows, also where they are switched off", async () => {
    const known = new Set(serviceNames.flatMap((name) => [...namesOf(name)]));
    const text = await readFile(join(folder, "rs-agent.env"), "utf8");
    const named = [...text.matchAll(/(?:^|[\s#])([A-Z][A-Z_]+)=/gm)].map(([, name]) => name ?? "");
    expect(named.length).toBeGreaterThanOrEqual(Object.keys(settings).length);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });

  it("give each service longer to stop than it takes to drain, and that than its longest task", () => {
    const defaults = schemas["dispatcher"]?.parse({ MONGODB_URI: "mongodb://127.0.0.1" }) as Record<
      "MAX_MAIL_BYTES" | "TASK_DEADLINE_MS" | "TASK_DEADLINE_PER_MB_MS",
      number
    >;
    const longestTaskMs =
      defaults.TASK_DEADLINE_MS +
      (defaults.TASK_DEADLINE_PER_MB_MS * defaults.MAX_MAIL_BYTES) / 1e6;
    for (const { unit } of services) {
      const drainMs = Number(unit.environment["DRAIN_MS"]);
      expect(drainMs).toBeGreaterThan(longestTaskMs);
      // runService exits by itself 2 s after its drain is over.
      expect(Number(unit.last("Service", "TimeoutStopSec")) * 1_000).toBeGreaterThan(
        drainMs + 2_000,
      );
    }
    const finalReplyMs = 600_000;
    expect(Number(unitOf("relay").environment["DRAIN_MS"])).toBeGreaterThan(finalReplyMs);
  });

  it("give no secret in the environment, and each service its own key of the bus", () => {
    for (const { unit, name } of services) {
      for (const [, file] of unit.credentials) {
        expect(["/etc/rs-agent/mongodb-uri", `/etc/rs-agent/bus/${name}.key`]).toContain(file);
      }
      expect(JSON.stringify(unit.environment)).not.toMatch(/mongodb(\+srv)?:/);
    }
  });
});

describe("systemd", () => {
  let dir: string;
  let unitPath: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-units-"));
    unitPath = join(dir, "system");
    await cp(join(folder, "system"), unitPath, { recursive: true });
    // What they start must be there.
    for (const { file } of services) {
      const text = await readFile(join(unitPath, file), "utf8");
      await writeFile(join(unitPath, file), text.replaceAll(installed, root));
    }
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));
  const analyze = (...args: string[]) =>
    run("systemd-analyze", args, { env: { ...process.env, SYSTEMD_UNIT_PATH: `${unitPath}:` } });
  const instance = (file: string) => file.replace("@.", "@1.");

  it.each([...services.map(({ file }) => file), "rs-agent.target"])(
    "finds nothing wrong with %s",
    async (file) => {
      const { stdout, stderr } = await analyze("verify", "--man=no", instance(file));
      expect(stdout + stderr).toBe("");
    },
  );

  it.each(services)("calls the exposure of $file at most 2.0", async ({ file }) => {
    await analyze("security", "--offline=true", "--threshold=20", instance(file));
  });

  it.runIf(process.getuid?.() === 0)(
    "makes the users and folders that the units name",
    async () => {
      mkdirSync(join(dir, "etc"));
      await run("systemd-sysusers", [`--root=${dir}`, join(folder, "sysusers.conf")]);
      const users = await readFile(join(dir, "etc/passwd"), "utf8");
      for (const { unit } of services) {
        expect(users).toContain(`\n${unit.last("Service", "User")}:`.slice(1));
      }
      await run("systemd-tmpfiles", [`--root=${dir}`, "--create", join(folder, "tmpfiles.conf")]);
      const { stdout } = await run("stat", ["-c", "%a %n", ...["dkim", "relay", "tls", "bus"]], {
        cwd: join(dir, "etc/rs-agent"),
      });
      expect(stdout.trim().split("\n")).toEqual(["700 dkim", "700 relay", "700 tls", "755 bus"]);
    },
  );
});

describe("the command line of", () => {
  let dir: string;
  let etc: string;
  const db = `units_${randomBytes(5).toString("hex")}`;
  const children: ChildProcess[] = [];
  let overrides: Record<string, string>;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-unit-"));
    etc = join(dir, "etc");
    mkdirSync(etc);
    initKeyFolder(join(etc, "bus"), 0o600, new Date());
    await writeFile(join(etc, "mongodb-uri"), `${mongodbUri()}\n`);
    const dispatcher = `tcp://127.0.0.1:${await freePort()}`;
    // The places of this machine that are not those of the sample file.
    overrides = {
      MONGODB_DB: db,
      INGEST_SMTP: "127.0.0.1:0",
      INGEST_SUBMISSION: "127.0.0.1:0",
      BUS_DISPATCHERS: dispatcher,
      AV_CLAMD: inject("clamd"),
      SPAM_SPAMD: inject("spamd"),
    };
  });
  afterAll(async () => {
    for (const child of children) {
      child.kill("SIGTERM");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    }
    const client = new MongoClient(mongodbUri());
    await client.db(db).dropDatabase();
    await client.close();
    await rm(dir, { recursive: true, force: true });
  });

  /** As systemd does it: its credentials in a folder of their own, what the unit says, then the file. */
  async function start(unit: Unit) {
    const credentials = join(dir, unit.service);
    mkdirSync(credentials);
    for (const [name, file] of unit.credentials) {
      await copyFile(file.replace("/etc/rs-agent", etc), join(credentials, name));
      await chmod(join(credentials, name), 0o400);
    }
    const here = (text: string) =>
      text
        .replaceAll("%d", credentials)
        .replaceAll("/etc/rs-agent", etc)
        .replaceAll(installed, root);
    const own = Object.entries(unit.environment).map(([name, value]) => [name, here(value)]);
    const bind = unit.service === "dispatcher" && { BUS_BIND: overrides["BUS_DISPATCHERS"] };
    const [program = "", ...args] = here(unit.last("Service", "ExecStart")).split(" ");
    const child = spawn(program, args, {
      cwd: here(unit.last("Service", "WorkingDirectory")),
      env: { ...(Object.fromEntries(own) as object), ...settings, ...overrides, ...bind },
      stdio: ["ignore", "ignore", "pipe"],
    });
    children.push(child);
    return child;
  }

  it.each(serviceNames)("%s makes it ready", async (name) => {
    const child = await start(unitOf(name));
    const said: string[] = [];
    for await (const line of createInterface(child.stderr)) {
      said.push(line);
      if (line.includes('"msg":"ready"')) break;
    }
    expect(said.at(-1)).toContain('"msg":"ready"');
    // Read on, or its next lines would find no room.
    child.stderr.resume();
  });
});

describe("docs/install.md", () => {
  it("names files that are there", async () => {
    const named = [...page.matchAll(/deploy\/systemd\/[\w.@/-]*/g)].map(([path]) => path);
    expect(named.length).toBeGreaterThan(3);
    for (const path of named) await run("ls", [join(root, path)]);
    expect(dirname(folder)).toBe(join(root, "deploy"));
  });
});
