import { join } from "node:path";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";
import { compareServers, comparisonOptions, onStage, printReport } from "./comparison.ts";
import { proveServer } from "./mail-server.ts";
import { startOurs } from "./our-system.ts";
import { startBestAmavisd } from "./peers/best-amavisd.ts";
import { peerNeeds, provide, versionOf } from "./peers/needs.ts";

/**
 * SMTP in, clamd, SMTP out: our system next to amavisd-new with nothing but clamd on, both asking
 * the same private clamd. `node bench/src/av.ts [--rounds N] [--seconds N] [--connections N]
 * [--size BYTES,…] [--json]`
 */
const options = comparisonOptions({ sizes: [4 * 1024, 50 * 1024], seconds: 5 });
const targets = [{ against: "amavisd", least: 5 }];

await provide(peerNeeds.clamd, peerNeeds.amavisd);
const report = await onStage(async (stage) => {
  const { runDir, sink, signal, keep } = stage;
  const clamd = keep(await startClamd({ dir: join(runDir, "clamd"), signal }));
  const load = { sink, bytes: options.sizes[0] ?? 4_096, ...options };
  const ours = keep(await startOurs({ runDir: join(runDir, "ours"), sink, signal, clamd }));
  const dir = join(runDir, "amavisd");
  const peer = keep(await startBestAmavisd({ dir, sinkPort: sink.port, clamd }, load));
  for (const server of [ours, peer]) await proveServer(server, sink, { virus: true, spam: false });
  const compared = await compareServers(stage, [ours, peer], options, targets);
  compared.conditions.about["clamd"] = await versionOf("clamav-daemon");
  return compared;
});
printReport(report, options.json);
