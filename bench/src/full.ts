import { join } from "node:path";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";
import { startSpamd } from "@rs-agent/kit/engines/spamd.ts";
import { compareServers, comparisonOptions, onStage, printReport } from "./comparison.ts";
import { proveServer } from "./mail-server.ts";
import { startOurs } from "./our-system.ts";
import { startAmavisd } from "./peers/amavisd.ts";
import { peerNeeds, provide, versionOf } from "./peers/needs.ts";
import { bareSpamdSubject } from "./spamd-loop.ts";

/**
 * SMTP in, clamd and SpamAssassin with two children, SMTP out: our system next to amavisd-new,
 * which has SpamAssassin built in, and to what spamd does when it does nothing else. `node
 * bench/src/full.ts [--rounds N] [--seconds N] [--connections N] [--size BYTES,…] [--json]`
 */
const options = comparisonOptions({ sizes: [4 * 1024], seconds: 15 });
const targets = [
  { against: "amavisd", least: 1.3 },
  { against: "spamd alone", least: 0.95 },
];
const children = 2;

await provide(peerNeeds.clamd, peerNeeds.spamd, peerNeeds.amavisd);
const report = await onStage(async (stage) => {
  const { runDir, sink, signal, keep } = stage;
  const clamd = keep(await startClamd({ dir: join(runDir, "clamd"), signal }));
  const running = keep(await startSpamd({ dir: join(runDir, "spamd"), signal, children }));
  const spamd = { running, children };
  const ours = keep(await startOurs({ runDir: join(runDir, "ours"), sink, signal, clamd, spamd }));
  const dir = join(runDir, "amavisd");
  const peer = keep(
    await startAmavisd({ dir, sinkPort: sink.port, children, clamd, likeSpamd: running }),
  );
  for (const server of [ours, peer]) await proveServer(server, sink, { virus: true, spam: true });
  const compared = await compareServers(stage, [ours, peer], options, targets, async (bytes) => [
    await bareSpamdSubject({ ...spamd, bytes, roundMs: options.roundMs }),
  ]);
  compared.conditions.about["clamd"] = await versionOf("clamav-daemon");
  compared.conditions.about["spamd"] = `${await versionOf("spamassassin")}, ${children} children`;
  return compared;
});
printReport(report, options.json);
