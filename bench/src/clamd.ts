import { mkdtemp, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { createCanaryCheck } from "@rs-agent/av-worker/canaries.ts";
import { parseClamdAddress, type ClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import { ClamdPool, defaultPoolOptions } from "@rs-agent/av-worker/clamd/pool.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { startClamd } from "@rs-agent/start/engines/clamd.ts";
import {
  judge,
  judgementText,
  spreadOf,
  spreadText,
  type AtLeast,
  type Judgement,
  type Spread,
} from "./spread.ts";

/**
 * Scans a second by the av-worker's clamd client beside a bare IDSESSION loop without any of its
 * care (no deadline, no check of replies or ids, no limits), as many at once, against the same
 * private clamd with a few signatures. Rounds alternate, so that what else the machine does meets
 * both. `node bench/src/clamd.ts [--rounds N] [--seconds N] [--at-once N] [--json]`
 */
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "1" },
    "at-once": { type: "string", default: "8" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Number(values.rounds);
const roundMs = 1000 * Number(values.seconds);
/** Demanded of the ratio. */
const least = 0.8;
const atOnce = Number(values["at-once"]);
const sizes = [4 * 1024, 50 * 1024, 1024 * 1024];

/** Per second, for one size of mail. */
export interface ClamdFigures {
  size: number;
  client: Spread;
  bare: Spread;
  ratio: Spread & Judgement<AtLeast>;
}

async function run(): Promise<ClamdFigures[]> {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-bench-clamd-"));
  const clamd = await startClamd({ dir });
  const address = parseClamdAddress(clamd.address);
  if (address === undefined) throw new Error(clamd.address);
  const check = createCanaryCheck({ allowBlind: [], now: () => new Date() });
  const options = { ...defaultPoolOptions, sessions: 1, depth: atOnce };
  const pool = new ClamdPool([address], options, { check, log: createSilentLogger() });
  try {
    await pool.check(new AbortController().signal);
    const figures: ClamdFigures[] = [];
    for (const size of sizes) figures.push(await measure(size, pool, address));
    return figures;
  } finally {
    pool.close();
    await clamd.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

async function measure(
  size: number,
  pool: ClamdPool,
  address: ClamdAddress,
): Promise<ClamdFigures> {
  const pairs: { client: number; bare: number }[] = [];
  await clientRound(pool, size);
  await bareRound(address, size);
  for (let round = 0; round < rounds; round++) {
    pairs.push({ client: await clientRound(pool, size), bare: await bareRound(address, size) });
  }
  const ratios = pairs.map(({ client, bare }) => client / bare);
  return {
    size,
    client: spreadOf(pairs.map(({ client }) => client)),
    bare: spreadOf(pairs.map(({ bare }) => bare)),
    ratio: { ...spreadOf(ratios), ...judge(ratios, { least }) },
  };
}

let nonce = 0;

/** New bytes each time: clamd remembers by hash what it found clean. */
function freshMail(size: number): Buffer {
  const head = `Subject: bench ${nonce++}\r\nMessage-ID: <${nonce}@bench>\r\n\r\n`;
  return Buffer.alloc(size, "0123456789 lorem ipsum dolor sit amet\r\n").fill(head, 0, head.length);
}

async function clientRound(pool: ClamdPool, size: number): Promise<number> {
  const begin = performance.now();
  const never = new AbortController().signal;
  let scans = 0;
  const work = async () => {
    while (performance.now() - begin < roundMs) {
      const { finding } = await pool.scan({ kind: "bytes", bytes: freshMail(size) }, never);
      if (finding.kind !== "clean") throw new Error(JSON.stringify(finding));
      scans++;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return (1000 * scans) / (performance.now() - begin);
}

function bareRound(address: ClamdAddress, size: number): Promise<number> {
  if (address.kind === "unix") throw new Error("the bare round goes by TCP");
  const { host, port } = address;
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host, port, noDelay: true });
    const begin = performance.now();
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
        if (performance.now() - begin < roundMs) send();
      }
      if (answered < sent) return;
      resolve((1000 * answered) / (performance.now() - begin));
      socket.destroy();
    });
    socket.write("zIDSESSION\0");
    for (let i = 0; i < atOnce; i++) send();
  });
}

function show(figures: readonly ClamdFigures[]): string {
  const table = new Table({
    head: ["bytes", "client, scans/s", "bare loop, scans/s", "ratio"],
    style: { head: [], border: [] },
  });
  for (const { size, client, bare, ratio } of figures) {
    table.push([
      size,
      spreadText(client),
      spreadText(bare),
      `${spreadText(ratio, 2)}\n${judgementText(ratio)}`,
    ]);
  }
  return `${table.toString()}\nmedian (min–max) of ${rounds} rounds, ${atOnce} at once`;
}

const figures = await run();
process.stdout.write(`${values.json ? JSON.stringify(figures) : show(figures)}\n`);
