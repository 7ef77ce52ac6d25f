import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** `127.0.0.1:port` of a real clamd with our own signatures. */
    clamd: string;
    /** Path of the same clamd's unix socket. */
    clamdSocket: string;
  }
}

/** One real clamd for all tests. Tests that stop or misconfigure one start their own. */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-clamd-"));
  const clamd = await startClamd({ dir });
  project.provide("clamd", clamd.address);
  project.provide("clamdSocket", clamd.socketPath);
  return async () => {
    await clamd.stop();
    await rm(dir, { recursive: true, force: true });
  };
}
