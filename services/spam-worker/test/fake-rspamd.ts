import { gtube } from "../src/canary.ts";
import { startFakeEngine, type FakeEngine, type FakeRequest, type Script } from "./fake-engine.ts";

/** Speaks HTTP like rspamd 3.4: `POST /checkv2`, one request per connection. */
export async function startFakeRspamd(
  fault: Script = () => undefined,
  port = 0,
): Promise<FakeEngine> {
  return startFakeEngine((request) => http(ordinaryAnswer(request)), fault, {
    port,
    allowHalfOpen: false,
  });
}

/** rspamd never does this; a proxy in front of it may. */
export async function startKeepingRspamd(fault: Script = () => undefined): Promise<FakeEngine> {
  return startFakeEngine((request) => http(ordinaryAnswer(request), { keeps: true }), fault, {
    keeps: true,
    allowHalfOpen: false,
  });
}

/** A whole HTTP answer. */
export function http(
  body: unknown,
  { status = "200 OK", keeps = false }: { status?: string; keeps?: boolean } = {},
): string {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return [
    `HTTP/1.1 ${status}`,
    `Connection: ${keeps ? "keep-alive" : "close"}`,
    "Server: rspamd/3.4",
    `Content-Length: ${Buffer.byteLength(text)}`,
    "Content-Type: application/json",
    "",
    text,
  ].join("\r\n");
}

/** What rspamd says about a mail in which it found next to nothing, with changes. */
export function reply(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    is_skipped: false,
    score: 1,
    required_score: 15,
    action: "no action",
    symbols: { RDNS_NONE: { name: "RDNS_NONE", score: 1, metric_score: 1 } },
    messages: {},
    "message-id": "undef",
    time_real: 0.01,
    milter: { remove_headers: { "X-Spam": 0 } },
    ...changes,
  };
}

/** As rspamd 3.4 was seen to answer: it knows GTUBE immediately and runs no rule. */
export const gtubeReply = {
  is_skipped: true,
  score: 15,
  required_score: 15,
  action: "reject",
  symbols: { GTUBE: { name: "GTUBE", score: 0, metric_score: 0 } },
  messages: { smtp_message: "Gtube pattern" },
};

function ordinaryAnswer({ body }: FakeRequest): Record<string, unknown> {
  return body.includes(gtube()) ? gtubeReply : reply();
}
