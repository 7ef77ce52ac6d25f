import { join } from "node:path";
import { compareServers, comparisonOptions, onStage, printReport } from "./comparison.ts";
import { proveServer } from "./mail-server.ts";
import { startOurs } from "./our-system.ts";
import { startBestAmavisd } from "./peers/best-amavisd.ts";
import { peerNeeds, provide } from "./peers/needs.ts";
import { startPostfix } from "./peers/postfix.ts";

/**
 * SMTP in, no check, SMTP out: our system next to amavisd-new without checks, and to postfix that
 * only relays. `node bench/src/none.ts [--rounds N] [--seconds N] [--connections N] [--size
 * BYTES,…] [--json]`
 */
const options = comparisonOptions({ sizes: [4 * 1024], seconds: 5 });
const targets = [
  { against: "amavisd", least: 6 },
  { against: "postfix", least: 0.8 },
];

await provide(peerNeeds.postfix, peerNeeds.amavisd);
const report = await onStage(async (stage) => {
  const { runDir, sink, signal, keep } = stage;
  const load = { sink, bytes: options.sizes[0] ?? 4_096, ...options };
  const ours = keep(await startOurs({ runDir: join(runDir, "ours"), sink, signal }));
  const amavisd = { dir: join(runDir, "amavisd"), sinkPort: sink.port };
  const peers = [
    keep(await startBestAmavisd(amavisd, load)),
    keep(await startPostfix({ dir: join(runDir, "postfix"), sinkPort: sink.port })),
  ];
  const servers = [ours, ...peers];
  for (const server of servers) await proveServer(server, sink, { virus: false, spam: false });
  return compareServers(stage, servers, options, targets);
});
printReport(report, options.json);
