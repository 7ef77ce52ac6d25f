import type { Clock } from "@rs-agent/shared/clock.ts";
import type { SpamEngineClient } from "../engine-client.ts";
import { putCanariesThrough } from "./canaries.ts";
import { createSpamdClient, type SpamdClientOptions } from "./client.ts";
import { judge, type RuleDetail } from "./judge.ts";
import { returnPath } from "./return-path.ts";

/**
 * spamd as the pool has it. The mail gets the SMTP sender in front as Return-Path (SpamAssassin's
 * EnvelopeFrom); its first Received line is our own and names the client, so that rules about relays
 * judge the right hop.
 * @throws TerminalError CFG_INVALID for an address of no known form
 */
export function createSpamdEngine(
  options: SpamdClientOptions & { clock: Clock },
): SpamEngineClient {
  const { clock } = options;
  const client = createSpamdClient(options);
  let detail: RuleDetail = "report";
  return {
    engineName: "spamd",
    address: client.address,
    judge: ({ raw, smtp, user }, asked) => {
      const named = user === undefined ? asked : { ...asked, user };
      return judge(client, [returnPath(smtp.mailFrom), raw], detail, { ...named, clock });
    },
    async putCanariesThrough(asked) {
      const outcome = await putCanariesThrough(client, clock, asked);
      if (outcome.kind === "able") detail = outcome.detail;
      return outcome;
    },
    close: () => undefined,
  };
}
