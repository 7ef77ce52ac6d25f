import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeSignatures } from "@rs-agent/kit/engines/clamd-signatures.ts";

/** Names that clamd takes from a signature file, unlike any of ClamAV's own. */
export const oddNames: readonly string[] = [
  "Odd Name With Blanks",
  " two  blanks",
  "Trojan: Win32: x",
  "Wurm.Bäcker-蠕虫-🐛",
  "stream: OK",
  "1: stream: OK",
  "/tmp/x: Heuristics.Encrypted.Zip",
  "Heuristics.Limits.Exceeded.MaxFiles",
  "X FOUND",
  "Can't allocate memory ERROR",
  "Odd(44d88612fea8a8f36de82e1278abb02f:68)",
  "a, b",
  "a\x1b[31mred\tx",
  "N".repeat(400),
  "Long".repeat(1_500),
];

/** Text in a mail that the signature with the nth name finds. */
export function markOf(at: number): string {
  return ["ODD-NAME", "MARK", String.fromCharCode(0x41 + at)].join("-");
}

/**
 * Logical signatures (`.ldb`), whose names may contain anything but a semicolon. clamd adds
 * `.UNOFFICIAL`. EICAR is found too.
 */
export async function writeOddSignatures(databaseDir: string): Promise<void> {
  await writeSignatures(databaseDir);
  const lines = oddNames.map((name, at) => {
    const hex = Buffer.from(markOf(at), "latin1").toString("hex");
    return `${name};Engine:51-255,Target:0;0;${hex}\n`;
  });
  await writeFile(join(databaseDir, "odd.ldb"), lines.join(""));
}
