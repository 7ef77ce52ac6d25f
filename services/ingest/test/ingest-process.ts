import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { newToken } from "@rs-agent/shared/ids.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { northwind } from "./running-ingest.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** The service as a supervisor starts it, listening on a free port. */
export function spawnIngest(env: Record<string, string>) {
  return spawn(process.execPath, [main], {
    env: { PATH: process.env["PATH"], INGEST_SMTP: "127.0.0.1:0", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
}

/** Ingest in a process of its own, whose memory can be measured, with one tenant. */
export interface IngestProcess {
  child: ChildProcess;
  smtp: string;
  database: Database;
  rssMb(): number;
  stop(): Promise<void>;
}

export async function startIngestProcess(env: Record<string, string> = {}): Promise<IngestProcess> {
  const uri = mongodbUri();
  const db = `ingest_${newToken().slice(0, 12)}`;
  const database = await openDatabase({ uri, db, clock: systemClock, log: createSilentLogger() });
  await database.policies.replace([northwind()]);
  const child = spawnIngest({
    MONGODB_URI: uri,
    MONGODB_DB: db,
    INGEST_REVERSE_LOOKUP: "off",
    INGEST_GREET_DELAY_MS: "0",
    LOG_LEVEL: "info",
    ...env,
  });
  const exited = once(child, "exit");
  const output = createInterface(child.stderr);
  const smtp = await new Promise<string>((resolve, reject) => {
    output.on("line", (line) => {
      const entry = JSON.parse(line) as { msg?: string; smtp?: string };
      if (entry.msg === "ready") resolve(entry.smtp ?? "");
    });
    void exited.then(() => reject(new Error("ingest ended before it was ready")));
  });
  return {
    child,
    smtp,
    database,
    rssMb: () => residentMb(child.pid),
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
      await database.close();
    },
  };
}

/** proc(5), /proc/PID/status: VmRSS. */
function residentMb(pid: number | undefined): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, "latin1");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}
