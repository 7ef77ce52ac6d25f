import type { Clock } from "@rs-agent/shared/clock.ts";
import { askCanaries } from "../canary.ts";
import type { SpamEngine } from "../spam-engine.ts";
import { createSpamdClient, type SpamdClientOptions } from "./client.ts";
import { judge, type RuleDetail } from "./judge.ts";
import { returnPath } from "./return-path.ts";

/**
 * spamd as a client for the pool. The mail is preceded by the SMTP sender as Return-Path
 * (SpamAssassin's EnvelopeFrom). Its first Received line is our own and names the client, so that
 * rules about relays judge the right hop. The canaries also tell spamd's version, and whether its
 * report can be read.
 */
export function createSpamdEngine(options: SpamdClientOptions & { clock: Clock }): SpamEngine {
  const { clock } = options;
  const client = createSpamdClient(options);
  let detail: RuleDetail = "report";
  return {
    name: "spamd",
    address: client.address,
    ask: ({ raw, smtp, user }, asked) => {
      const named = user === undefined ? asked : { ...asked, user };
      return judge(client, [returnPath(smtp.mailFrom), raw], detail, { ...named, clock });
    },
    async putCanariesThrough(asked) {
      const told = await askCanaries(
        clock,
        (mail) => client.report([mail], asked),
        (mail) => client.headers([mail], asked),
      );
      if (told.kind === "unable") return told;
      detail = told.spam.rules === undefined ? "symbols" : "report";
      return { kind: "able", engine: { name: "spamd", version: versionOf(told.ham.headers) } };
    },
    close: () => undefined,
  };
}

/** From `X-Spam-Checker-Version: SpamAssassin 4.0.1 (2024-03-25) on host`, which a site may drop. */
function versionOf(headers: Buffer): string {
  const block = headers.toString("latin1");
  const version = /^X-Spam-Checker-Version: SpamAssassin ([\w.-]{1,40})/im.exec(block);
  return version?.[1] ?? "unknown";
}
