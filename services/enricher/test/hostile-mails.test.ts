import { beforeAll, describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import type { Change } from "@rs-agent/shared/mail/task-settings.ts";
import { enrich } from "../src/enrich.ts";
import {
  deps,
  pemOf,
  plainMail,
  signChange,
  spamVerdict,
  taskFor,
  virusVerdict,
} from "./mail-to-enrich.ts";
import { countCpu } from "../../../test/support/cpu-time.ts";

const megabyte = 1_000_000;
const head = "From: Alice <alice@tenant.example>\r\nSubject: hostile\r\n";
const disclaimer = "a disclaimer of the tenant";
const lines = (count: number, line: string) => line.repeat(count);

function nested(depth: number): string {
  const levels = Array.from({ length: depth }, (_, level) => level);
  const open = levels.map(
    (at) => `Content-Type: multipart/mixed; boundary=b${at}\r\n\r\n--b${at}\r\n`,
  );
  const close = levels.map((at) => `\r\n--b${at}--\r\n`).reverse();
  return `${head}MIME-Version: 1.0\r\n${open.join("")}Content-Type: text/plain\r\n\r\nx${close.join("")}`;
}

function nestedMails(depth: number): string {
  return `${head}${lines(depth, "Content-Type: message/rfc822\r\n\r\n")}Subject: inner\r\n\r\nx\r\n`;
}

const typed = (type: string, body: string, encoding = "7bit") =>
  `${head}MIME-Version: 1.0\r\nContent-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${body}`;

/** In its text, plain or in base64. */
function hasDisclaimer(mail: Buffer): boolean {
  const text = mail.subarray(mail.indexOf("\r\n\r\n") + 4);
  const decoded = Buffer.from(text.toString("latin1"), "base64");
  return text.includes(disclaimer) || decoded.includes(disclaimer);
}

const hostile: [string, () => string][] = [
  ["MIME nested 1,000 deep", () => nested(1_000)],
  ["MIME nested 20,000 deep", () => nested(20_000)],
  ["mails inside mails, 10,000 deep", () => nestedMails(10_000)],
  [
    "100,000 parts",
    () => typed("multipart/mixed; boundary=b", `${lines(100_000, "--b\r\n\r\nx\r\n")}--b--\r\n`),
  ],
  [
    "100,000 parts without an end",
    () => typed("multipart/mixed; boundary=b", lines(100_000, "--b\r\n")),
  ],
  ["100,000 header lines", () => `${head}${lines(100_000, "X-A: b\r\n")}\r\nbody\r\n`],
  [
    "100,000 header lines to strip",
    () => `${head}${lines(100_000, "X-Spam-Status: No\r\n")}\r\nbody\r\n`,
  ],
  [
    "100,000 lines that fold one field",
    () => `${head}X-A: b\r\n${lines(100_000, " c\r\n")}\r\nbody\r\n`,
  ],
  ["100,000 Subject fields", () => `${lines(100_000, "Subject: x\r\n")}${head}\r\nbody\r\n`],
  ["a header of 10 MB", () => `${head}X-A: ${"b".repeat(10 * megabyte)}\r\n\r\nbody\r\n`],
  [
    "a Subject of 2 MB of encoded words",
    () =>
      `From: alice@tenant.example\r\nSubject: ${"=?utf-8?q?a?= ".repeat(150_000)}\r\n\r\nbody\r\n`,
  ],
  [
    "a Content-Type of 1 MB of parameters",
    () =>
      typed(`multipart/mixed; ${"a=b; ".repeat(200_000)}boundary=b`, "--b\r\n\r\nx\r\n--b--\r\n"),
  ],
  [
    "a boundary of 1 MB",
    () =>
      typed(
        `multipart/mixed; boundary="${"b".repeat(megabyte)}"`,
        `--${"b".repeat(megabyte)}\r\n\r\nx\r\n`,
      ),
  ],
  ["one line of 10 MB of text", () => typed("text/plain", "x".repeat(10 * megabyte))],
  ["one line of 6 MB of HTML tags", () => typed("text/html", "<b>".repeat(2 * megabyte))],
  [
    "6 MB of HTML comments that nearly begin and end",
    () => typed("text/html", "<!--!-".repeat(megabyte)),
  ],
  [
    "6 MB of HTML attributes without an end",
    () => typed("text/html", "<a b= '\"".repeat(megabyte)),
  ],
  ["6 MB of HTML that nearly ends", () => typed("text/html", "</body".repeat(megabyte))],
  [
    "one line of 6 MB of quoted-printable",
    () => typed("text/plain", "=41".repeat(2 * megabyte), "quoted-printable"),
  ],
  [
    "6 MB of soft line breaks",
    () => typed("text/plain", "=\r\n".repeat(2 * megabyte), "quoted-printable"),
  ],
  [
    "one line of 6 MB of base64",
    () => typed("text/plain", "QUFB".repeat(1.5 * megabyte), "base64"),
  ],
  ["6 MB that is not base64", () => typed("text/plain", "====".repeat(1.5 * megabyte), "base64")],
  ["10 MB of lone LF", () => `${head}\r\n${"\n".repeat(10 * megabyte)}`],
  ["10 MB of blanks at line ends", () => `${head}\r\n${`${" ".repeat(1_000)}\r\n`.repeat(10_000)}`],
  ["one line of 10 MB of blanks", () => `${head}\r\n${" ".repeat(10 * megabyte)}\r\n`],
  ["10 MB of NUL", () => `${head}\r\n${"\0".repeat(10 * megabyte)}\r\n`],
];

describe("a hostile mail under every change that a policy can ask for", () => {
  let changes: Change[];
  beforeAll(() => {
    changes = [
      { kind: "strip" },
      { kind: "verdict-headers" },
      { kind: "extra-headers", headers: [{ name: "X-Tenant", value: "tenant" }] },
      { kind: "geoip" },
      { kind: "subject-tag", tag: "[SPAM]" },
      { kind: "sender-rewrite", map: { "alice@tenant.example": "a@tenant.example" } },
      { kind: "disclaimer", text: disclaimer },
      signChange(pemOf("rsa")),
    ];
  });

  const made = async (raw: Buffer) => {
    const verdicts = {
      ...virusVerdict({ kind: "clean" }),
      ...spamVerdict({ kind: "spam", score: 7, required: 5, rules: [] }),
    };
    const task = taskFor(raw, changes, { verdicts, disposition: "tag" });
    return enrich(raw, task, deps, new AbortController().signal);
  };

  it.each(hostile)(
    "%s: enriched and signed, or unable with a reason, in bounded time and memory",
    async (name, make) => {
      const raw = canonicalize(Buffer.from(make(), "latin1"));
      const before = process.memoryUsage.rss();
      const cpuMs = countCpu();
      const { output, bytes = Buffer.alloc(0) } = await made(raw);
      const ms = cpuMs();
      const grownMb = (process.memoryUsage.rss() - before) / megabyte;
      const what = output.kind === "unable" ? output.reason : output.notes.join("; ");
      console.info(
        `${name}: ${ms.toFixed(0)} ms, ${grownMb.toFixed(0)} MB, ${output.kind} ${what}`,
      );
      expect(ms).toBeLessThan(30_000);
      expect(grownMb).toBeLessThan(1_000);
      if (output.kind === "unable") {
        expect(output.reason).not.toBe("");
      } else {
        // What the relay will send has the whole body, with or without the disclaimer.
        const final = output.bodyChanged
          ? bytes
          : Buffer.concat([bytes, raw.subarray(output.restOffset)]);
        expect(final.length).toBe(output.size);
        expect(output.signature).toEqual({ domain: "tenant.example", selector: "s1" });
        expect(hasDisclaimer(final)).toBe(output.bodyChanged);
        if (!output.bodyChanged) expect(output.notes.join()).toContain("disclaimer skipped");
      }
      expect((await made(plainMail)).output.kind).toBe("enriched");
    },
  );
});
