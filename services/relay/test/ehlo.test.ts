import type { Route } from "@rs-agent/shared/mail/route.ts";
import { describe, expect, it, onTestFinished } from "vitest";
import { abilitiesOf } from "../src/ehlo.ts";
import { openSession, type HopSession, type SessionOptions } from "../src/hop-session.ts";
import { loadOutgoing } from "../src/outgoing-bytes.ts";
import { rawMail, readyRecord, routeTo } from "./ready-mail.ts";
import { scriptedHop, type HopScript } from "./scripted-hop.ts";
import { selfSigned } from "./self-signed.ts";

const certificate = selfSigned("hop.example");
const patience = 20_000;

const offered = ["8BITMIME", "SIZE 4000", "SMTPUTF8", "DSN"];
const able = { extensions: new Set(["8BITMIME", "SIZE", "SMTPUTF8", "DSN"]), maxBytes: 4000 };
const unable = { extensions: new Set(), maxBytes: undefined };

interface Way {
  name: string;
  script: HopScript;
  route: Partial<Route>;
  options?: Partial<SessionOptions>;
}

/**
 * The ways into a session. `words` is what the hop offers in the EHLO reply that counts, `before`
 * in one that does not.
 */
function ways(words: readonly string[], before: readonly string[]): Way[] {
  const opportunistic = { tls: "opportunistic" } as const;
  const refusal: HopScript["answer"] = (verb) =>
    verb === "STAR" ? { say: "454-4.7.0 8BITMIME\r\n454 4.7.0 no TLS now\r\n" } : undefined;
  const tls = { ...certificate, extensions: [...words, "AUTH PLAIN"] };
  const beforeTls = ["STARTTLS", ...before, "AUTH PLAIN"];
  const plain = [...words, "AUTH PLAIN"];
  return [
    { name: "plain", script: { extensions: plain }, route: {} },
    { name: "LMTP", script: { extensions: plain }, route: { protocol: "lmtp" } },
    { name: "STARTTLS", script: { extensions: beforeTls, tls }, route: opportunistic },
    {
      name: "LMTP with STARTTLS",
      script: { extensions: beforeTls, tls },
      route: { ...opportunistic, protocol: "lmtp" },
    },
    {
      name: "refused STARTTLS",
      script: { extensions: ["STARTTLS", ...plain], answer: refusal },
      route: opportunistic,
    },
    {
      name: "LMTP with refused STARTTLS",
      script: { extensions: ["STARTTLS", ...plain], answer: refusal },
      route: { ...opportunistic, protocol: "lmtp" },
    },
    {
      name: "TLS from the first byte",
      script: { tls: { ...tls, fromFirstByte: true } },
      route: opportunistic,
      options: { implicitTls: true },
    },
  ];
}

async function opened(way: Way, withAuth: boolean) {
  const hop = await scriptedHop(way.script);
  const step = patience;
  const result = await openSession({
    route: routeTo(hop.port, way.route),
    hostname: "relay.example",
    timeouts: {
      connectMs: step,
      greetingMs: step,
      mailMs: step,
      rcptMs: step,
      dataMs: step,
      blockMs: step,
      finalMs: step,
    },
    ca: undefined,
    certificate: undefined,
    credential: withAuth ? { user: "u", password: "p" } : undefined,
    signal: new AbortController().signal,
    ...way.options,
  });
  if (result.kind === "failed") throw new Error(`${way.name}: ${result.failure.reply}`);
  onTestFinished(() => result.session.destroy("the test is over"));
  return { hop, session: result.session };
}

async function send(session: HopSession, raw: Buffer, from = "a@sender.example") {
  const mail = await loadOutgoing(readyRecord({ route: routeTo(1) }), () => Promise.resolve(raw));
  const recipients = ["b@rcpt.example"];
  return session.transact({ mailFrom: from, recipients, mail, mayBegin: () => true });
}

/** Its abilities, as far as they matter here. */
function judged({ abilities: { extensions, maxBytes } }: HopSession) {
  return {
    extensions: new Set([...extensions].filter((one) => able.extensions.has(one))),
    maxBytes,
  };
}

const eightBit = Buffer.from("Subject: \xe4\r\n\r\n8 bits\r\n", "latin1");

describe("what a hop can do is read from its EHLO", () => {
  for (const withAuth of [false, true]) {
    for (const way of ways(offered, [])) {
      const name = `${way.name}, ${withAuth ? "with" : "without"} AUTH`;

      it(`${name}: all that it offers, for the first mail and for those after it`, async () => {
        const { hop, session } = await opened(way, withAuth);
        expect(hop.lines.some((line) => line.startsWith("AUTH"))).toBe(withAuth);
        const seen = [];
        for (const from of ["a@sender.example", "ä@sender.example", "a@sender.example"]) {
          seen.push(judged(session));
          await send(session, eightBit, from);
          await session.reset();
        }
        expect(seen).toEqual([able, able, able]);
        const size = `SIZE=${eightBit.length}`;
        const utf8 = Buffer.from("ä").toString("latin1");
        expect(hop.lines.filter((line) => line.startsWith("MAIL"))).toEqual([
          `MAIL FROM:<a@sender.example> BODY=8BITMIME ${size}`,
          `MAIL FROM:<${utf8}@sender.example> SMTPUTF8 BODY=8BITMIME ${size}`,
          `MAIL FROM:<a@sender.example> BODY=8BITMIME ${size}`,
        ]);
      });
    }
    for (const way of ways([], offered)) {
      const name = `${way.name}, ${withAuth ? "with" : "without"} AUTH`;

      it(`${name}: nothing that stands elsewhere`, async () => {
        const elsewhere = offered.map((word) => `235-${word}\r\n`).join("");
        const answer: HopScript["answer"] = (verb, nth) =>
          verb === "AUTH"
            ? { say: `${elsewhere}235 2.7.0 welcome\r\n` }
            : way.script.answer?.(verb, nth);
        const { hop, session } = await opened(
          { ...way, script: { ...way.script, answer } },
          withAuth,
        );
        expect(judged(session)).toEqual(unable);
        await send(session, rawMail);
        expect(hop.lines).toContain("MAIL FROM:<a@sender.example>");
      });
    }
  }

  it("a hop that knows only HELO can do nothing", async () => {
    const answer: HopScript["answer"] = (verb) => {
      if (verb === "EHLO") return { say: "502-5.5.1 8BITMIME\r\n502 5.5.1 no\r\n" };
      return verb === "HELO" ? { say: "250-hop\r\n250 8BITMIME\r\n" } : undefined;
    };
    const { session } = await opened({ name: "HELO", script: { answer }, route: {} }, false);
    expect(session.abilities).toEqual(unable);
  });

  it("its greeting is not an extension, whatever words are in it", () => {
    expect(abilitiesOf("250-size.example SIZE 5 8BITMIME\n250-DSN\n250 size 70")).toEqual({
      extensions: new Set(["DSN", "SIZE"]),
      maxBytes: 70,
    });
    expect(abilitiesOf("250 8BITMIME")).toEqual(unable);
  });

  it("SIZE is sent only to a hop that offers it, not to one that is named so", async () => {
    const answer: HopScript["answer"] = (verb) =>
      verb === "EHLO" ? { say: "250-size.example\r\n250 8BITMIME\r\n" } : undefined;
    const { hop, session } = await opened({ name: "name", script: { answer }, route: {} }, false);
    await send(session, rawMail);
    expect(hop.lines).toContain("MAIL FROM:<a@sender.example>");
  });
});
