import { generateKeyPairSync } from "node:crypto";
import type { EnrichTask } from "@rs-agent/shared/bus/wire.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { newToken, sha256Hex } from "@rs-agent/shared/ids.ts";
import { settingsHashOf, type EnrichSettings } from "@rs-agent/shared/mail/task-settings.ts";
import { enrich, type EnrichDeps } from "./enrich.ts";

const raw = Buffer.from(
  [
    "Received: from canary (localhost [127.0.0.1]) by localhost with ESMTP id canary;",
    "\tMon, 1 Jun 2026 12:00:00 +0000",
    "From: Canary <canary@canary.invalid>",
    "To: canary@canary.invalid",
    "Subject: canary",
    "X-Spam-Status: No, forged",
    "",
    "Does the enricher change and sign this?",
    "",
  ].join("\r\n"),
);

/**
 * A small mail that goes the way of every mail, signed with a key of this process and verified. The
 * canary resolves to what went wrong, or undefined.
 */
export function createCanary(
  deps: EnrichDeps,
): (signal: AbortSignal) => Promise<string | undefined> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const settings: EnrichSettings = {
    spamThreshold: 5,
    changes: [
      { kind: "strip" },
      { kind: "verdict-headers" },
      { kind: "geoip" },
      {
        kind: "sign",
        domain: "canary.invalid",
        selector: "canary",
        privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      },
    ],
  };
  return async (signal) => {
    try {
      const { output, bytes } = await enrich(raw, canaryTask(settings), deps, signal);
      if (output.kind === "unable") return `the canary was not enriched: ${output.reason}`;
      const header = bytes?.toString("latin1") ?? "";
      if (header.includes("forged")) return "the canary's forged header was not stripped";
      return header.startsWith("DKIM-Signature:") ? undefined : "the canary was not signed";
    } catch (error) {
      return `the canary failed: ${messageOf(error)}`;
    }
  };
}

function canaryTask(settings: EnrichSettings): EnrichTask {
  return {
    v: 1,
    kind: "task",
    task: "enrich",
    from: "canary",
    session: newToken(),
    taskId: newToken(),
    sequence: 1,
    mailId: "canary",
    attempt: 1,
    sha256: sha256Hex(raw),
    size: raw.length,
    settingsHash: settingsHashOf(settings),
    deadlineMs: 10_000,
    smtp: {
      mailFrom: "canary@canary.invalid",
      rcptTo: ["canary@canary.invalid"],
      client: { address: "127.0.0.1", name: "localhost", helo: "localhost" },
    },
    settings,
    verdicts: {},
  };
}
