import { createCanaryCheck } from "@rs-agent/av-worker/canaries.ts";
import { parseClamdAddress, type ClamdAddress } from "@rs-agent/av-worker/clamd/address.ts";
import * as clamd from "@rs-agent/av-worker/clamd/command.ts";
import type { SpamEngineClient } from "@rs-agent/spam-worker/engine-client.ts";
import { createRspamdEngine } from "@rs-agent/spam-worker/rspamd/engine.ts";
import { createSpamdEngine } from "@rs-agent/spam-worker/spamd/engine.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { clamdConfOf, type ClamdConf } from "../clamd-conf.ts";
import { diagnoseLimits } from "../clamd-limits.ts";
import { diagnoseReload, readReloadFacts } from "../clamd-reload.ts";
import { engineText } from "../explain.ts";
import type { PeerConfig } from "../peer-config.ts";
import type { Diagnosis } from "./diagnosis.ts";

const engineTimeoutMs = 5_000;
/** An engine has a few mails to check, and others before them. */
const canaryLimits = {
  timeoutMs: 15_000,
  connectTimeoutMs: engineTimeoutMs,
  maxReplyBytes: 100_000,
};

/** `ownConf`: where a clamd of `npm start` has its configuration. */
export async function diagnoseClamd(
  text: string,
  named: ClamdConf | undefined,
  peers: PeerConfig,
  ownConf?: string,
): Promise<Diagnosis[]> {
  const part = "clamd";
  const address = parseClamdAddress(text);
  if (address === undefined) {
    const advice = "give host:port or /path";
    return [{ part, ok: false, found: `${text} is not an address`, advice }];
  }
  const signal = AbortSignal.timeout(engineTimeoutMs);
  try {
    const [version = ""] = await clamd.ask(address, "VERSION", { signal });
    const conf = named ?? (await clamdConfOf(address, ownConf));
    const facts = await readReloadFacts(address, signal, conf);
    return [
      { part, ok: true, found: `${text}: ${version}` },
      await diagnoseCanaries(address, peers),
      diagnoseLimits(conf),
      diagnoseReload(facts),
    ];
  } catch (error) {
    const advice =
      "start clamd (systemctl start clamav-daemon), or set AV_CLAMD; mail waits until then";
    return [{ part, ok: false, found: messageOf(error), advice }];
  }
}

/** What an av-worker asks before it takes work. */
async function diagnoseCanaries(
  address: ClamdAddress,
  { AV_ALLOW_BLIND: allowBlind }: PeerConfig,
): Promise<Diagnosis> {
  const part = "clamd canaries";
  const check = createCanaryCheck({ allowBlind, now: () => systemClock.now() });
  const state = await check(address, AbortSignal.timeout(canaryLimits.timeoutMs));
  if (state.kind === "able") {
    const blind = state.blind.length === 0 ? "" : `; AV_ALLOW_BLIND: ${state.blind.join(", ")}`;
    return { part, ok: true, found: `finds EICAR, says where it cannot look${blind}` };
  }
  const advice = "correct that and restart clamd; no worker takes mail with it until then";
  return { part, ok: false, found: state.reason, advice };
}

export function diagnoseSpamd(address: string): Promise<Diagnosis> {
  const advice = "start spamd (systemctl start spamd), or set SPAM_SPAMD; mail waits until then";
  return diagnoseSpamEngine("spamd", advice, () =>
    createSpamdEngine({ address, clock: systemClock, ...canaryLimits }),
  );
}

export function diagnoseRspamd(address: string, config: PeerConfig): Promise<Diagnosis> {
  const advice = "start rspamd (systemctl start rspamd), or set SPAM_RSPAMD; mail waits until then";
  const known = {
    requiredPoints: config.SPAM_RSPAMD_REQUIRED,
    taskTimeoutMs: config.SPAM_RSPAMD_TASK_TIMEOUT_MS,
  };
  return diagnoseSpamEngine("rspamd", advice, () =>
    createRspamdEngine({ address, clock: systemClock, ...known, ...canaryLimits }),
  );
}

/** Asks it what a spam-worker asks before it takes work. */
async function diagnoseSpamEngine(
  part: string,
  advice: string,
  connect: () => SpamEngineClient,
): Promise<Diagnosis> {
  try {
    const engine = connect();
    const { timeoutMs } = canaryLimits;
    const asked = { signal: AbortSignal.timeout(2 * timeoutMs), timeoutMs };
    const outcome = await engine.putCanariesThrough(asked).finally(() => engine.close());
    if (outcome.kind === "unable") return { part, ok: false, found: outcome.reason, advice };
    const found = `${engine.address}: ${engineText(outcome.engine)}; GTUBE is spam to it, a clean mail ham`;
    return { part, ok: true, found };
  } catch (error) {
    return { part, ok: false, found: messageOf(error), advice };
  }
}
