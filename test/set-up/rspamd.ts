import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startRspamd } from "@rs-agent/kit/engines/rspamd.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** `127.0.0.1:port` of a real rspamd with two processes and the rules below. */
    rspamd: string;
  }
}

/** Rules that show a test what rspamd was told besides the mail. */
const multimap = [
  'RS_TEST_ENVELOPE_FROM { type = "from"; map = ["sender@envelope.example"]; score = 0.01; }',
  'RS_TEST_ENVELOPE_RCPT { type = "rcpt"; map = ["b@example.com"]; score = 0.01; }',
  'RS_TEST_LAST_HOP { type = "ip"; map = ["198.51.100.7"]; score = 0.01; }',
  'RS_TEST_HELO { type = "helo"; map = ["client.example.net"]; score = 0.01; }',
].join("\n");

/** One private rspamd for all tests; `inject("rspamd")` is its address. */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-test-rspamd-"));
  // If we are root, rspamd's processes run as another user.
  await chmod(dir, 0o755);
  const rspamd = await startRspamd({
    dir,
    processes: 2,
    local: { "multimap.conf": `${multimap}\n` },
  });
  project.provide("rspamd", rspamd.address);
  return async () => {
    await rspamd.stop();
    await rm(dir, { recursive: true, force: true });
  };
}
