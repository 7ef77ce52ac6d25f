import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { canaryMail } from "../src/canary-mails.ts";
import { parseClamdAddress } from "../src/clamd/address.ts";
import type { ClamdPool, ClamdPoolOptions } from "../src/clamd/engine.ts";
import { ClamdSession } from "../src/clamd/session.ts";
import { createPool, scan } from "./clamd-pool.ts";
import { matching } from "./matching.ts";
import { startFakeClamd, type AskedScan, type Fault, type FakeClamd } from "./fake-clamd.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const never = new AbortController().signal;
const mail = (text: string) => Buffer.from(`Subject: ${text}\r\n\r\n${text}\r\n`);
const victim = mail("victim");
const isVictim = (scan: AskedScan) => scan.content.equals(victim);

async function fakeWith(
  fault: (scan: AskedScan) => Fault | undefined,
): Promise<{ fake: FakeClamd; address: string }> {
  const fake = untilTestEnds(await startFakeClamd({ fault }));
  return { fake, address: fake.address };
}

async function checkedPool(
  addresses: string[],
  options: ClamdPoolOptions = {},
): Promise<ClamdPool> {
  const pool = untilTestEnds(createPool(addresses, options));
  await pool.check(never);
  return pool;
}

describe("a clamd that misbehaves on one mail", () => {
  const faults: Record<string, (asked: AskedScan) => Fault> = {
    "half a line, then the end": ({ id }) => ({ raw: `${id}: stream: OK`, close: true }),
    "an early close": () => ({ close: true }),
    nonsense: () => ({ raw: "ou est la reine\0" }),
    "OK without an id": () => ({ raw: "stream: OK\0" }),
    "OK for an id that is not in flight": ({ id }) => ({ raw: `${id + 100}: stream: OK\0` }),
    "OK for the id 0": () => ({ raw: "0: stream: OK\0" }),
    "OK for another name": ({ id }) => ({ raw: `${id}: strea: OK\0` }),
    "OK with something after it": ({ id }) => ({ raw: `${id}: stream: OK \0` }),
    "OK in lower case": ({ id }) => ({ raw: `${id}: stream: ok\0` }),
    "COMMAND READ TIMED OUT": () => ({ raw: "COMMAND READ TIMED OUT\n", close: true }),
    "COMMAND READ TIMED OUT with an id": ({ id }) => ({
      raw: `${id}: COMMAND READ TIMED OUT. ERROR\0`,
      close: true,
    }),
    "a reply without an end": ({ id }) => ({ raw: `${id}: stream: ${"O".repeat(300_000)}` }),
    "FOUND without an id": () => ({ raw: "stream: Virus FOUND\0" }),
    "FOUND in lower case": ({ id }) => ({ raw: `${id}: stream: Virus found\0` }),
    "that it is out of memory": ({ id }) => ({
      raw: `${id}: stream: Can't allocate memory ERROR\0`,
    }),
    "an empty reply": () => ({ raw: "\0" }),
  };

  it.each(Object.keys(faults))(
    "answers %s: the mail is unchecked, its neighbours get their verdicts (I2)",
    async (name) => {
      const { address } = await fakeWith((asked) =>
        isVictim(asked) ? faults[name]?.(asked) : undefined,
      );
      const pool = await checkedPool([address]);
      const before = Array.from({ length: 5 }, (_, i) => scan(pool, mail(`before ${i}`)));
      const bad = scan(pool, victim);
      const after = Array.from({ length: 5 }, (_, i) => scan(pool, canaryMail("eicar", String(i))));
      expect((await bad).finding).toMatchObject({
        kind: "unchecked",
        reason: matching(/^engine-(error|away)$/),
      });
      const kinds = (await Promise.all([...before, ...after])).map(({ finding }) => finding.kind);
      expect(kinds).toEqual([...before.map(() => "clean"), ...after.map(() => "infected")]);
    },
  );

  it("breaks the session at a second reply for one id, and believes nothing after it", async () => {
    const { address } = await fakeWith(({ id }) => ({
      raw: `${id}: stream: Virus FOUND\0${id}: stream: OK\0`,
    }));
    const session = new ClamdSession(parseClamdAddress(address));
    const first = session.scan({ kind: "bytes", bytes: mail("1") }, never);
    const second = session.scan({ kind: "bytes", bytes: mail("2") }, never);
    expect(await first).toEqual({ kind: "answered", reply: "stream: Virus FOUND" });
    expect(await second).toMatchObject({ kind: "broken", reason: "engine-error" });
    expect(await session.ended).toMatchObject({ kind: "broken" });
  });

  it("does not accept a verdict before the whole mail was sent", async () => {
    const fake = untilTestEnds(
      await startFakeClamd({ faultAtBegin: (id) => ({ raw: `${id}: stream: OK\0` }) }),
    );
    const session = new ClamdSession(parseClamdAddress(fake.address));
    const bytes = Buffer.alloc(64 * 1024 * 1024);
    const outcome = await session.scan({ kind: "bytes", bytes }, never);
    expect(outcome).toMatchObject({ kind: "broken", reason: "engine-error" });
  });

  it("reads replies that come byte by byte and out of order", async () => {
    const held: AskedScan[] = [];
    const { address } = await fakeWith((asked) => {
      held.push(asked);
      if (held.length < 3) return { silence: true };
      const lines = held.reverse().map(({ id, content }) => {
        return `${id}: stream: ${content.includes("bad") ? "Worm FOUND" : "OK"}\0`;
      });
      return { raw: lines.join(""), inPieces: true };
    });
    const session = new ClamdSession(parseClamdAddress(address));
    const outcomes = await Promise.all(
      ["good 1", "bad 2", "good 3"].map((text) =>
        session.scan({ kind: "bytes", bytes: mail(text) }, never),
      ),
    );
    session.destroy();
    expect(outcomes.map((outcome) => outcome.kind === "answered" && outcome.reply)).toEqual([
      "stream: OK",
      "stream: Worm FOUND",
      "stream: OK",
    ]);
  });
});

describe("a clamd that is silent", () => {
  it("lets only the mail whose deadline passed time out; the others are tried again", async () => {
    const { address, fake } = await fakeWith((asked) =>
      isVictim(asked) ? { silence: true } : undefined,
    );
    const pool = await checkedPool([address], { sessions: 1, depth: 8 });
    const bad = scan(pool, victim, { timeoutMs: 150 });
    const scans = [bad, scan(pool, mail("1")), scan(pool, mail("2"))];
    const found = (await Promise.all(scans)).map(({ finding }) => finding);
    expect(found[0]).toMatchObject({ kind: "unchecked", reason: "time-out" });
    expect(found.slice(1)).toEqual([{ kind: "clean" }, { kind: "clean" }]);
    expect(fake.scans.filter(isVictim)).toHaveLength(1);
  });

  it("tears the session down at the deadline, and the other mails go elsewhere", async () => {
    const held = new Set<string>();
    const { address } = await fakeWith(({ content }) => {
      const text = content.toString("latin1");
      if (!text.includes("Subject: held") || held.has(text)) return undefined;
      held.add(text);
      return { silence: true };
    });
    const pool = await checkedPool([address], { sessions: 1, depth: 8 });
    const innocents = [1, 2, 3].map((i) => scan(pool, mail(`held ${i}`)));
    const guilty = await scan(pool, mail("held longest"), { timeoutMs: 150 });
    expect(guilty.finding).toMatchObject({ kind: "unchecked", reason: "time-out" });
    const kinds = (await Promise.all(innocents)).map(({ finding }) => finding.kind);
    expect(kinds).toEqual(["clean", "clean", "clean"]);
  });

  it("stops writing to a clamd that does not read, and keeps the deadline", async () => {
    const fake = untilTestEnds(await startFakeClamd({ deaf: true }));
    const session = new ClamdSession(parseClamdAddress(fake.address));
    const deadline = new AbortController();
    const bytes = Buffer.alloc(64 * 1024 * 1024);
    const scans = [1, 2, 3].map(() => session.scan({ kind: "bytes", bytes }, deadline.signal));
    await vi.waitFor(() => expect(fake.connections).toBe(1));
    await turn();
    expect(session.unsentBytes).toBe(3 * bytes.length);
    expect(session.bufferedBytes).toBeLessThan(1024 * 1024);
    deadline.abort();
    expect((await Promise.all(scans)).map(({ kind }) => kind)).toContain("aborted");
    expect((await session.ended).kind).toBe("torn-down");
  });
});

describe("several clamd", () => {
  it("leaves a broken one out until its canaries pass", async () => {
    let broken = true;
    const flaky = await fakeWith(() => (broken ? { raw: "gibberish\0" } : undefined));
    const sound = await fakeWith(() => undefined);
    const pool = await checkedPool([flaky.address, sound.address]);
    expect(pool.concurrency()).toBe(8);
    const found = await Promise.all([1, 2, 3].map((i) => scan(pool, mail(String(i)))));
    expect(found.map(({ address }) => address)).toEqual([1, 2, 3].map(() => sound.address));
    broken = false;
    await vi.waitFor(() => expect(pool.concurrency()).toBe(16));
    await sound.fake.close();
    const after = await Promise.all([1, 2].map((i) => scan(pool, mail(`after ${i}`))));
    expect(after.map(({ address }) => address)).toEqual([flaky.address, flaky.address]);
    expect(pool.concurrency()).toBe(8);
  });

  it("tries a mail that broke one clamd on another, once", async () => {
    const one = await fakeWith((asked) => (isVictim(asked) ? { close: true } : undefined));
    const two = await fakeWith((asked) => (isVictim(asked) ? { close: true } : undefined));
    const pool = await checkedPool([one.address, two.address]);
    const { finding } = await scan(pool, victim);
    expect(finding).toMatchObject({ kind: "unchecked", reason: "engine-away" });
    const tries = [...one.fake.scans, ...two.fake.scans].filter(isVictim);
    expect(tries).toHaveLength(2);
    expect(one.fake.scans.filter(isVictim)).toHaveLength(1);
  });

  it("counts a strike each time a clamd goes away with the mail, unless one answers in the end", async () => {
    let deaths = 0;
    const dies = (asked: AskedScan) => {
      if (!isVictim(asked) || deaths === 0) return undefined;
      deaths -= 1;
      return { close: true };
    };
    const [one, two] = [await fakeWith(dies), await fakeWith(dies)];
    const pool = await checkedPool([one.address, two.address]);
    deaths = 2;
    expect(await scan(pool, victim)).toMatchObject({ strikes: 2 });
    await pool.check(never);
    deaths = 1;
    expect(await scan(pool, victim)).not.toHaveProperty("strikes");
    await pool.check(never);
    deaths = 2;
    const suspect = await scan(pool, victim, { suspect: true });
    expect(suspect).toMatchObject({ finding: { kind: "unchecked" }, strikes: 1 });
    expect(deaths).toBe(1);
  });

  it("counts no strike if clamd talks nonsense, or a neighbour's deadline ended the session", async () => {
    const { address } = await fakeWith((asked) =>
      isVictim(asked) ? { raw: "gibberish\0" } : undefined,
    );
    const pool = await checkedPool([address]);
    const { finding, ...about } = await scan(pool, victim);
    expect(finding).toMatchObject({ kind: "unchecked", reason: "engine-error" });
    expect(about).not.toHaveProperty("strikes");
  });

  it("a time-out is a strike if clamd is well, not if it stands still", async () => {
    let still = false;
    const { address } = await fakeWith((asked) =>
      isVictim(asked) || still ? { silence: true } : undefined,
    );
    const pool = await checkedPool([address]);
    const slow = async (bytes: Buffer) => {
      const scanned = await scan(pool, bytes, { timeoutMs: 100, accountMs: 2_000 });
      expect(scanned.finding).toMatchObject({ kind: "unchecked", reason: "time-out" });
      return scanned;
    };
    expect(await slow(victim)).toMatchObject({ strikes: 1 });
    still = true;
    expect(await slow(mail("innocent"))).not.toHaveProperty("strikes");
  });

  it("recognizes a mail over the limit before it sends a byte", async () => {
    const { address, fake } = await fakeWith(() => undefined);
    const pool = await checkedPool([address], { streamMaxBytes: 10_000 });
    const before = fake.scans.length;
    const { finding } = await scan(pool, Buffer.alloc(10_001));
    expect(finding).toMatchObject({ kind: "unchecked", reason: "too-large" });
    expect(fake.scans).toHaveLength(before);
  });

  it("ends a session that has nothing to do, and opens another when there is", async () => {
    const { address, fake } = await fakeWith(() => undefined);
    const session = { connectTimeoutMs: 1_000, idleMs: 30 };
    const pool = await checkedPool([address], { session });
    await scan(pool, mail("1"));
    await vi.waitFor(() => expect(fake.openConnections()).toBe(0));
    expect((await scan(pool, mail("2"))).finding).toEqual({ kind: "clean" });
    expect(pool.concurrency()).toBe(8);
  });
});
