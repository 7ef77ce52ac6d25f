import { EventEmitter } from "node:events";
import SMTPConnection from "nodemailer/lib/smtp-connection";
import { expect, it } from "vitest";
import { OutgoingBody } from "../src/outgoing-body.ts";

const source = SMTPConnection.toString();

/** The source of a method. */
function method(signature: string): string {
  const from = source.indexOf(`\n    ${signature} {`);
  expect(from).toBeGreaterThan(0);
  return source.slice(from, source.indexOf("\n    }", from));
}

/** The methods that are called on what has this name there. */
function calledOn(name: string, text: string): string[] {
  return [...text.matchAll(new RegExp(`(?<![.\\w])${name}\\.(\\w+)`, "g"))].map(
    ([, called = ""]) => called,
  );
}

it("nodemailer asks nothing of a mail's stream that our body lacks", () => {
  const send = method("send(envelope, message, done)");
  const used = [
    ...calledOn("message", send),
    ...calledOn("pendingSend.stream", send),
    ...calledOn("stream", method("close()")),
  ];
  expect([...new Set(used)].sort()).toEqual(["destroy", "on", "pipe", "removeListener"]);
  const has = (name: string) => name in OutgoingBody.prototype || name in EventEmitter.prototype;
  expect(used.filter((name) => !has(name))).toEqual([]);
});
