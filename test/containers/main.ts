import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { exit } from "@rs-agent/shared/lifecycle.ts";
import { writeSignatures } from "@rs-agent/kit/engines/clamd-signatures.ts";
import { run } from "./command.ts";
import { startComposedSystem } from "./composed-system.ts";
import { openEngine, type Engine } from "./engine.ts";
import { expectThat } from "./expect-that.ts";
import { postfixPassesOn } from "./postfix-step.ts";
import { runSeedLines } from "./seed-lines.ts";
import { makeStandIns } from "./stand-ins.ts";
import {
  allAreHealthy,
  diskModeWorks,
  keysAreTheirOwn,
  samplesMeetTheirFates,
  stopsInPeace,
  survivesChange,
} from "./steps.ts";

/**
 * `npm run test:containers`: builds the images, runs what the documentation says about them, brings
 * docker-compose.yml up and sends mail through it. `--short` leaves out scaling and kills (CI).
 * Exit code 0 even if there is no container engine: then it says what is missing.
 */
const root = dirname(dirname(import.meta.dirname));
const images = {
  "rs-agent": 250_000_000,
  "rs-clamav": 400_000_000,
  "rs-spamd": 700_000_000,
  "rs-postfix": 400_000_000,
  "rs-av-worker": 600_000_000,
  "rs-spam-worker": 900_000_000,
};

const { values } = parseArgs({ options: { short: { type: "boolean", default: false } } });
let lastSaid = "";
const report = (text: string) => {
  if (text !== lastSaid) process.stderr.write(`    ${text}\n`);
  lastSaid = text;
};
const startedAt = performance.now();
const work = await mkdtemp(join(tmpdir(), "rs-agent-containers-"));
let passed = 0;

try {
  exit(await main());
} catch (error) {
  process.stdout.write(`FAILED ${error instanceof Error ? error.message : String(error)}\n`);
  exit(1);
}

async function main(): Promise<number> {
  const engine = await openEngine(join(work, "engine"), report);
  if ("missing" in engine) {
    await rm(work, { recursive: true, force: true });
    process.stdout.write(`containers: skipped, ${engine.missing}\n`);
    return 0;
  }
  try {
    await withEngine(engine);
  } finally {
    await engine.stop();
    await rm(work, { recursive: true, force: true });
  }
  process.stdout.write(`containers: ${passed} steps passed, ${secondsSince(startedAt)} s\n`);
  return 0;
}

async function withEngine(engine: Engine): Promise<void> {
  if (engine.isPrivate) {
    await step("stand-ins for the images of a registry", async () => {
      report(`MongoDB: ${await makeStandIns(engine, join(work, "stand-ins"), report)}`);
    });
  }
  const copy = join(work, "project");
  await copyProject(copy);
  await step("images are built, none larger than said", () => buildImages(engine, copy));
  await step("the lines of the product's description", () =>
    runSeedLines(engine, join(work, "seed")),
  );
  const system = await step("docker-compose up", () => startComposedSystem(engine, copy));
  try {
    await step("the sample mails meet their fates", () => samplesMeetTheirFates(system, report));
    await step("all are healthy", () => allAreHealthy(engine, system));
    await step("each service has its own key of the bus, and gets another", () =>
      keysAreTheirOwn(engine, system),
    );
    await step("Postfix passes mail on as it is", () => postfixPassesOn(engine, system));
    if (!values.short) {
      await step("scaling, kills and a restart lose nothing", () =>
        survivesChange(engine, system, report),
      );
      await step("disk mode", () => diskModeWorks(system, report));
    }
    await step("docker stop of each ends with 0 and loses nothing", () =>
      stopsInPeace(engine, system, report),
    );
  } catch (error) {
    report(await system.compose(["logs", "--tail=40", "--no-color"]));
    // The engine ends with everything in it; why the step failed must still be reported.
    await system.down().catch((trouble: unknown) => report(messageOf(trouble)));
    throw error;
  }
  await system.down();
}

async function step<T>(what: string, take: () => Promise<T>): Promise<T> {
  process.stdout.write(`- ${what}\n`);
  const from = performance.now();
  const result = await take();
  process.stdout.write(`  passed in ${secondsSince(from)} s\n`);
  passed += 1;
  return result;
}

/** What a user has after `git clone`, to be built and run from; here with our own signatures. */
async function copyProject(copy: string): Promise<void> {
  const left = new Set(["node_modules", ".git", ".cache", ".run", "coverage"]);
  await mkdir(copy, { recursive: true });
  await cp(root, copy, { recursive: true, filter: (path) => !left.has(basename(path)) });
  await writeSignatures(join(copy, "deploy", "clamav", "signatures"));
}

async function buildImages(engine: Engine, copy: string): Promise<void> {
  await run("sh", ["deploy/build.sh"], { cwd: copy, env: engine.env });
  for (const [name, most] of Object.entries(images)) {
    const format = ["image", "inspect", "-f", "{{.Size}}", `radicalspam/${name}`];
    const bytes = Number((await engine.docker(format)).stdout);
    report(`${name} ${Math.round(bytes / 1e6)} MB`);
    expectThat(bytes > 0 && bytes <= most, `${name} has at most ${most} bytes, not ${bytes}`);
  }
}

function secondsSince(from: number): string {
  return ((performance.now() - from) / 1_000).toFixed(1);
}
