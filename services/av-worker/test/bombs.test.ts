import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import { zip } from "../src/zip.ts";
import type { ClamdPool } from "../src/clamd/engine.ts";
import { eicar } from "../src/eicar.ts";
import { createPool, scan } from "./clamd-pool.ts";

const never = new AbortController().signal;
const megabyte = 1024 * 1024;
const zeros = (megabytes: number) => Buffer.alloc(megabytes * megabyte);

/** A mail with the header `fields` and one attachment in base64. */
function mailWith(name: string, content: Buffer, fields = ""): Buffer {
  const encoded = content.toString("base64").replace(/.{76}/g, "$&\r\n");
  return Buffer.from(
    `${fields}Subject: bomb\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n` +
      `--b\r\nContent-Type: application/octet-stream; name="${name}"\r\n` +
      `Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename="${name}"\r\n\r\n` +
      `${encoded}\r\n--b--\r\n`,
    "latin1",
  );
}

function nestedZip(depth: number, innermost: Buffer): Buffer {
  let content = innermost;
  for (let level = 0; level < depth; level += 1) content = zip([{ name: "a.zip", content }]);
  return content;
}

/** EICAR `depth` multiparts deep. */
function nestedMime(depth: number): Buffer {
  let content = "Content-Type: application/octet-stream; name=eicar.com\r\n";
  content += `Content-Transfer-Encoding: base64\r\n\r\n${eicar.toString("base64")}\r\n`;
  const open: string[] = [];
  const close: string[] = [];
  for (let level = 0; level < depth; level += 1) {
    open.push(`Content-Type: multipart/mixed; boundary=b${level}\r\n\r\n--b${level}\r\n`);
    close.unshift(`--b${level}--\r\n`);
  }
  return Buffer.from(
    `Subject: deep\r\nMIME-Version: 1.0\r\n${open.join("")}${content}${close.join("")}`,
  );
}

function manyParts(count: number): Buffer {
  const part = "--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n";
  const last = `--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n${eicar.toString("base64")}\r\n--b--\r\n`;
  return Buffer.from(
    `Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n${part.repeat(count)}${last}`,
  );
}

/**
 * The limits of the clamd that the tests use: MaxScanSize and MaxFileSize 200M, MaxRecursion 10.
 */
const beyondLimits: [string, () => Buffer][] = [
  [
    "one file of 210 MB of zeros in a zip",
    () => mailWith("a.zip", zip([{ name: "a", content: zeros(210) }])),
  ],
  ["one file of 210 MB of zeros in a gzip", () => mailWith("a.gz", gzipSync(zeros(210)))],
  [
    "five files of 50 MB in a zip",
    () =>
      mailWith(
        "a.zip",
        zip(["a", "b", "c", "d", "e"].map((name) => ({ name, content: zeros(50) }))),
      ),
  ],
  ["a zip 30 deep with EICAR at its bottom", () => mailWith("a.zip", nestedZip(30, eicar))],
  [
    "20,000 files in a zip, the last of them EICAR",
    () =>
      mailWith(
        "a.zip",
        zip([
          ...Array.from({ length: 20_000 }, (_, at) => ({
            name: `f${at}`,
            content: Buffer.from(`${at}`),
          })),
          { name: "eicar.com", content: eicar },
        ]),
      ),
  ],
];

describe("a bomb", () => {
  let pool: ClamdPool;
  beforeAll(async () => {
    pool = createPool([inject("clamd")], { streamMaxBytes: 100 * megabyte });
    await pool.check(never);
  });
  afterAll(() => pool.close());

  const judged = async (name: string, bytes: Buffer): Promise<VirusFinding> => {
    const begun = performance.now();
    const { finding } = await scan(pool, bytes);
    const said = finding.kind === "unchecked" ? finding.detail : JSON.stringify(finding);
    console.info(
      `${name}: ${(performance.now() - begun).toFixed(0)} ms, ${finding.kind}, ${said ?? ""}`,
    );
    return finding;
  };
  const othersAreUnharmed = async () => {
    const clean = await judged(
      "a clean mail after it",
      Buffer.from(`Subject: ${Math.random()}\r\n\r\nx\r\n`),
    );
    expect(clean.kind).toBe("clean");
  };

  it.each(beyondLimits)("%s is unchecked: limit, never clean (I2)", async (name, make) => {
    expect(await judged(name, make())).toMatchObject({ kind: "unchecked", reason: "limit" });
    await othersAreUnharmed();
  });

  it.each<[string, () => Buffer]>([
    ["EICAR 20 multiparts deep", () => nestedMime(20)],
    ["EICAR 1,000 multiparts deep", () => nestedMime(1_000)],
    ["EICAR after 5,000 parts", () => manyParts(5_000)],
    ["EICAR after 12,000 parts", () => manyParts(12_000)],
    [
      "EICAR after 100,000 header lines",
      () => mailWith("eicar.com", eicar, "X-A: b\r\n".repeat(100_000)),
    ],
    [
      "EICAR after a header line of 10 MB",
      () => mailWith("eicar.com", eicar, `X-A: ${"b".repeat(10 * megabyte)}\r\n`),
    ],
    [
      "EICAR after 10 MB of empty lines",
      () => Buffer.concat([Buffer.from("\r\n".repeat(5 * megabyte)), mailWith("eicar.com", eicar)]),
    ],
  ])("%s is found or unchecked, never clean (I2)", async (name, make) => {
    expect((await judged(name, make())).kind).toMatch(/^(infected|unchecked)$/);
    await othersAreUnharmed();
  });
});
