import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startSpamd } from "@rs-agent/kit/engines/spamd.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** `127.0.0.1:port` of a real spamd with two children and the rules below. */
    spamd: string;
    /** One folder per user name, into which a test may write a `user_prefs`. */
    spamdUsersDir: string;
  }
}

/** Rules that show a test whom SpamAssassin takes for the sender and for the last hop. */
const rules = [
  String.raw`header RS_TEST_ENVELOPE_FROM EnvelopeFrom =~ /^sender\@envelope\.example$/`,
  "score RS_TEST_ENVELOPE_FROM 0.01",
  String.raw`header RS_TEST_LAST_HOP X-Spam-Relays-Untrusted =~ /^\[ ip=198\.51\.100\.7 /`,
  "score RS_TEST_LAST_HOP 0.01",
];

/** One private spamd for all tests; `inject("spamd")` is its address. */
export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), "rs-agent-test-spamd-"));
  // If we are root, spamd's children run as another user.
  await chmod(dir, 0o755);
  const spamd = await startSpamd({ dir, children: 2, config: rules });
  project.provide("spamd", spamd.address);
  project.provide("spamdUsersDir", spamd.usersDir);
  return async () => {
    await spamd.stop();
    await rm(dir, { recursive: true, force: true });
  };
}
