import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { eicar } from "@rs-agent/av-worker/eicar.ts";

/** Text that our own signatures call a virus wherever it occurs: `RS.Agent.Test`. For tests. */
export const testVirus = ["RS-AGENT-TEST", "VIRUS-SIGNATURE"].join("-");

/**
 * Writes a signature database for a private clamd if there are no real signatures: enough to show
 * that it detects, not to protect anyone. Extended (`.ndb`) and hash (`.hdb`) signatures, see
 * https://docs.clamav.net/manual/Signatures.html; clamd adds `.UNOFFICIAL` to their names.
 */
export async function writeSignatures(databaseDir: string): Promise<void> {
  await mkdir(databaseDir, { recursive: true });
  const md5 = createHash("md5").update(eicar).digest("hex");
  await writeFile(join(databaseDir, "rs-agent.hdb"), `${md5}:${eicar.length}:Eicar-Test-File\n`);
  const extended = [
    `Eicar-Test-Signature:0:0:${eicar.toString("hex")}`,
    `RS.Agent.Test:0:*:${Buffer.from(testVirus, "latin1").toString("hex")}`,
  ];
  await writeFile(join(databaseDir, "rs-agent.ndb"), extended.join("\n") + "\n");
}
