import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { startClamd, type RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import { writeSignatures } from "@rs-agent/kit/engines/clamd-signatures.ts";
import type { ClamdPool } from "../src/clamd/engine.ts";
import { createPool, scan } from "./clamd-pool.ts";

const never = new AbortController().signal;

/** Small files that ordinary programs have encrypted, as the attachment of a mail. */
async function mailWith(name: string): Promise<Buffer> {
  const content = await readFile(new URL(`encrypted/${name}`, import.meta.url));
  const encoded = content.toString("base64").replace(/.{76}/g, "$&\r\n");
  return Buffer.from(
    `Subject: ${randomUUID()}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n` +
      `--b\r\nContent-Type: text/plain\r\n\r\nThe password follows.\r\n` +
      `--b\r\nContent-Type: application/octet-stream; name="${name}"\r\n` +
      `Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="${name}"\r\n\r\n` +
      `${encoded}\r\n--b--\r\n`,
    "latin1",
  );
}

async function findingOn(pool: ClamdPool, name: string) {
  return (await scan(pool, await mailWith(name))).finding;
}

describe("an attachment that is encrypted", () => {
  let pool: ClamdPool;

  beforeAll(async () => {
    pool = createPool([inject("clamd")]);
    await pool.check(never);
  });

  afterAll(() => pool.close());

  it.each(["password.pdf", "password.7z", "aes.zip"])("I2: is unchecked: %s", async (name) => {
    const finding = await findingOn(pool, name);
    expect(finding).toMatchObject({ kind: "unchecked", reason: "encrypted" });
  });

  it("is readable if a PDF has only an owner password: clamd reads it too", async () => {
    expect(await findingOn(pool, "owner-password-only.pdf")).toEqual({ kind: "clean" });
  });

  it("goes unnoticed by clamd if it is an Office document, as docs/clamd.md says", async () => {
    expect(await findingOn(pool, "password.docx")).toEqual({ kind: "clean" });
  });
});

describe("the signature in docs/clamd.md", () => {
  let dir: string;
  let clamd: RunningClamd;

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-av-"));
    const databaseDir = join(dir, "office");
    await writeSignatures(databaseDir);
    const page = await readFile(new URL("../../../docs/clamd.md", import.meta.url), "utf8");
    const [signature = ""] = /Encrypted\.Office:.*/.exec(page) ?? [];
    await writeFile(join(databaseDir, "office.ndb"), `${signature}\n`);
    clamd = await startClamd({ dir, databaseDir });
  });

  afterAll(async () => {
    await clamd.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it("finds an encrypted Office document, and nothing else that is encrypted", async () => {
    using pool = createPool([clamd.address]);
    expect(await pool.check(never)).toMatchObject([{ kind: "able" }]);
    const names = ["Encrypted.Office.UNOFFICIAL"];
    expect(await findingOn(pool, "password.docx")).toEqual({ kind: "infected", names });
    expect(await findingOn(pool, "owner-password-only.pdf")).toEqual({ kind: "clean" });
  });
});
