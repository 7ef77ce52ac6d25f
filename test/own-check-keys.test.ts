import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { ownCheckSchema } from "@rs-agent/shared/checks/own-check.ts";
import { runCli } from "../cli/test/run-cli.ts";
import { valueAt } from "./support/read-metrics.ts";
import { accepted, textMail } from "./support/smtp-client.ts";
import { mongodbUri } from "./support/test-mongodb.ts";
import { useWholeSystem } from "./support/use-system.ts";

const cards = ownCheckSchema.parse("cards");
const policy = `
default:
  virus: off
  spam: off
  checks: { cards: {} }
`;
const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const cardsWorker = file("../examples/typescript-worker/src/main.ts");
const virusWorker = file("../bench/src/null-engine-service.ts");

describe("a check that policy alone brings, on a bus with keys", () => {
  let folder = "";
  const keyOf = (name: string) => ({
    BUS_KEY_FILE: join(folder, `${name}.key`),
    BUS_ALLOW_FILE: join(folder, "allow.yaml"),
  });
  const keys = async (...args: string[]) => {
    const { code, err } = await runCli(["keys", ...args], {});
    if (code !== 0) throw new Error(err);
  };
  const whole = useWholeSystem(async () => {
    folder = await mkdtemp(join(tmpdir(), "rs-agent-own-keys-"));
    await keys("init", folder);
    await keys("add", folder, "cards-1", "--kind", "cards");
    await keys("add", folder, "dlp-1", "--kind", "dlp");
    // A key that was made here but is not in the bus's own list.
    await keys("init", join(folder, "elsewhere"));
    return {
      policy,
      counts: { "av-worker": 0, "spam-worker": 0 },
      serviceEnv: {
        dispatcher: { ...keyOf("dispatcher"), HEALTH_HTTP: "127.0.0.1:0" },
        enricher: keyOf("enricher"),
      },
    };
  });
  const workers: ChildProcess[] = [];
  /** Mails with a card number that no worker of the check has seen yet. */
  const waiting: string[] = [];
  afterEach(() => workers.splice(0).forEach((worker) => worker.kill("SIGKILL")));
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const start = (script: string, name: string, key: string) => {
    const [ready] = whole()
      .log("dispatcher")
      .filter(({ msg }) => msg === "ready");
    const env = {
      ...process.env,
      ...keyOf(key),
      BUS_DISPATCHERS: String(ready?.["bus"]),
      ACTOR_ID: name,
      NULL_TASK: "virus",
    };
    const worker = spawn(process.execPath, [script], { env, stdio: "ignore" });
    workers.push(worker);
    return worker;
  };
  const value = async (series: string) => {
    const [address = ""] = await whole().healthOf("dispatcher");
    return valueAt(address, series);
  };
  const turnedAway = async () =>
    Number(await value('rs_agent_bus_frames_dropped_total{cause="unlisted"}')) +
    Number(await value("rs_agent_bus_peers_refused_total"));
  const sessions = async (kind: string) => {
    const states = ["able", "unable", "silent", "opening", "leaving"];
    const counts = states.map((state) =>
      value(`rs_agent_workers{kind="${kind}",state="${state}"}`),
    );
    return (await Promise.all(counts)).reduce<number>((sum, count) => sum + Number(count), 0);
  };
  const cli = async (...args: string[]) => {
    const env = { MONGODB_URI: mongodbUri(), MONGODB_DB: whole().db.databaseName };
    return (await runCli(args, env)).out;
  };

  it.each([
    ["the check's, with the key of another check", cardsWorker, "dlp-1", "cards"],
    ["the check's, with an av-worker's key", cardsWorker, "av-worker", "cards"],
    ["the check's, with a key that no list names", cardsWorker, "elsewhere/enricher", "cards"],
    ["for virus, with the key of a check", virusWorker, "cards-1", "virus"],
  ])("I4: a worker %s is refused, and nothing from it counts", async (_, script, key, kind) => {
    const before = await turnedAway();
    const id = await accepted(whole().system.smtp, { raw: textMail("4111 1111 1111 1111") });
    const worker = start(script, "impostor", key);
    // It tries again and again.
    await vi.waitFor(async () => expect(await turnedAway()).toBeGreaterThan(before + 2));
    expect(worker.exitCode).toBe(null);
    expect(await sessions(kind)).toBe(0);
    const mail = await whole().record(id);
    expect(mail).toMatchObject({ state: "processing", next: "cards" });
    expect(mail.verdicts[cards]?.finding.kind).not.toMatch(/passed|found/);
    for (const result of ["found", "passed", "clean", "failed"]) {
      const series = `rs_agent_tasks_total{kind="${kind}",result="${result}"}`;
      expect(await value(series)).toBeUndefined();
    }
    expect(await cli("status")).not.toContain("impostor");
    waiting.push(id);
  });

  it("one whose key is listed for the check gets the tasks, even those that waited", async () => {
    expect(waiting).toHaveLength(4);
    start(cardsWorker, "impostor", "dlp-1");
    start(cardsWorker, "cards-1", "cards-1");
    const id = await accepted(whole().system.smtp, { raw: textMail("a cake") });
    const mails = await Promise.all([id, ...waiting].map((each) => whole().ended(each)));
    const by = { verdicts: { cards: { worker: "cards-1" } } };
    expect(mails.flat()).toMatchObject([
      { state: "sent", ...by },
      ...waiting.map(() => ({ state: "quarantined", ...by })),
    ]);
    expect(await sessions("cards")).toBe(1);
  });
});
