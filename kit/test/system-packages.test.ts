import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { needs, provideSystemPackages, type Host, type Need } from "../src/system-packages.ts";

let dir: string;
let commands: string[];
let noted: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "rs-agent-test-packages-"));
  mkdirSync(join(dir, "bin"));
  commands = [];
  noted = [];
});

afterEach(() => rmSync(dir, { recursive: true }));

function program(name: string): void {
  writeFileSync(join(dir, "bin", name), "#!/bin/sh\n", { mode: 0o755 });
}

/** A host whose apt-get does `install` and whose commands are only recorded. */
function host(more: Partial<Host> & { install?: () => boolean } = {}): Host {
  return {
    isRoot: true,
    path: join(dir, "bin"),
    env: { http_proxy: "http://proxy.example:3128" },
    hasSystemd: async () => Promise.resolve(false),
    report: () => undefined,
    note: (text) => noted.push(text),
    run: async (name, args) => {
      commands.push(`${name.split("/").at(-1) ?? ""} ${args.join(" ")}`);
      const ok = args.includes("install") ? (more.install?.() ?? true) : true;
      return Promise.resolve({ ok, output: ok ? "" : "E: Unable to locate package spamd" });
    },
    ...more,
  };
}

it("does nothing if everything is there", async () => {
  program("clamd");
  await provideSystemPackages([needs.clamd], host());
  expect(commands).toEqual([]);
});

it("installs what is missing with apt-get, without recommended packages and without starting services", async () => {
  program("apt-get");
  let env: NodeJS.ProcessEnv | undefined;
  const base = host();
  const installing = host({
    run: async (name, args, options) => {
      if (args.includes("install")) {
        env = options.env;
        program("clamd");
      }
      return base.run(name, args, options);
    },
  });
  await provideSystemPackages([needs.clamd], installing);
  expect(commands.at(-1)).toMatch(/apt-get .*install -y -q --no-install-recommends clamav-daemon$/);
  expect(env).toMatchObject({
    DEBIAN_FRONTEND: "noninteractive",
    RUNLEVEL: "1",
    http_proxy: "http://proxy.example:3128",
  });
});

it("says in a lasting line what is missing, what is installed for it, and how much that was", async () => {
  program("apt-get");
  const base = host();
  const installing = host({
    run: async (name, args, options) => {
      if (args.includes("install")) {
        for (const one of ["rspamd", "libluajit2"])
          options.onLine?.(`Setting up ${one} (1.2-3) ...`);
        program("rspamd");
      }
      return base.run(name, args, options);
    },
  });
  await provideSystemPackages([needs.rspamd], installing);
  expect(noted).toEqual([
    "Missing: rspamd. apt-get installs rspamd",
    "apt-get has installed 2 packages, dependencies included",
  ]);
});

it("reads the lists of packages again if the first try fails", async () => {
  program("apt-get");
  let tries = 0;
  const install = () => {
    tries += 1;
    if (tries === 2) program("spamd");
    return tries === 2;
  };
  await provideSystemPackages([needs.spamd], host({ install }));
  const steps = commands.map((line) => /update|install|show/.exec(line)?.[0]);
  expect(steps.slice(-4)).toEqual(["update", "show", "show", "install"]);
});

it("installs python3-venv if Python is there without its ensurepip", async () => {
  program("apt-get");
  program("python3");
  let hasVenv = false;
  const base = host();
  const installing = host({
    run: async (name, args, options) => {
      if (args.includes("install")) hasVenv = true;
      const end = await base.run(name, args, options);
      return args.includes("import ensurepip") ? { ok: hasVenv, output: "" } : end;
    },
  });
  await provideSystemPackages([needs.python, needs.pythonVenv], installing);
  expect(commands.filter((line) => line.includes("install -y"))).toEqual([
    expect.stringMatching(/ install -y -q --no-install-recommends python3-venv$/),
  ]);
});

it("stops what a package started by itself", async () => {
  program("apt-get");
  const install = () => {
    program("spamd");
    return true;
  };
  await provideSystemPackages(
    [needs.spamd],
    host({ install, hasSystemd: async () => Promise.resolve(true) }),
  );
  expect(commands.at(-1)).toBe("systemctl disable --now spamd.service");
});

it("gives the exact command if we are not root", async () => {
  program("apt-get");
  await expect(
    provideSystemPackages([needs.clamd, needs.spamd], host({ isRoot: false })),
  ).rejects.toMatchObject({
    code: "SETUP_MISSING",
    message:
      "not installed: clamd, spamd. As root:\n" +
      "  apt-get install --no-install-recommends clamav-daemon spamassassin spamd",
  });
  expect(commands).toEqual([]);
});

it("gives apt-get's last words if it fails", async () => {
  program("apt-get");
  await expect(
    provideSystemPackages([needs.spamd], host({ install: () => false })),
  ).rejects.toMatchObject({
    code: "SETUP_FAILED",
    message: expect.stringContaining("Unable to locate package spamd") as unknown,
  });
});

it("is described in the README, package by package", () => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const packages = Object.values<Need>(needs).flatMap((need) => need.packages);
  expect(packages.filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
});
