import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { canaryMail } from "../src/canary-mails.ts";
import { ping, reload, stats, version } from "../src/clamd/command.ts";
import { parseClamdAddress } from "../src/clamd/address.ts";
import type { ClamdPool } from "../src/clamd/engine.ts";
import { createPool, scan as scanBy } from "./clamd-pool.ts";
import { matching } from "./matching.ts";
import { startFakeClamd, type FakeClamd } from "./fake-clamd.ts";

const never = new AbortController().signal;
const megabyte = 1024 * 1024;

/** What holds for the fake also holds for the real clamd, over TCP and over a unix socket. */
describe.each(["fake, tcp", "fake, unix", "real, tcp", "real, unix"] as const)(
  "clamd (%s)",
  (which) => {
    let dir: string;
    let fake: FakeClamd | undefined;
    let address: string;
    let pool: ClamdPool;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "rs-agent-av-"));
      if (which.startsWith("fake")) {
        fake = await startFakeClamd({
          streamMaxBytes: 60 * megabyte,
          ...(which.endsWith("unix") ? { listen: join(dir, "clamd.sock") } : {}),
        });
        address = fake.address;
      } else address = which.endsWith("tcp") ? inject("clamd") : inject("clamdSocket");
      pool = createPool([address], { streamMaxBytes: 100 * megabyte });
      await pool.check(never);
    });

    afterAll(async () => {
      pool.close();
      await fake?.close();
      await rm(dir, { recursive: true, force: true });
    });

    const scan = (mail: Buffer | string) => scanBy(pool, mail);
    const mail = (text: string) => Buffer.from(`Subject: ${text}\r\n\r\n${text}\r\n`);

    it("calls a clean mail clean and names the engine", async () => {
      const scanned = await scan(mail("hello"));
      expect(scanned).toMatchObject({ finding: { kind: "clean" }, address, blind: [] });
      expect(scanned.engine).toMatchObject({ name: "clamd", version: matching(/^1\./) });
    });

    it("finds EICAR in a base64 attachment", async () => {
      const { finding } = await scan(canaryMail("eicar", "1"));
      expect(finding).toEqual({ kind: "infected", names: [matching(/eicar/i)] });
    });

    it("calls what clamd could not look into unchecked, never clean (I2)", async () => {
      const [encrypted, pdf, deep] = await Promise.all([
        scan(canaryMail("encrypted", "1")),
        scan(canaryMail("encrypted-pdf", "1")),
        scan(canaryMail("limit", "1")),
      ]);
      expect(encrypted.finding).toMatchObject({ kind: "unchecked", reason: "encrypted" });
      expect(pdf.finding).toMatchObject({ kind: "unchecked", reason: "encrypted" });
      expect(deep.finding).toMatchObject({ kind: "unchecked", reason: "limit" });
    });

    it("gives each of 300 concurrent scans its own finding", async () => {
      const kinds = Array.from({ length: 300 }, (_, i) => (i % 7 === 3 ? "eicar" : "clean"));
      const found = await Promise.all(kinds.map((kind, i) => scan(canaryMail(kind, String(i)))));
      expect(found.map(({ finding }) => finding.kind)).toEqual(
        kinds.map((kind) => (kind === "eicar" ? "infected" : "clean")),
      );
    });

    it("scans an empty mail and one of 12 MB", async () => {
      const large = Buffer.concat([
        mail("large"),
        Buffer.alloc(12 * megabyte, "lines of text\r\n"),
      ]);
      const found = await Promise.all([scan(Buffer.alloc(0)), scan(large)]);
      expect(found.map(({ finding }) => finding.kind)).toEqual(["clean", "clean"]);
    });

    it("does not let a mail over clamd's own StreamMaxLength touch its neighbours", async () => {
      const small = Array.from({ length: 20 }, (_, i) => scan(mail(String(i))));
      const [tooLarge, ...others] = await Promise.all([
        scan(Buffer.alloc(61 * megabyte, "a")),
        ...small,
        scan(canaryMail("eicar", "n")),
      ]);
      expect(tooLarge.finding).toMatchObject({ kind: "unchecked", reason: "too-large" });
      expect(others.pop()?.finding.kind).toBe("infected");
      expect(others.map(({ finding }) => finding.kind)).toEqual(others.map(() => "clean"));
    });

    it("scans by path, and never calls a missing file clean", async () => {
      const path = join(dir, "mail with space.eml");
      await writeFile(path, mail("by path"));
      const found = await scan(path);
      expect(found.finding).toEqual({ kind: "clean" });
      const missing = await scan(join(dir, "missing"));
      expect(missing.finding).toMatchObject({ kind: "unchecked", reason: "engine-error" });
    });

    it("answers PING, VERSION, STATS and RELOAD", async () => {
      const to = parseClamdAddress(address);
      await ping(to, never);
      expect((await version(to, never)).text).toMatch(/^ClamAV 1\./);
      expect(await stats(to, never)).toContain("STATE: VALID");
      await reload(to, never);
    });
  },
);
