import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { dispatcherStatusSchema } from "@rs-agent/shared/bus/actor-status.ts";
import { ownCheckSchema } from "@rs-agent/shared/checks/own-check.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { pythonWithZmq } from "./support/python-with-zmq.ts";
import { runCli } from "../cli/test/run-cli.ts";
import { valueAt } from "./support/read-metrics.ts";
import { mongodbUri } from "./support/test-mongodb.ts";
import { acceptedAll, textMail } from "./support/smtp-client.ts";
import { useWholeSystem } from "./support/use-system.ts";

const dlp = ownCheckSchema.parse("dlp");
const script = fileURLToPath(new URL("../examples/python-worker/worker.py", import.meta.url));
const policy = `
default:
  spam: off
  checks: { dlp: { settings: { words: [plutonium, "card 4711"] } } }
`;

it("the example in Python has at most 120 lines and uses nothing of ours", () => {
  const text = readFileSync(script, "utf8");
  expect(text.split("\n").length).toBeLessThanOrEqual(121);
  expect(text.match(/^\s*(import|from) .*/gm)).toEqual([
    "import email, hashlib, os, secrets, signal, time",
    "import msgpack, zmq",
  ]);
});

describe("a check that policy alone brings, with workers in Python", () => {
  const whole = useWholeSystem({
    policy,
    counts: { dispatcher: 2 },
    serviceEnv: { dispatcher: { HEALTH_HTTP: "127.0.0.1:0" } },
  });
  const workers: ChildProcess[] = [];
  let python = "";
  beforeAll(async () => void (python = await pythonWithZmq()));
  afterAll(() => workers.forEach((worker) => worker.kill("SIGKILL")));

  const start = (name: string) => {
    const dispatchers = whole()
      .system.processes("dispatcher")
      .map((_, nth) => {
        const line = whole()
          .log("dispatcher", nth)
          .find(({ msg }) => msg === "ready");
        return String(line?.["bus"]);
      });
    const env = { ...process.env, BUS_DISPATCHERS: dispatchers.join(","), ACTOR_ID: name };
    const worker = spawn(python, [script], { env, stdio: ["ignore", "ignore", "inherit"] });
    workers.push(worker);
    return worker;
  };
  const handIn = (texts: readonly string[]) =>
    acceptedAll(
      whole().system.smtp,
      texts.map((text) => ({ raw: textMail(text) })),
    );
  const endOf = async (ids: readonly string[]): Promise<MailRecord[]> =>
    (await Promise.all(ids.map((id) => whole().ended(id)))).flat();
  const cli = async (...args: string[]) => {
    const env = { MONGODB_URI: mongodbUri(), MONGODB_DB: whole().db.databaseName };
    return (await runCli(args, env)).out;
  };

  const inHandOf = async (worker: string): Promise<number> => {
    const reports = await whole().database.actors.all();
    return reports
      .flatMap(({ snapshot }) => dispatcherStatusSchema.safeParse(snapshot).data?.workers ?? [])
      .filter(({ id }) => id === worker)
      .reduce((sum, { outstanding }) => sum + outstanding.tasks, 0);
  };

  it("I2: mail waits while no worker serves it; doctor and status name it", async () => {
    const [id = ""] = await handIn(["nothing to see"]);
    await vi.waitFor(async () => expect((await whole().record(id)).next).toBe("dlp"));
    expect((await whole().record(id)).verdicts[dlp]?.finding).toMatchObject({ kind: "unchecked" });
    expect(await cli("doctor")).toMatch(/check dlp.*known to no dispatcher/s);
    expect(await cli("status")).toMatch(/for dlp .*no worker is able/s);
    start("dlp-1");
    const [mail] = await endOf([id]);
    expect(mail?.state).toBe("sent");
    expect(mail?.verdicts[dlp]).toMatchObject({ worker: "dlp-1", finding: { kind: "passed" } });
  });

  it("`found` quarantines, `passed` is sent with a header that says so", async () => {
    const [bad = "", good = ""] = await handIn(["the Plutonium, card 4711", "a cake"]);
    const [found, passed] = await endOf([bad, good]);
    expect(found).toMatchObject({ state: "quarantined", reason: "found: card 4711, plutonium" });
    expect(found?.verdicts[dlp]?.finding).toEqual({
      kind: "found",
      labels: ["plutonium", "card 4711"],
    });
    expect(passed?.state).toBe("sent");
    const [relayed] = await whole().relayedOf(good);
    expect(relayed?.bytes.toString()).toContain("X-RadicalSpam-Check: dlp=passed\r\n");
    const story = await cli("explain", bad);
    expect(story).toMatch(/dlp +found: card 4711, plutonium/);
    expect(story).toMatch(/words 1, by dlp-1/);
    // Dispatchers report every 2 s.
    await vi.waitFor(async () => {
      expect(await cli("status")).toMatch(/dlp-1 +dlp +open/);
      expect(await cli("doctor")).toMatch(/check dlp.*dlp-1 \(words 1\)/s);
    });
  });

  it("metrics of every dispatcher have the check's name as their label", async () => {
    const addresses = await whole().healthOf("dispatcher");
    const values = (series: string) =>
      Promise.all(addresses.map((address) => valueAt(address, series)));
    const sum = async (series: string) =>
      (await values(series)).reduce<number>((all, value) => all + (value ?? 0), 0);
    expect(await sum('rs_agent_tasks_total{kind="dlp",result="passed"}')).toBe(2);
    expect(await sum('rs_agent_tasks_total{kind="dlp",result="found"}')).toBe(1);
    expect(await sum('rs_agent_task_service_seconds_count{kind="dlp"}')).toBe(3);
    expect(await sum('rs_agent_task_arrivals_total{kind="dlp"}')).toBeGreaterThanOrEqual(3);
    expect(await sum('rs_agent_mails_claimed_total{task="dlp"}')).toBeGreaterThanOrEqual(1);
    expect(await values('rs_agent_workers{kind="dlp",state="able"}')).toEqual([1, 1]);
    expect(await values('rs_agent_credit_busy_tasks{kind="dlp"}')).toEqual([0, 0]);
    expect(await sum('rs_agent_credit_granted_tasks{kind="dlp"}')).toBeGreaterThan(0);
    expect(await values('rs_agent_placing_mails{kind="dlp"}')).toEqual([0, 0]);
    await vi.waitFor(async () => {
      expect(await values('rs_agent_waiting_mails{task="dlp"}')).toEqual([0, 0]);
      expect(await values('rs_agent_waiting_oldest_seconds{task="dlp"}')).toEqual([0, 0]);
      expect(await values('rs_agent_workers_wanted{kind="dlp"}')).toEqual([1, 1]);
    });
  });

  it("a release names the finding, and the mail goes on", async () => {
    const [id = ""] = await handIn(["more plutonium"]);
    await endOf([id]);
    await cli("quarantine", "release", id, "--override", "found: plutonium");
    await vi.waitFor(async () => expect((await whole().record(id)).state).toBe("sent"));
  });

  it("I1: if one is killed in the middle of its work, another takes it and nothing is lost", async () => {
    const second = start("dlp-2");
    await vi.waitFor(async () => expect(await cli("status")).toMatch(/dlp-2 +dlp +open/));
    // It does not answer what it is given from now on.
    second.kill("SIGSTOP");
    const handing = handIn(
      Array.from({ length: 40 }, (_, nth) => `mail ${nth} ${"x".repeat(20_000)}`),
    );
    // Dispatchers report every 2 s what each worker has in hand, and leave it with a silent one for
    // 10 s.
    await vi.waitFor(async () => expect(await inHandOf("dlp-2")).toBeGreaterThan(0));
    second.kill("SIGKILL");
    const ids = await handing;
    const mails = await endOf(ids);
    expect(mails.map(({ state }) => state)).toEqual(mails.map(() => "sent"));
    expect(mails.every(({ verdicts }) => verdicts[dlp]?.finding.kind === "passed")).toBe(true);
  });

  it("a worker that is stopped by SIGTERM says goodbye and ends in order", async () => {
    const [first] = workers;
    start("dlp-3");
    await vi.waitFor(async () => expect(await cli("status")).toMatch(/dlp-3 +dlp +open/));
    first?.kill("SIGTERM");
    expect(await once(first as ChildProcess, "exit")).toEqual([0, null]);
    const [id = ""] = await handIn(["after that"]);
    expect((await endOf([id]))[0]?.verdicts[dlp]?.worker).toBe("dlp-3");
  });
});
