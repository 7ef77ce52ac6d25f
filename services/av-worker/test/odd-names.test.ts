import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";
import type { ClamdPool } from "../src/clamd/engine.ts";
import { createPool, scan } from "./clamd-pool.ts";
import { startFakeClamd } from "./fake-clamd.ts";
import { markOf, oddNames, writeOddSignatures } from "./odd-signatures.ts";

const never = new AbortController().signal;

/** A clamd whose signatures have these names: text or, if they are not text, bytes. */
interface Namer {
  address: string;
  close: () => Promise<void>;
}

async function startReal(dir: string): Promise<Namer> {
  const databaseDir = join(dir, "odd");
  await writeOddSignatures(databaseDir);
  const clamd = await startClamd({ dir, databaseDir, settings: { ExtendedDetectionInfo: "yes" } });
  return { address: clamd.address, close: () => clamd.stop() };
}

async function startFake(): Promise<Namer> {
  const fake = await startFakeClamd({
    fault({ id, content }) {
      const at = oddNames.findIndex((_, index) => content.includes(markOf(index)));
      const name = Buffer.from(`${oddNames[at] ?? ""}.UNOFFICIAL`, "utf8").toString("latin1");
      return at < 0 ? undefined : { raw: `${id}: stream: ${name} FOUND\0`, inPieces: true };
    },
  });
  return { address: fake.address, close: () => fake.close() };
}

describe.each(["fake", "real"] as const)(
  "a clamd whose signatures have odd names (%s)",
  (which) => {
    let dir: string;
    let clamd: Namer;
    let pool: ClamdPool;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "rs-agent-av-"));
      clamd = which === "real" ? await startReal(dir) : await startFake();
      pool = createPool([clamd.address]);
      await pool.check(never);
    });

    afterAll(async () => {
      pool.close();
      await clamd.close();
      await rm(dir, { recursive: true, force: true });
    });

    it.each(oddNames.map((name, at) => ({ name, at })))(
      "I2: $name is a finding with its name, and clamd goes on being asked",
      async ({ name, at }) => {
        const bytes = Buffer.from(`Subject: odd\r\n\r\n${markOf(at)}\r\n`);
        const { finding, ...about } = await scan(pool, bytes);
        const names = [`${name}.UNOFFICIAL`.slice(0, 256)];
        expect(finding).toEqual({ kind: "infected", names });
        expect(about).not.toHaveProperty("strikes");
        expect(pool.reasons()).toBe("");
      },
    );

    it("gives each of many at once its own name", async () => {
      const scans = await Promise.all(
        oddNames.map((_, at) => {
          const bytes = Buffer.from(`Subject: ${at}\r\n\r\n${markOf(at)}\r\n`);
          return scan(pool, bytes);
        }),
      );
      const names = scans.map(({ finding }) => (finding.kind === "infected" ? finding.names : []));
      expect(names).toEqual(oddNames.map((name) => [`${name}.UNOFFICIAL`.slice(0, 256)]));
      expect(pool.reasons()).toBe("");
    });
  },
);

describe("a clamd that says what a real one cannot be made to say", () => {
  it.each([
    ["a name that is no UTF-8", "Caf\xe9.Worm", "Caf\ufffd.Worm"],
    ["line ends in the name", "a\r\nb: OK\n", "a\r\nb: OK\n"],
    ["no name", "", "unnamed"],
    ["the hash and size after the name", `Odd one(${"ab".repeat(16)}:68)`, "Odd one"],
  ])("I2: with %s has found something", async (_, said, kept) => {
    await using fake = await startFakeClamd({
      fault: ({ id, content }) =>
        content.includes("odd") ? { raw: `${id}: stream: ${said} FOUND\0` } : undefined,
    });
    using pool = createPool([fake.address]);
    await pool.check(never);
    const bytes = Buffer.from("Subject: odd\r\n\r\n");
    const { finding } = await scan(pool, bytes);
    expect(finding).toEqual({ kind: "infected", names: [kept] });
    expect(pool.reasons()).toBe("");
  });

  it("I2: has found something even if it says so before it has the whole mail", async () => {
    let armed = false;
    await using fake = await startFakeClamd({
      faultAtBegin: (id) => (armed ? { raw: `${id}: stream: Early bird FOUND\0` } : undefined),
    });
    using pool = createPool([fake.address]);
    await pool.check(never);
    armed = true;
    const bytes = Buffer.alloc(16 * 1024 * 1024);
    const { finding } = await scan(pool, bytes);
    expect(finding).toEqual({ kind: "infected", names: ["Early bird"] });
  });
});
