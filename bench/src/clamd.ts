import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { createCanaryCheck } from "@rs-agent/av-worker/canaries.ts";
import { parseClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import { createClamdPool, type ClamdPool } from "@rs-agent/av-worker/clamd/engine.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { startClamd, type RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import {
  caseOf,
  comparisonOptions,
  onStage,
  printReport,
  say,
  sizeText,
  type ComparisonCase,
} from "./comparison.ts";
import { peerNeeds, programOf, provide, versionOf } from "./peers/needs.ts";
import { interleave, timedRound, type Subject } from "./rounds.ts";

/**
 * Scans per second by the av-worker's clamd client, by a bare IDSESSION loop with none of its care
 * (no deadline, no check of replies or ids, no limits), and by clamdscan, one process per mail. All
 * have as many scans at once, and ask the same private clamd with a few signatures. `node
 * bench/src/clamd.ts [--rounds N] [--seconds N] [--connections N] [--size BYTES,…] [--json]`
 */
const options = comparisonOptions({
  sizes: [4 * 1024, 50 * 1024, 1024 * 1024],
  seconds: 1,
  connections: 8,
});
const { rounds, roundMs, sessions: atOnce } = options;
const targets = [{ against: "bare loop", least: 0.8 }];

/** Scans for the length of a round and returns how many scans it made. */
type Scans = () => Promise<number>;

function subjectOf(name: string, { pid }: RunningClamd, scans: Scans): Subject {
  return {
    name,
    round: () => timedRound(() => ({ clamd: [pid] }), scans),
  };
}

let nonce = 0;

/** New bytes each time: clamd remembers by hash what it found clean. */
function freshMail(size: number): Buffer {
  const head = `Subject: bench ${nonce++}\r\nMessage-ID: <${nonce}@bench>\r\n\r\n`;
  return Buffer.alloc(size, "0123456789 lorem ipsum dolor sit amet\r\n").fill(head, 0, head.length);
}

/** Asks for one mail after the other, as many at once as wanted, until the round is over. */
async function scansOf(size: number, ask: (mail: Buffer) => Promise<void>): Promise<number> {
  const endsAt = performance.now() + roundMs;
  let scans = 0;
  const work = async () => {
    while (performance.now() < endsAt) {
      await ask(freshMail(size));
      scans += 1;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return scans;
}

function clientScans(pool: ClamdPool, size: number): Promise<number> {
  const { signal } = new AbortController();
  const options = { signal, timeoutMs: 60_000, accountMs: 0 };
  return scansOf(size, async (bytes) => {
    const { finding } = await pool.ask({ kind: "bytes", bytes }, options);
    if (finding.kind !== "clean") throw new Error(JSON.stringify(finding));
  });
}

function clamdscanScans(program: string, configFile: string, size: number): Promise<number> {
  const args = ["--config-file", configFile, "--no-summary", "--stream", "-"];
  return scansOf(size, async (mail) => {
    const child = spawn(program, args, { stdio: ["pipe", "ignore", "inherit"] });
    child.stdin.end(mail);
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) throw new Error(`clamdscan ended with ${String(code)}`);
  });
}

function bareScans({ host, port }: TcpAddress, size: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port, noDelay: true });
    const endsAt = performance.now() + roundMs;
    let sent = 0;
    let answered = 0;
    const send = () => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(size);
      sent++;
      socket.cork();
      socket.write("zINSTREAM\0");
      socket.write(length);
      socket.write(freshMail(size));
      socket.write(Buffer.alloc(4));
      socket.uncork();
    };
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => {
      for (const byte of chunk) {
        if (byte !== 0) continue;
        answered++;
        if (performance.now() < endsAt) send();
      }
      if (answered < sent) return;
      resolve(answered);
      socket.destroy();
    });
    socket.write("zIDSESSION\0");
    for (let i = 0; i < atOnce; i++) send();
  });
}

type TcpAddress = Extract<EngineAddress, { kind: "tcp" }>;

function tcpAddressOf({ address }: RunningClamd): TcpAddress {
  const parsed = parseClamdAddress(address);
  if (parsed.kind !== "tcp") throw new Error(`the benchmark uses TCP, not ${address}`);
  return parsed;
}

await provide(peerNeeds.clamd, peerNeeds.clamdscan);
const report = await onStage(async ({ runDir, signal, keep, conditions }) => {
  const clamd = keep(await startClamd({ dir: join(runDir, "clamd"), signal }));
  const address = tcpAddressOf(clamd);
  const configFile = join(runDir, "clamdscan.conf");
  await writeFile(configFile, `TCPAddr ${address.host}\nTCPSocket ${address.port}\n`);
  const program = await programOf("clamdscan");

  const check = createCanaryCheck({ allowBlind: [], now: () => new Date() });
  const deps = { check, clock: systemClock, log: createSilentLogger() };
  const pool = createClamdPool([address], { sessions: 1, depth: atOnce }, deps);
  keep({
    stop: async () => {
      pool.close();
      return Promise.resolve();
    },
  });
  await pool.check(signal);

  const cases: ComparisonCase[] = [];
  for (const size of options.sizes) {
    const subjects = [
      subjectOf("ours", clamd, () => clientScans(pool, size)),
      subjectOf("bare loop", clamd, () => bareScans(address, size)),
      subjectOf("clamdscan", clamd, () => clamdscanScans(program, configFile, size)),
    ];
    for (const subject of subjects) await subject.round();
    cases.push(caseOf(sizeText(size), await interleave(subjects, rounds, say), targets));
  }
  const about = { clamd: `${await versionOf("clamav-daemon")}, ${atOnce} scans at once` };
  return { conditions: conditions(rounds, about), cases };
});
printReport(report, options.json);
