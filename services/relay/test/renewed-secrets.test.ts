import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import { relayConfigSchema } from "../src/config.ts";
import { NextHop } from "../src/next-hop.ts";
import { openTrusted } from "../src/trusted.ts";
import { routeTo } from "./ready-mail.ts";
import { quickSettings, runningSink } from "./running-relay.ts";
import { selfSigned } from "./self-signed.ts";

const { timeouts } = loadConfig(relayConfigSchema, quickSettings("none"));
const forEver = new AbortController().signal;
const hopKeys = selfSigned("localhost");

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "relay-test-secrets-"));
  onTestFinished(() => rm(dir, { recursive: true }));
});

/** Opens sessions that are not reused: each shows what is read for it. */
async function connecting(port: number, given: Partial<Route>, caFile: string) {
  const hop = new NextHop(routeTo(port, { tls: "required", host: "localhost", ...given }), {
    hostname: "relay.example",
    timeouts,
    trusted: await openTrusted(caFile, createSilentLogger()),
    secretsDir: dir,
    clock: systemClock,
    limit: 4,
    idleMs: 60_000,
  });
  onTestFinished(() => hop.close());
  return async () => {
    const acquired = await hop.acquire(forEver);
    if (acquired.kind === "failed") return acquired.failure.reply;
    await hop.release(acquired.session);
    acquired.session.destroy("a new session each time");
    return "open";
  };
}

describe("certificates that a relay trusts", () => {
  it("are read again for each session, and the last good ones stay if the file is bad", async () => {
    const sink = await runningSink({ tls: hopKeys });
    const caFile = join(dir, "ca.pem");
    await writeFile(caFile, selfSigned("other").cert);
    const connect = await connecting(sink.port, {}, caFile);
    expect(await connect()).toContain("self-signed certificate");
    await writeFile(caFile, hopKeys.cert);
    expect(await connect()).toBe("open");
    await writeFile(caFile, "nonsense");
    expect(await connect()).toBe("open");
    await writeFile(caFile, selfSigned("other").cert);
    expect(await connect()).toContain("self-signed certificate");
  });

  it("are refused at the start if the file holds none, and the file is named", async () => {
    const path = join(dir, "none.pem");
    await expect(openTrusted(path, createSilentLogger())).rejects.toMatchObject({
      code: "CFG_INVALID",
      message: expect.stringMatching(/^RELAY_TLS_CA_FILE: .*none\.pem/) as string,
    });
  });
});

describe("a client certificate", () => {
  it("is shown to a hop that wants one, and read again for each session", async () => {
    const [mine, renewed] = [selfSigned("relay.example"), selfSigned("relay.example")];
    const tls = { ...hopKeys, ca: [mine.cert], requestCert: true, rejectUnauthorized: true };
    const sink = await runningSink({ tls });
    const caFile = join(dir, "ca.pem");
    await writeFile(caFile, hopKeys.cert);
    const connect = await connecting(sink.port, { credential: "hop" }, caFile);
    const put = async ({ key, cert }: { key: string; cert: string }) => {
      await writeFile(join(dir, "hop", "tls.key"), key);
      await writeFile(join(dir, "hop", "tls.crt"), cert);
    };
    await mkdir(join(dir, "hop"));
    expect(await connect()).toContain("credential hop cannot be read");
    await put(renewed);
    expect(await connect()).not.toBe("open");
    await put({ ...mine, key: renewed.key });
    expect(await connect()).toContain("the key does not fit the certificate");
    await put(mine);
    expect(await connect()).toBe("open");
  });
});
