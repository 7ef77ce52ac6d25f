import { join } from "node:path";
import { startSpamd } from "@rs-agent/kit/engines/spamd.ts";
import {
  caseOf,
  comparisonOptions,
  onStage,
  printReport,
  say,
  sizeText,
  type ComparisonCase,
} from "./comparison.ts";
import { peerNeeds, provide, versionOf } from "./peers/needs.ts";
import { interleave } from "./rounds.ts";
import { bareSpamdSubject, spamcSubject, spamdClientSubject } from "./spamd-loop.ts";

/**
 * Checks per second by the spam-worker's client, by a bare loop on the socket and by spamc, one
 * process per mail, all asking the same spamd with two children. `node bench/src/spamd.ts [--rounds
 * N] [--seconds N] [--size BYTES,…] [--json]`
 */
const options = comparisonOptions({ sizes: [4 * 1024], seconds: 10 });
const { rounds, roundMs } = options;
const children = 2;

await provide(peerNeeds.spamd, peerNeeds.spamc);
const report = await onStage(async ({ runDir, signal, keep, conditions }) => {
  const running = keep(await startSpamd({ dir: join(runDir, "spamd"), signal, children }));
  const cases: ComparisonCase[] = [];
  for (const bytes of options.sizes) {
    const load = { running, children, bytes, roundMs };
    const subjects = [
      await spamdClientSubject(load),
      await bareSpamdSubject(load),
      await spamcSubject(load),
    ];
    cases.push(caseOf(sizeText(bytes), await interleave(subjects, rounds, say), []));
  }
  const about = { spamd: `${await versionOf("spamassassin")}, ${children} children` };
  return { conditions: conditions(rounds, about), cases };
});
printReport(report, options.json);
