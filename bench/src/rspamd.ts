import { join } from "node:path";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";
import { startRspamd } from "@rs-agent/kit/engines/rspamd.ts";
import { startSpamd } from "@rs-agent/kit/engines/spamd.ts";
import { compareServers, comparisonOptions, onStage, printReport } from "./comparison.ts";
import { proveServer, type MailServer } from "./mail-server.ts";
import { startOurs } from "./our-system.ts";
import { startAmavisd } from "./peers/amavisd.ts";
import { peerNeeds, provide, versionOf } from "./peers/needs.ts";
import { startPostfixWithRspamd } from "./peers/rspamd.ts";
import { bareRspamdSubject } from "./rspamd-loop.ts";

/**
 * SMTP in, clamd and rspamd, SMTP out: our system next to what one would pick today, postfix with
 * rspamd as its milter and clamd through its antivirus module; also `full`'s amavisd-new, and
 * rspamd asked by a bare client. Each side has its own rspamd with the same rules and two
 * processes. `node bench/src/rspamd.ts [--rounds N] [--seconds N] [--connections N] [--size
 * BYTES,…] [--json]`
 */
const options = comparisonOptions({ sizes: [4 * 1024], seconds: 5 });
const targets = [
  { against: "postfix + rspamd", least: 1 },
  { against: "amavisd", least: 10 },
];
const processes = 2;

await provide(
  peerNeeds.clamd,
  peerNeeds.spamd,
  peerNeeds.postfix,
  peerNeeds.rspamd,
  peerNeeds.amavisd,
);
const report = await onStage(async (stage) => {
  const { runDir, sink, signal, keep } = stage;
  const sinkPort = sink.port;
  const clamd = keep(await startClamd({ dir: join(runDir, "clamd"), signal }));
  const spamd = keep(await startSpamd({ dir: join(runDir, "spamd"), signal, children: processes }));
  const amavisd = { dir: join(runDir, "amavisd"), sinkPort, clamd, likeSpamd: spamd };
  const postfix = { dir: join(runDir, "postfix"), sinkPort, clamd, processes };
  const own = { dir: join(runDir, "our-rspamd"), processes, isFull: true, signal };
  const rspamd = keep(await startRspamd(own));
  const servers: MailServer[] = [
    keep(await startOurs({ runDir: join(runDir, "ours"), sink, signal, clamd, rspamd })),
    keep(await startPostfixWithRspamd(postfix)),
    keep(await startAmavisd({ ...amavisd, children: processes })),
  ];
  for (const server of servers) await proveServer(server, sink, { virus: true, spam: true });
  const compared = await compareServers(stage, servers, options, targets, async (bytes) => [
    await bareRspamdSubject({ rspamd, bytes, roundMs: options.roundMs }),
  ]);
  compared.conditions.about["clamd"] = await versionOf("clamav-daemon");
  return compared;
});
printReport(report, options.json);
