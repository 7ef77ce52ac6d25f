import { awaitFates, sendSamples } from "@rs-agent/start/sample-run.ts";
import { isAsExpected, resultOf } from "@rs-agent/start/result.ts";
import { builtInTasks, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { samples } from "../../start/samples/samples.ts";
import type { ComposedSystem } from "./composed-system.ts";
import type { Engine } from "./engine.ts";
import { eventually, expectThat } from "./expect-that.ts";
import { startTraffic } from "./traffic.ts";

/** Our services with at least one container each, in the order of a mail's way. */
const ours = ["ingest", "dispatcher", "av-worker", "spam-worker", "enricher", "relay"];

type Report = (text: string) => void;

/** Each sample mail, sent through the published ports, meets its fate and reaches the next hop. */
export async function samplesMeetTheirFates(system: ComposedSystem, report: Report): Promise<void> {
  await eventually("all services do their work", 120_000, () => workersAre(system, {}));
  const { signal } = new AbortController();
  const relayedBefore = await system.relayed();
  const all = samples();
  const sent = await sendSamples(all, system.smtp, system.submission);
  await system.withDatabase(async ({ mails }) => {
    const fates = await awaitFates(sent, mails, { signal, report, withinMs: 120_000 });
    const result = resultOf(fates, await mails.countOutcomes());
    const wrong = result.mails.filter(({ recipients }) =>
      recipients.some(({ expected, outcome }) => expected !== outcome),
    );
    const refusals = fates.filter(({ id }) => id === undefined).map(({ reply }) => reply);
    expectThat(isAsExpected(result), `fates: ${JSON.stringify({ wrong, refusals })}`);
  });
  const copies = all.filter(({ expected }) => expected.some(({ outcome }) => outcome === "sent"));
  const came = (await system.relayed()).length - relayedBefore.length;
  expectThat(came >= copies.length, `${copies.length} mails or more come to the next hop: ${came}`);
}

/** Traffic goes on while workers come and go, containers are killed and everything is restarted. */
export async function survivesChange(
  engine: Engine,
  system: ComposedSystem,
  report: Report,
): Promise<void> {
  const traffic = startTraffic(system.smtp, 3);
  const timed = async (what: string, step: () => Promise<unknown>) => {
    const from = performance.now();
    await step();
    const seconds = ((performance.now() - from) / 1_000).toFixed(1);
    report(`${what}: ${seconds} s, ${traffic.accepted.size} mails accepted so far`);
  };
  try {
    await timed("av-worker 1 to 3, spam-worker 1 to 2, dispatcher 1 to 2", async () => {
      await scale(system, { "av-worker": 3, "spam-worker": 2, dispatcher: 2 });
      await eventually("the new workers work", 120_000, () =>
        workersAre(system, { virus: 3, spam: 2 }, 2),
      );
    });
    await timed("each of the three pairs has scanned", () =>
      eachHasScanned(system, traffic.accepted, 3),
    );
    await timed("av-worker 3 to 1, spam-worker 2 to 1, dispatcher 2 to 1", async () => {
      await scale(system, { "av-worker": 1, "spam-worker": 1, dispatcher: 1 });
      await eventually("only they work", 120_000, () => workersAre(system, { virus: 1, spam: 1 }));
    });
    for (const name of [...ours, "mongodb"]) {
      await timed(`kill of ${name}, until it is back`, () => kill(engine, system, name));
    }
    await timed("restart of everything", async () => {
      await system.compose(["restart"]);
      await eventually("all work again", 180_000, () => workersAre(system, {}));
    });
    await eventually("mail goes in again", 60_000, async () => {
      const before = traffic.accepted.size;
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expectThat(traffic.accepted.size > before, "new mail is accepted");
    });
  } finally {
    await traffic.stop();
  }
  await nothingIsLost(system, traffic.accepted, report);
}

async function scale(system: ComposedSystem, counts: Record<string, number>): Promise<void> {
  const args = Object.entries(counts).flatMap(([name, n]) => ["--scale", `${name}=${n}`]);
  await system.compose(["up", "--detach", "--no-recreate", ...args]);
}

/** What the dispatchers report about the workers with which they have sessions. */
async function workersAre(
  system: ComposedSystem,
  counts: Partial<Record<TaskKind, number>>,
  dispatchers = 1,
): Promise<void> {
  await system.withDatabase(async ({ actors }) => {
    const reports = (await actors.all(4_000)).filter(({ service }) => service === "dispatcher");
    expectThat(reports.length === dispatchers, `${reports.length} dispatchers, not ${dispatchers}`);
    for (const { snapshot } of reports) {
      const { workers = [] } = snapshot as { workers?: { kind: string }[] };
      for (const kind of builtInTasks) {
        const wanted = counts[kind] ?? 1;
        const found = workers.filter((worker) => worker.kind === kind).length;
        expectThat(found === wanted, `${found} ${kind} workers, not ${wanted}`);
      }
    }
  });
}

/** `docker ps` calls each of them healthy: its /readyz answers 200. */
export async function allAreHealthy(engine: Engine, system: ComposedSystem): Promise<void> {
  for (const name of ours) {
    const [container = ""] = await system.containersOf(name);
    await eventually(`${name} is healthy`, 120_000, async () => {
      const format = "{{.State.Health.Status}}";
      const { stdout } = await engine.docker(["inspect", "-f", format, container]);
      expectThat(stdout.trim() === "healthy", `${name} is ${stdout.trim()}`);
    });
  }
}

const onTheBus = ["dispatcher", "av-worker", "spam-worker", "enricher"];

/**
 * Each service has its own key and the list, and nothing more; keys are exchanged without a stop.
 */
export async function keysAreTheirOwn(engine: Engine, system: ComposedSystem): Promise<void> {
  const keyOf = async (name: string) => {
    const [container = ""] = await system.containersOf(name);
    const inside = async (...command: string[]) =>
      (await engine.docker(["exec", container, ...command])).stdout;
    const files = (await inside("ls", "/run/secrets/bus")).trim().split(/\s+/).join(" ");
    expectThat(files === "allow.yaml service.key", `the keys of ${name} are ${files}`);
    const mode = (await inside("stat", "-c", "%a %u", "/run/secrets/bus/service.key")).trim();
    expectThat(mode === "600 10001", `the key of ${name} is its own: ${mode}`);
    const format = "{{json .Config.Env}}";
    const { stdout: env } = await engine.docker(["inspect", "-f", format, container]);
    expectThat(!env.includes("BUS_ALLOW_PLAINTEXT"), `${name} may not speak in plain text`);
    return inside("cat", "/run/secrets/bus/service.key");
  };
  const keys = new Map<string, string>();
  for (const name of onTheBus) keys.set(await keyOf(name), name);
  expectThat(keys.size === onTheBus.length, `${keys.size} keys, one for each service`);

  const busKeys = (...args: string[]) => system.compose(["run", "--rm", "-T", "bus-keys", ...args]);
  await busKeys("add", "av-2", "--kind", "av-worker");
  await system.compose(["restart", "av-worker"]);
  await busKeys("revoke", "av-worker");
  expectThat(!keys.has(await keyOf("av-worker")), "the av-worker has another key");
  await eventually("the av-worker works with its new key", 120_000, () => workersAre(system, {}));
}

/** New workers get their share of the mail. */
async function eachHasScanned(
  system: ComposedSystem,
  accepted: ReadonlySet<string>,
  count: number,
): Promise<void> {
  const newest = () => [...accepted].slice(-30);
  await eventually("every av-worker gives verdicts", 60_000, () =>
    system.withDatabase(async ({ mails }) => {
      const records = await Promise.all(newest().map(async (id) => mails.get(id)));
      const workers = new Set(records.flatMap((mail) => mail?.verdicts.virus?.worker ?? []));
      expectThat(workers.size >= count, `verdicts of ${[...workers].join(", ")}`);
    }),
  );
}

/**
 * Kills like a crash. The engine's restart policy ignores a `docker kill`, so the container is
 * started again.
 */
async function kill(engine: Engine, system: ComposedSystem, name: string): Promise<void> {
  const [container = ""] = await system.containersOf(name);
  await engine.docker(["kill", container]);
  await engine.docker(["start", container]);
  if (name !== "mongodb") {
    const format = "{{.State.StartedAt}}";
    const { stdout: since } = await engine.docker(["inspect", "-f", format, container]);
    await eventually(`${name} is ready again`, 120_000, async () => {
      const said = await engine.docker(["logs", "--since", since.trim(), container]);
      const isReady = (said.stdout + said.stderr).includes('"msg":"ready"');
      expectThat(isReady, `"ready" is in the log of ${name}`);
    });
  }
  await eventually(`${name} is back`, 120_000, () => workersAre(system, {}));
}

/**
 * With SPOOL_DIR in `.env`, every worker proves that it sees the dispatcher's spool, and gets mail
 * through it.
 */
export async function diskModeWorks(system: ComposedSystem, report: Report): Promise<void> {
  await system.set({ SPOOL_DIR: "/var/spool/rs-agent" });
  await system.compose(["up", "--detach"]);
  await eventually("all workers see the spool", 120_000, () =>
    system.withDatabase(async ({ actors }) => {
      const reports = await actors.all(4_000);
      const seen = reports.flatMap(({ service, snapshot }) => {
        const { workers = [] } = snapshot as { workers?: { kind: string; spools?: string[] }[] };
        return service === "dispatcher" ? workers : [];
      });
      const ids = new Set(seen.flatMap(({ spools = [] }) => spools));
      const kinds = new Set(seen.filter(({ spools = [] }) => spools.length > 0).map((w) => w.kind));
      expectThat(ids.size === 1, `one spool, not ${ids.size}`);
      expectThat(kinds.size === builtInTasks.length, `spools of ${[...kinds].join(", ")}`);
    }),
  );
  await samplesMeetTheirFates(system, report);
}

async function nothingIsLost(
  system: ComposedSystem,
  accepted: ReadonlySet<string>,
  report: Report,
): Promise<void> {
  await eventually("every mail has met its end", 240_000, () =>
    system.withDatabase(async ({ mails }) => {
      const counted = await mails.countOutcomes();
      expectThat(counted.holds && counted.open === 0, JSON.stringify(counted));
      const outcomes = new Map<string, number>();
      for (const id of accepted) {
        const outcome = (await mails.get(id))?.recipients[0]?.outcome ?? "lost";
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
      const only = JSON.stringify([...outcomes]);
      expectThat(outcomes.size === 1 && outcomes.has("sent"), `of the traffic: ${only}`);
      report(`${accepted.size} mails accepted, ${only}; conservation ${JSON.stringify(counted)}`);
    }),
  );
  const copies = (await system.relayed()).length;
  expectThat(copies >= accepted.size, `${copies} mails at the next hop`);
}

/**
 * `docker stop` of each: what is in flight is finished, with exit code 0, within the grace time.
 */
export async function stopsInPeace(
  engine: Engine,
  system: ComposedSystem,
  report: Report,
): Promise<void> {
  const traffic = startTraffic(system.smtp, 5);
  await eventually("there is traffic", 30_000, () => {
    expectThat(traffic.accepted.size >= 10, "ten mails are accepted");
    return Promise.resolve();
  });
  const took: string[] = [];
  // Downstream services first: what earlier services pass on waits in the database.
  for (const name of [...ours.toReversed(), "sink"]) {
    const [container = ""] = await system.containersOf(name);
    const from = performance.now();
    await engine.docker(["stop", container]);
    took.push(`${name} ${((performance.now() - from) / 1_000).toFixed(1)} s`);
    const format = "{{.State.ExitCode}}";
    const { stdout } = await engine.docker(["inspect", "-f", format, container]);
    expectThat(stdout.trim() === "0", `${name} ends with exit code 0, not ${stdout.trim()}`);
    if (name === "ingest") await traffic.stop();
  }
  report(`stopped: ${took.join(", ")}`);
  await system.compose(["start"]);
  await eventually("all work again", 180_000, () => workersAre(system, {}));
  await nothingIsLost(system, traffic.accepted, report);
}
