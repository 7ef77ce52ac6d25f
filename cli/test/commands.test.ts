import { MongoClient } from "mongodb";
import { describe, expect, test } from "vitest";
import { childMailId, newToken } from "@rs-agent/shared/ids.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import {
  codeOf,
  deadMail,
  expectNarrow,
  finalMail,
  infected,
  mailWith,
  quarantinedMail,
  runCli,
  useCli,
} from "./run-cli.ts";

const cli = useCli();

async function stored(mail: MailRecord): Promise<string> {
  await cli().store.mails.insert(mail);
  return mail._id;
}

async function get(id: string): Promise<MailRecord> {
  const mail = await cli().store.mails.get(id);
  if (mail === undefined) throw new Error(`no mail ${id}`);
  return mail;
}

/** What one command complained about, on one line. */
async function refusalOf(args: string[]): Promise<string> {
  const { code, err } = await cli().run(args);
  expect(code).toBe(1);
  expect(err.trimEnd()).not.toContain("\n");
  return err;
}

describe("status", () => {
  test("shows what waits, who runs and what is paused, within 80 columns", async () => {
    const { run, store } = cli();
    await stored(mailWith());
    const worker = {
      id: "av-worker-1",
      kind: "virus",
      mailbox: "tcp://127.0.0.1:1",
      state: "open",
      unable: "the canary eicar was answered OK by a clamd that has no signatures at all",
      engine: { name: "clamd", version: "1.4.3" },
      grant: { tasks: 0, bytes: 0 },
      outstanding: { tasks: 0, bytes: 0 },
    };
    const d1 = { heldMails: 0, workers: [worker], timerOnlyMails: 4 };
    // A service that has said nothing for 10 s is not shown.
    const sayTheyRun = async () => {
      await store.actors.report("d1", "dispatcher", d1);
      await store.actors.report("d2", "dispatcher", { heldMails: 0, workers: [worker] });
    };
    await run(["pause", "relay"]);
    await sayTheyRun();
    const { out } = await run(["status", "--count", "--recipients"]);
    expectNarrow(out);
    expect(out).toMatch(/processing +virus +\d+ +1m/);
    expect(out).toMatch(/dispatcher +d1/);
    expect(out).toMatch(/av-worker-1 +virus +unable/);
    expect(out).toMatch(/paused +relay, by tester/);
    expect(out).toMatch(/attention +1 mail waits for virus .* no worker is able/);
    expect(out).toMatch(/mails +incoming \d+, processing 1, /);
    expect(out).toContain("it adds up");
    await sayTheyRun();
    const json: unknown = JSON.parse((await run(["status", "--json"])).out);
    expect(json).toMatchObject({ workers: [{ id: "av-worker-1", dispatchers: ["d1", "d2"] }] });
    await run(["resume", "relay"]);
    const failure = "connect ECONNREFUSED 192.0.2.1:25";
    const route = { route: "192.0.2.1:25|", heldMails: 2, openSessions: 0, failure };
    const relay = { routes: [route], dispatchers: 2 };
    await store.actors.report("r1", "relay", relay);
    await sayTheyRun();
    const { services } = JSON.parse((await run(["status", "--json"])).out) as {
      services: object[];
    };
    expect(services).toMatchObject([
      { id: "d1", timerOnlyMails: 4 },
      { id: "d2" },
      { id: "r1", dispatchers: 2 },
    ]);
    await store.actors.report("r1", "relay", relay);
    const later = (await run(["status"])).out;
    expectNarrow(later);
    expect(later).not.toContain("paused");
    expect(later).toMatch(/relay +r1 +(now|\d+s ago) +2 mails/);
    expect(later).toContain(`r1 cannot send to 192.0.2.1:25: ${failure}`);
  });
});

describe("status of the work", () => {
  test("shows workers wanted next to those that are there, by the newest dispatcher", async () => {
    const { run, store } = cli();
    const worker = (id: string, unable?: string) => ({
      id,
      kind: "spam",
      mailbox: "tcp://127.0.0.1:1",
      state: "open",
      ...(unable === undefined ? {} : { unable }),
      grant: { tasks: 4, bytes: 0 },
      outstanding: { tasks: 0, bytes: 0 },
    });
    const workers = [worker("spam-1"), worker("spam-2", "spamd is away")];
    const demand = (wanted: number, ageMs: number) => ({
      at: new Date(Date.now() - ageMs),
      due: {},
      kinds: {
        spam: { wanted, waiting: 1_234, arrivalsPerSecond: 12.34, serviceMs: 1_500, atOnce: 2 },
        enrich: { wanted: 0, waiting: 0, arrivalsPerSecond: 0 },
      },
    });
    const report = (id: string, wanted: number, ageMs: number) =>
      store.actors.report(id, "dispatcher", {
        heldMails: 0,
        workers,
        demand: demand(wanted, ageMs),
      });
    await report("d1", 7, 9_000);
    await report("d2", 25, 1_000);
    const { out } = await run(["status"]);
    expectNarrow(out);
    expect(out).toMatch(/TASK +WORKERS +WANTED +WAITING +ARRIVING/);
    expect(out).toMatch(/spam +1 of 2 +25 +1234 mails +12\.3\/s +1\.5s +2/);
    expect(out).toMatch(/enrich +0 +0 +0 mails/);
    const json: unknown = JSON.parse((await run(["status", "--json"])).out);
    expect(json).toMatchObject({
      demand: [
        { kind: "spam", there: 2, able: 1, wanted: 25, waiting: 1_234, serviceMs: 1_500 },
        { kind: "enrich", there: 0, able: 0, wanted: 0 },
      ],
    });
    await Promise.all(["d1", "d2"].map((id) => store.actors.leave(id)));
  });
});

describe("find and explain", () => {
  test("find lists by recipient, sender, Message-ID, state and time", async () => {
    const { run } = cli();
    const to = "findme@t.example";
    const mail = mailWith({ recipients: [{ address: to, outcome: "open", attempts: 0 }] });
    const id = await stored({ ...mail, smtp: { ...mail.smtp, rcptTo: [to] } });
    const found = async (args: string[]) => (await run(["find", ...args])).out;
    const out = await found(["--to", "FindMe@t.example"]);
    expectNarrow(out);
    expect(out).toContain(id);
    expect(await found(["--to", to, "--since", "5m", "--state", "processing"])).toContain(id);
    expect(await found(["--to", to, "--until", "2020-01-01"])).toBe("no mail found\n");
    expect(await found(["--to", to, "--state", "sent"])).toBe("no mail found\n");
    expect(await found(["--message-id", "m@x.example"])).toContain(id);
    const json = JSON.parse(await found(["--to", to, "--json"])) as MailRecord[];
    expect(json.map(({ _id }) => _id)).toEqual([id]);
  });

  test("explain tells from which policy a plan came that is not kept any more, and the subject", async () => {
    const { run, env } = cli();
    await using client = new MongoClient(env["MONGODB_URI"]);
    const header = { subject: "Invoice 4711" };
    const id = await stored(quarantinedMail({ header }));
    const plans = client.db(env["MONGODB_DB"]).collection("plans");
    const before = await plans.find().toArray();
    await plans.deleteMany({});
    const { out } = await run(["explain", id]);
    expect(out).toMatch(/policy +tenant:t, revision 0\n +what it said is not kept any more/);
    expect(out).toMatch(/Subject: +Invoice 4711/);
    expect((await run(["find", "--state", "quarantined"])).out).toContain("“Invoice 4711”");
    await plans.insertMany(before);
  });

  test("explain tells policy, verdicts with engine and times, and what comes next", async () => {
    const { run } = cli();
    const { out } = await run(["explain", await stored(quarantinedMail())]);
    expectNarrow(out);
    const words = out.replace(/\s+/g, " ");
    expect(words).toContain("quarantined: infected: Eicar-Signature");
    expect(words).toContain("tenant:t, revision 0");
    expect(words).toContain("203.0.113.5 is in no tenant's network; tenant t by the recipient's");
    expect(words).toContain("spam not checked: the mail ended before");
    expect(words).toContain("clamd 1.4.3, signatures 27500, by w1, waited 3ms, worked 12ms");
    expect(words).toContain("mx, client 203.0.113.5, mx.x.example, HELO mx");
    expect(out).toMatch(
      /^ {2}(?:npx )?rs-agent quarantine release \w+ \\\n {4}--override 'infected: Eicar-Signature'$/m,
    );
    expect(words).toContain("accepted (ingest)");
  });

  test("explain shows the hop's last reply whole and the parts of a split", async () => {
    const { run } = cli();
    const reply = "450-4.2.0 mailbox busy\n450 4.2.0 try again";
    const recipient = { address: "b@t.example", outcome: "open" as const, attempts: 2, reply };
    const ready = await run([
      "explain",
      await stored(mailWith({ state: "ready", recipients: [recipient] })),
    ]);
    expect(ready.out.replace(/\s+/g, " ")).toContain("450-4.2.0 mailbox busy 450 4.2.0 try again");
    const parent = finalMail({ state: "split", finalAt: new Date() });
    await stored(parent);
    const child = mailWith({ _id: childMailId(parent._id, 0), parentId: parent._id });
    await stored(child);
    expect((await run(["explain", parent._id])).out).toContain(child._id);
  });

  test("explain says who works on a mail now", async () => {
    const lease = { owner: "d7", token: newToken(), until: new Date(Date.now() + 60_000) };
    const { out } = await cli().run(["explain", await stored(mailWith({ lease }))]);
    expect(out).toContain("d7 works on it now");
  });

  test("no private key is shown", async () => {
    const key = { kind: "sign", domain: "t.example", selector: "s", privateKey: "PEM" } as const;
    const settings = { changes: [key], spamThreshold: 5 };
    const { plan } = mailWith();
    if (plan === undefined) throw new Error("the mail has no plan");
    const enrich = { settings, settingsHash: "0".repeat(32) };
    const id = await stored(mailWith({ plan: { ...plan, enrich } }));
    const { out } = await cli().run(["explain", id, "--json"]);
    expect(out).not.toContain("PEM");
    expect(out).toContain("(hidden)");
  });

  test("instants without a zone are UTC, as they are shown", async () => {
    const receivedAt = new Date("2020-06-01T12:00:00Z");
    const id = await stored(mailWith({ receivedAt }));
    const found = async (...args: string[]) => (await cli().run(["find", ...args])).out;
    expect(await found("--since", "2020-06-01 11:59", "--until", "2020-06-01 12:00")).toContain(id);
    expect(await found("--since", "2020-06-01", "--until", "2020-06-01T12:01")).toContain(id);
    expect(await found("--since", "2020-06-01T13:59+02:00", "--until", "2020-06-02")).toContain(id);
    expect(await found("--since", "2020-06-02", "--until", "2020-06-03")).toBe("no mail found\n");
  });

  test("find says that there may be more", async () => {
    await stored(mailWith());
    const { out } = await cli().run(["find", "--limit", "1"]);
    expect(out.trimEnd().split("\n").at(-1)).toBe("the newest 1; there may be more: --limit");
  });

  test("an unknown id is named", async () => {
    expect(await codeOf(cli().run(["explain", "nobody"]))).toBe("CLI_NOT_FOUND");
  });
});

describe("interventions in the database", () => {
  test("a release returns the mail to processing with the override recorded (I2)", async () => {
    const { run } = cli();
    const id = await stored(quarantinedMail());
    expect(await refusalOf(["quarantine", "release", id])).toMatch(
      /^CLI_REFUSED: .*a release names/,
    );
    expect((await get(id)).state).toBe("quarantined");
    const finding = "infected: Eicar-Signature";
    const { out } = await run(["quarantine", "release", id, "--override", finding]);
    expect(out).toBe(`${id}: released: overrides ${finding}\n`);
    const mail = await get(id);
    expect(mail).toMatchObject({ state: "processing", next: "spam" });
    expect(mail.overrides).toMatchObject([{ check: "virus", finding, by: "tester" }]);
    expect(mail.recipients.map(({ outcome }) => outcome)).toEqual(["open"]);
    expect(mail.history.at(-1)).toMatchObject({ event: "released", by: "tester" });
  });

  test("quarantine lists, shows and deletes", async () => {
    const { run, store } = cli();
    const body = await store.bodies.put(Buffer.from("Subject: x\r\n\r\nraw\r\n"));
    const id = await stored(quarantinedMail({ body, verdicts: { virus: infected } }));
    const list = await run(["quarantine", "ls", "--to", "b@t.example"]);
    expectNarrow(list.out);
    expect(list.out).toMatch(
      new RegExp(
        `${id} .* quarantined\\n +a@x.example → b@t.example\\n +infected: Eicar-Signature\\n`,
      ),
    );
    expect((await run(["quarantine", "show", id, "--raw"])).out).toBe("Subject: x\r\n\r\nraw\r\n");
    await run(["quarantine", "delete", id]);
    expect((await run(["quarantine", "ls"])).out).not.toContain(id);
    await store.retention.sweep();
    expect(await store.mails.get(id)).toBeUndefined();
  });

  test("hold, retry-now and cancel move a mail and name who did it", async () => {
    const { run } = cli();
    const id = await stored(mailWith());
    await run(["hold", id]);
    expect(await get(id)).toMatchObject({ state: "held", reason: "held by tester" });
    await run(["retry-now", id]);
    expect(await get(id)).toMatchObject({ state: "processing", next: "virus" });
    await run(["hold", id, "--for", "2h"]);
    const held = await get(id);
    expect(held.heldUntil?.getTime()).toBeGreaterThan(Date.now() + 7_000_000);
    expect(held.next).toBe("retry");
    await run(["cancel", id]);
    expect(await get(id)).toMatchObject({
      state: "discarded",
      recipients: [{ outcome: "discarded" }],
    });
    expect(await refusalOf(["cancel", id])).toMatch(/^CLI_REFUSED: .* is discarded: only mail/);
  });

  test("a refused one does not stop the others", async () => {
    const [first, second] = [await stored(mailWith()), await stored(mailWith())];
    const { out, err, code } = await cli().run(["hold", first, "nobody", second]);
    expect(out).toBe(`${first}: held until retry-now\n${second}: held until retry-now\n`);
    expect(err).toBe("CLI_NOT_FOUND: no mail has the id nobody\n");
    expect(code).toBe(1);
  });

  test("a mail whose lease has ended may be held, and the lease is gone", async () => {
    const lease = { owner: "d7", token: newToken(), until: new Date(Date.now() - 1_000) };
    const id = await stored(mailWith({ lease }));
    await cli().run(["hold", id]);
    expect((await get(id)).lease).toBeUndefined();
  });

  test("dead letters are listed, tried again and dropped", async () => {
    const { run, store } = cli();
    const [again, gone] = [await stored(deadMail()), await stored(deadMail())];
    const list = (await run(["dead", "ls"])).out;
    expect(list).toContain(again);
    expect(list).toContain("two strikes");
    await run(["dead", "retry", again]);
    expect(await get(again)).toMatchObject({ state: "processing", next: "virus" });
    await run(["dead", "drop", gone]);
    await store.retention.sweep();
    expect(await store.mails.get(gone)).toBeUndefined();
  });

  test("interventions keep every recipient in one outcome (I1)", async () => {
    expect((await cli().store.mails.countOutcomes()).holds).toBe(true);
  });
});

describe("errors", () => {
  test("a missing database setting is one line with its code", async () => {
    expect(await codeOf(runCli(["status"], {}))).toBe("CFG_INVALID");
  });

  test("a database that is away is named", async () => {
    const env = { MONGODB_URI: "mongodb://127.0.0.1:1/?directConnection=true" };
    expect(await codeOf(runCli(["find"], env))).toBe("STORE_UNREACHABLE");
  });
});
