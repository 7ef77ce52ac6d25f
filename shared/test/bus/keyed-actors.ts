import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { stringify } from "yaml";
import { Push } from "zeromq";
import { createCurveKey, formatSecretFile, type CurveKey } from "../../src/bus/curve-key.ts";
import { busKinds, type ListedKey } from "../../src/bus/allow-list.ts";
import { handshakeFailures, type HandshakeFailure } from "../../src/bus/handshake.ts";
import { openBusProtection } from "../../src/bus/protection.ts";
import type { WorkerPoolDeps } from "../../src/bus/worker-pool.ts";
import { systemClock } from "../../src/clock.ts";
import type { WorkerDeps } from "../../src/worker/worker.ts";
import { createMemoryLog, openPool, openWorker, type ObservedPool } from "./pool-and-worker.ts";

/** A folder with a key for each kind and the list of all keys. */
export interface KeyFolder {
  folder: string;
  keys: Record<"dispatcher" | "av-worker" | "spam-worker" | "enricher" | "relay", CurveKey>;
  list: ListedKey[];
  /** BUS_KEY_FILE and BUS_ALLOW_FILE. */
  env(name: string): { BUS_KEY_FILE: string; BUS_ALLOW_FILE: string };
  /** Makes a key and its file; no list names it yet. */
  make(name: string): CurveKey;
  /** Writes the list as it is now. */
  write(): void;
}

/** Removed when the test is over. */
export function makeKeyFolder(): KeyFolder {
  const folder = mkdtempSync(join(tmpdir(), "bus-keys-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const fileOf = (name: string) => join(folder, `${name}.key`);
  const make = (name: string) => {
    const key = createCurveKey();
    writeFileSync(fileOf(name), formatSecretFile(key, name, new Date()), { mode: 0o600 });
    return key;
  };
  const keys = Object.fromEntries(busKinds.map((kind) => [kind, make(kind)])) as KeyFolder["keys"];
  const list = (Object.keys(keys) as (keyof typeof keys)[]).map((kind): ListedKey => ({
    name: kind,
    publicKey: keys[kind].publicKey,
    kinds: [kind],
  }));
  const allowFile = join(folder, "allow.yaml");
  const write = () => {
    writeFileSync(`${allowFile}.new`, stringify({ keys: list }));
    renameSync(`${allowFile}.new`, allowFile);
  };
  write();
  const env = (name: string) => ({ BUS_KEY_FILE: fileOf(name), BUS_ALLOW_FILE: allowFile });
  return { folder, keys, list, env, make, write };
}

/** A dispatcher's pool with the key of this name. */
export async function openKeyedPool(
  keyFolder: KeyFolder,
  name = "dispatcher",
  deps: Partial<WorkerPoolDeps> = {},
): Promise<ObservedPool> {
  const { log, lines } = createMemoryLog();
  const settings = keyFolder.env(name);
  const protection = openBusProtection(settings, { kind: "dispatcher", clock: systemClock, log });
  onTestFinished(() => protection.close());
  return { ...(await openPool({ protection, log, ...deps })), lines };
}

/** A worker with the key of this name. */
export function openKeyedWorker(
  keyFolder: KeyFolder,
  dispatchers: string | readonly string[],
  name = "av-worker",
  deps: Partial<Omit<WorkerDeps, "config">> & { env?: Record<string, string> } = {},
) {
  return openWorker(dispatchers, { ...deps, env: { ...keyFolder.env(name), ...deps.env } });
}

/** A socket of a stranger with these keys: what a peer may try that is not one of our programs. */
export function openKeyedPush(endpoint: string, key: CurveKey, serverKey: string): Push {
  const push = new Push({
    linger: 0,
    immediate: true,
    curveServerKey: serverKey,
    curvePublicKey: key.publicKey,
    curveSecretKey: key.secretKey,
  });
  onTestFinished(() => push.close());
  push.connect(endpoint);
  return push;
}

/** How the handshake of such a socket ends. */
export function handshakeOf(push: Push): Promise<"accepted" | HandshakeFailure> {
  return new Promise((resolve) => {
    push.events.on("handshake", () => resolve("accepted"));
    handshakeFailures(push, resolve);
  });
}

/** The log lines whose message matches. */
export function linesLike(lines: readonly Record<string, unknown>[], pattern: RegExp) {
  return lines.filter(({ msg }) => pattern.test(String(msg)));
}
