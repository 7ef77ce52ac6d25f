import { join } from "node:path";
import { mailSubject, type MailLoad, type MailServer } from "../mail-server.ts";
import { say } from "../comparison.ts";
import { startAmavisd, type AmavisdOptions } from "./amavisd.ts";

const counts = [2, 4, 8];

/** amavisd with the number of children that is fastest, found with one round each. */
export async function startBestAmavisd(
  options: Omit<AmavisdOptions, "children">,
  load: MailLoad,
): Promise<MailServer> {
  let best = { children: 0, perSecond: 0 };
  for (const children of counts) {
    const dir = join(options.dir, String(children));
    const server = await startAmavisd({ ...options, dir, children });
    try {
      const { perSecond } = await (await mailSubject(server, load)).round();
      say(`amavisd with ${children} children: ${perSecond.toFixed(1)}/s`);
      if (perSecond > best.perSecond) best = { children, perSecond };
    } finally {
      await server.stop();
    }
  }
  const { children } = best;
  return startAmavisd({ ...options, dir: join(options.dir, "best"), children });
}
