import { gtube } from "../src/canary.ts";
import { startFakeEngine, type FakeEngine, type FakeRequest, type Script } from "./fake-engine.ts";

/** Speaks spamd/PROTOCOL like spamd 4.0. */
export async function startFakeSpamd(
  fault: Script = () => undefined,
  port = 0,
): Promise<FakeEngine> {
  const learned = new Map<string, string>();
  return startFakeEngine((request) => ordinaryAnswer(request, learned), fault, { port });
}

function ordinaryAnswer(request: FakeRequest, learned: Map<string, string>): string {
  const spam = request.body.includes(gtube());
  const score = spam ? "Spam: True ; 1000.1 / 5.0" : "Spam: False ; 0.1 / 5.0";
  const reply = (body: string) =>
    `SPAMD/1.1 0 EX_OK\r\nContent-length: ${body.length}\r\n${score}\r\n\r\n${body}`;
  switch (request.method) {
    case "PING":
      return "SPAMD/1.5 0 PONG\r\n";
    case "CHECK":
      return `SPAMD/1.1 0 EX_OK\r\n${score}\r\n\r\n`;
    case "SYMBOLS":
      return reply(spam ? "GTUBE,RDNS_NONE" : "RDNS_NONE");
    case "REPORT":
      return reply(report(spam));
    case "HEADERS":
      return reply("X-Spam-Checker-Version: SpamAssassin 4.0.1 (2024-03-25) on fake\r\n\r\n");
    case "TELL":
      return `SPAMD/1.1 0 EX_OK\r\n${tell(request, learned)}\r\n\r\n`;
    default:
      return `SPAMD/1.0 76 Bad header line: ${request.method}\r\n`;
  }
}

function report(spam: boolean): string {
  return [
    "Content analysis details:",
    "",
    " pts rule name              description",
    "---- ---------------------- --------------------------------------------------",
    ...(spam ? ["1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email"] : []),
    " 0.1 RDNS_NONE              Delivered to internal network by a host with no rDNS",
    "",
    "",
  ].join("\n");
}

function tell(request: FakeRequest, learned: Map<string, string>): string {
  const known = learned.get(request.body);
  const wanted = request.headers.get("Message-class");
  if (request.headers.has("Set") && wanted !== undefined && wanted !== known) {
    learned.set(request.body, wanted);
    return "DidSet: local\r\n";
  }
  if (request.headers.get("Remove") === "local" && learned.delete(request.body)) {
    return "DidRemove: local\r\n";
  }
  return "";
}
