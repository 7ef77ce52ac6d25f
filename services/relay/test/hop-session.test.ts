import { setImmediate as nextTurn } from "node:timers/promises";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { loadOutgoing } from "../src/outgoing-bytes.ts";
import { openSession, type HopSession, type SessionOptions } from "../src/hop-session.ts";
import { resultsOf, wasStale, type Transcript } from "../src/transcript.ts";
import { rawMail, readyRecord, routeTo } from "./ready-mail.ts";
import { runningSink } from "./running-relay.ts";
import { selfSigned } from "./self-signed.ts";
import { scriptedHop, type HopScript } from "./scripted-hop.ts";

const timeouts = {
  connectMs: 1_000,
  greetingMs: 300,
  mailMs: 300,
  rcptMs: 300,
  dataMs: 300,
  blockMs: 300,
  finalMs: 300,
};

function optionsFor(route: Route, more: Partial<SessionOptions> = {}): SessionOptions {
  return {
    route,
    hostname: "relay.example",
    timeouts,
    ca: undefined,
    certificate: undefined,
    credential: undefined,
    signal: new AbortController().signal,
    ...more,
  };
}

async function session(route: Route, more: Partial<SessionOptions> = {}): Promise<HopSession> {
  const opened = await openSession(optionsFor(route, more));
  if (opened.kind === "failed") throw new Error(JSON.stringify(opened.failure));
  onTestFinished(() => opened.session.destroy("the test is over"));
  return opened.session;
}

async function transact(on: HopSession, recipients: string[], raw = rawMail, mayBegin = true) {
  const mail = await loadOutgoing(readyRecord({ route: routeTo(1) }), () => Promise.resolve(raw));
  return on.transact({
    mailFrom: "a@sender.example",
    recipients,
    mail,
    mayBegin: () => mayBegin,
  });
}

async function scripted(script: HopScript, recipients: string[], route: Partial<Route> = {}) {
  const hop = await scriptedHop(script);
  const on = await session(routeTo(hop.port, route));
  const transcript = await transact(on, recipients);
  return { hop, on, transcript, results: resultsOf(transcript, recipients.length, on.protocol) };
}

function kinds(results: { kind: string }[]): string[] {
  return results.map(({ kind }) => kind);
}

const two = ["one@rcpt.example", "two@rcpt.example"];

describe("one transaction", () => {
  it("tells each recipient's reply apart, with and without PIPELINING", async () => {
    for (const extensions of [["PIPELINING"], []]) {
      const { results, on } = await scripted(
        {
          extensions,
          answer: (verb, nth) =>
            verb === "RCPT" && nth === 1
              ? { say: "550-5.1.1 no\r\n550 5.1.1 such\r\n" }
              : undefined,
        },
        two,
      );
      expect(results).toEqual([
        { kind: "refused", status: "5.1.1", reply: "550-5.1.1 no\n550 5.1.1 such" },
        { kind: "sent", status: "2.0.0", reply: "250 2.0.0 ok" },
      ]);
      expect(on.alive).toBe(true);
    }
  });

  it("tries all recipients again after 421 in the middle, except the one refused before", async () => {
    const { results, transcript, on } = await scripted(
      {
        answer: (verb, nth) => {
          if (verb !== "RCPT") return undefined;
          return nth === 1
            ? { say: "550 5.1.1 no\r\n" }
            : { say: "421 4.3.2 down\r\n", hangUp: true };
        },
      },
      [...two, "three@rcpt.example"],
    );
    expect(kinds(results)).toEqual(["refused", "deferred", "deferred"]);
    expect(results[2]).toMatchObject({ status: "4.3.2", reply: "421 4.3.2 down" });
    expect(transcript.bodyBegun).toBe(false);
    expect(on.alive).toBe(false);
  });

  it("defers all when DATA is refused with 4yz, and keeps the session", async () => {
    const { results, on } = await scripted(
      { answer: (verb) => (verb === "DATA" ? { say: "452 4.3.1 disk full\r\n" } : undefined) },
      two,
    );
    expect(kinds(results)).toEqual(["deferred", "deferred"]);
    expect(await on.reset()).toBe(true);
    const again = await transact(on, two);
    expect(again.bodyBegun).toBe(false);
  });

  it("resets a session any number of times and leaves nothing behind", async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on("warning", onWarning);
    onTestFinished(() => void process.off("warning", onWarning));
    const hop = await scriptedHop({
      answer: (verb) => (verb === "RCPT" ? { say: "550 5.1.1 no\r\n" } : undefined),
    });
    const on = await session(routeTo(hop.port));
    for (let refused = 0; refused < 30; refused += 1) {
      await transact(on, ["b@rcpt.example"]);
      expect(await on.reset()).toBe(true);
    }
    await nextTurn();
    expect(warnings).toEqual([]);
  });

  it("takes one mail at a time, and none after a refused one until it is reset", async () => {
    const hop = await scriptedHop({
      answer: (verb, nth) => (verb === "RCPT" && nth < 3 ? { say: "550 5.1.1 no\r\n" } : undefined),
    });
    const on = await session(routeTo(hop.port));
    const first = transact(on, two);
    await expect(transact(on, two)).rejects.toThrow(/is transacting, it cannot become transacting/);
    await first;
    await expect(transact(on, two)).rejects.toThrow(/is unclean, it cannot become transacting/);
    expect(await on.reset()).toBe(true);
    expect(hop.lines.filter((line) => line === "RSET")).toHaveLength(1);
    expect(await on.reset()).toBe(true);
    expect(hop.lines.filter((line) => line === "RSET")).toHaveLength(1);
    expect((await transact(on, two)).bodyEnded).toBe(true);
  });

  it("I8: half a final reply is not a reply: unknown", async () => {
    const { results } = await scripted(
      {
        answer: (verb) => (verb === "." ? { say: "250 2.0.0 queued as", hangUp: true } : undefined),
      },
      two,
    );
    expect(kinds(results)).toEqual(["unknown", "unknown"]);
  });

  it("I8: 2yz before the last byte is not the reply to the mail: unknown, and the session ends", async () => {
    const hop = await scriptedHop({
      answer: (verb) => (verb === "DATA" ? { say: "354 go on\r\n250 2.0.0 ok\r\n" } : undefined),
    });
    const on = await session(routeTo(hop.port));
    const large = Buffer.alloc(8_000_000, `${"x".repeat(78)}\r\n`);
    const transcript = await transact(on, two, large);
    expect(kinds(resultsOf(transcript, 2, "smtp"))).toEqual(["unknown", "unknown"]);
    expect(on.alive).toBe(false);
  });

  it("a refusal before the last byte is a refusal, and the session ends", async () => {
    let said = false;
    const hop = await scriptedHop({
      onBody: (socket) => {
        if (!said) socket.write("552 5.3.4 too much\r\n");
        said = true;
      },
    });
    const on = await session(routeTo(hop.port));
    const large = Buffer.alloc(8_000_000, `${"x".repeat(78)}\r\n`);
    const transcript = await transact(on, two, large);
    expect(kinds(resultsOf(transcript, 2, "smtp"))).toEqual(["refused", "refused"]);
    expect(on.alive).toBe(false);
  });

  it("I8: LMTP recipients answered before the drop keep their outcome, only the others are unknown", async () => {
    const { results } = await scripted(
      {
        answer: (verb) =>
          verb === "." ? { say: "250 2.1.5 one\r\n452 4.2.2 full\r\n", hangUp: true } : undefined,
      },
      [...two, "three@rcpt.example"],
      { protocol: "lmtp" },
    );
    expect(kinds(results)).toEqual(["sent", "deferred", "unknown"]);
  });

  it("I8: not one byte is sent when the lease ended between the mark and 354", async () => {
    const hop = await scriptedHop({});
    const on = await session(routeTo(hop.port));
    const transcript = await transact(on, two, rawMail, false);
    expect(transcript).toMatchObject({ bodyBegun: false, bodyEnded: false });
    expect(kinds(resultsOf(transcript, 2, "smtp"))).toEqual(["deferred", "deferred"]);
    expect(on.alive).toBe(false);
    expect(hop.lines).not.toContain(".");
  });

  it("waits for each step no longer than its time, and says which step it was", async () => {
    const steps = [
      ["MAIL", "no answer to MAIL within 0.3 s", "deferred"],
      ["RCPT", "no answer to RCPT within 0.3 s", "deferred"],
      ["DATA", "no answer to DATA within 0.3 s", "deferred"],
      [".", "no answer to the end of the mail within 0.3 s", "unknown"],
    ] as const;
    for (const [silentAt, why, kind] of steps) {
      const { transcript, results } = await scripted(
        { extensions: [], answer: (verb) => (verb === silentAt ? { say: "" } : undefined) },
        ["b@rcpt.example"],
      );
      expect(transcript.lost).toBe(why);
      expect(kinds(results)).toEqual([kind]);
    }
  });

  it("notices a session that the hop had ended: it said nothing about the mail", async () => {
    const hop = await scriptedHop({
      answer: (verb, nth) =>
        verb === "MAIL" && nth === 2
          ? { say: "421 4.4.2 idle too long\r\n", hangUp: true }
          : undefined,
    });
    const on = await session(routeTo(hop.port));
    expect(wasStale(await transact(on, two), false)).toBe(false);
    const second: Transcript = await transact(on, two);
    expect(wasStale(second, true)).toBe(true);
    expect(wasStale(second, false)).toBe(false);
  });

  it("says nothing in a session that has ended since the last look", async () => {
    const hop = await scriptedHop({});
    const on = await session(routeTo(hop.port));
    for (const socket of hop.sockets) socket.destroy();
    await vi.waitFor(() => expect(on.alive).toBe(false));
    const transcript = await transact(on, two);
    expect(transcript).toMatchObject({ replies: [], bodyBegun: false });
    expect(wasStale(transcript, true)).toBe(true);
    expect(await on.reset()).toBe(false);
  });

  it("declares 8BITMIME only for a mail that needs it", async () => {
    const { hop, on } = await scripted({}, two);
    await transact(on, two, Buffer.from("Subject: \xe4\r\n\r\n", "latin1"));
    const froms = hop.lines.filter((line) => line.startsWith("MAIL"));
    expect(froms).toEqual([
      "MAIL FROM:<a@sender.example>",
      "MAIL FROM:<a@sender.example> BODY=8BITMIME",
    ]);
  });
});

describe("opening a session", () => {
  it("fails with the greeting's own words, and a 5yz greeting is not held against mail", async () => {
    const hop = await scriptedHop({ greeting: { say: "554 5.7.1 not you\r\n", hangUp: true } });
    const opened = await openSession(optionsFor(routeTo(hop.port)));
    expect(opened).toMatchObject({ kind: "failed", failure: { status: "4.3.0" } });
    expect(opened.kind === "failed" && opened.failure.reply).toContain("554 5.7.1 not you");
  });

  it("gives up a hop that does not greet", async () => {
    const hop = await scriptedHop({ greeting: { say: "" } });
    const opened = await openSession(optionsFor(routeTo(hop.port)));
    expect(opened).toMatchObject({ kind: "failed", failure: { status: "4.4.1" } });
  });

  it("sends from the route's source address", async () => {
    const sink = await runningSink();
    const on = await session(routeTo(sink.port, { sourceAddress: "127.0.0.7" }));
    expect(on.localAddress).toBe("127.0.0.7");
  });

  it("uses STARTTLS as the route says: required checks the certificate, opportunistic does not", async () => {
    const tls = selfSigned("hop.example");
    const sink = await runningSink({ tls });
    const open = (mode: Route["tls"], ca?: string[]) =>
      openSession(optionsFor(routeTo(sink.port, { tls: mode, host: "localhost" }), { ca }));
    const results = {
      none: await open("none"),
      opportunistic: await open("opportunistic"),
      required: await open("required"),
      wrongName: await open("required", [tls.cert]),
    };
    const right = selfSigned("localhost");
    const trusted = await runningSink({ tls: right });
    const verified = await session(routeTo(trusted.port, { tls: "required", host: "localhost" }), {
      ca: [right.cert],
    });
    expect(verified.secure).toBe(true);
    expect(results.none).toMatchObject({ kind: "open", session: { secure: false } });
    expect(results.opportunistic).toMatchObject({ kind: "open", session: { secure: true } });
    expect(results.required).toMatchObject({ kind: "failed", failure: { status: "4.7.5" } });
    expect(results.wrongName).toMatchObject({ kind: "failed", failure: { status: "4.7.5" } });
    for (const opened of Object.values(results)) {
      if (opened.kind === "open") opened.session.destroy("the test is over");
    }
  });

  it("does not send at all if TLS is required and not offered", async () => {
    const sink = await runningSink();
    const opened = await openSession(optionsFor(routeTo(sink.port, { tls: "required" })));
    expect(opened.kind).toBe("failed");
  });

  it("goes on without TLS if it is opportunistic and the handshake breaks", async () => {
    const hop = await scriptedHop({
      extensions: ["STARTTLS"],
      answer: (verb) => (verb === "STAR" ? { say: "220 go\r\nthis is no TLS\r\n" } : undefined),
    });
    const on = await session(routeTo(hop.port, { tls: "opportunistic" }));
    expect(on.secure).toBe(false);
  });

  it("authenticates, and a wrong password is the route's fault", async () => {
    const sink = await runningSink({
      onAuth: (user, password) => user === "u" && password === "p",
    });
    const right = { user: "u", password: "p" };
    expect((await session(routeTo(sink.port), { credential: right })).alive).toBe(true);
    const wrong = { credential: { user: "u", password: "x" } };
    const opened = await openSession(optionsFor(routeTo(sink.port), wrong));
    expect(opened).toMatchObject({ kind: "failed" });
    expect(opened.kind === "failed" && opened.failure.reply).toContain("535 5.7.8");
  });
});

describe("a password", () => {
  // A host name that is not loopback, for the loopback address.
  const host = "0.0.0.0";
  const credential = { user: "u", password: "p" };
  const hopWith = (script: HopScript) =>
    scriptedHop({ extensions: ["STARTTLS", "AUTH PLAIN LOGIN"], ...script });
  const open = async (port: number, route: Partial<Route>, more: Partial<SessionOptions> = {}) => {
    const opened = await openSession(optionsFor(routeTo(port, route), { credential, ...more }));
    if (opened.kind === "open") onTestFinished(() => opened.session.destroy("the test is over"));
    return opened;
  };
  const untold = { kind: "failed", failure: { status: "4.7.11" } };

  it("is not sent without TLS: by the route, or if STARTTLS is not offered, refused, or breaks", async () => {
    const refused: HopScript["answer"] = (verb) =>
      verb === "STAR" ? { say: "454 4.7.0 no\r\n" } : undefined;
    const broken: HopScript["answer"] = (verb) =>
      verb === "STAR" ? { say: "220 go\r\nthis is no TLS\r\n" } : undefined;
    const cases = [
      { tls: "none", hop: await hopWith({}) },
      { tls: "opportunistic", hop: await hopWith({ extensions: ["AUTH PLAIN"] }) },
      { tls: "opportunistic", hop: await hopWith({ answer: refused }) },
      { tls: "opportunistic", hop: await hopWith({ answer: broken }) },
    ] as const;
    for (const { tls, hop } of cases) {
      expect(await open(hop.port, { host, tls })).toMatchObject(untold);
      expect(hop.lines.filter((line) => line.startsWith("AUTH"))).toEqual([]);
    }
  });

  it("is not sent to a certificate that is not valid for the host", async () => {
    const right = selfSigned(host);
    const other = selfSigned("hop.example");
    const cases = [
      { tls: right, ca: undefined },
      { tls: other, ca: [other.cert] },
    ];
    for (const { tls, ca } of cases) {
      for (const fromFirstByte of [false, true]) {
        const hop = await hopWith({ tls: { ...tls, fromFirstByte } });
        const options = { ca, implicitTls: fromFirstByte };
        expect(await open(hop.port, { host, tls: "opportunistic" }, options)).toMatchObject(untold);
        expect(hop.lines.filter((line) => line.startsWith("AUTH"))).toEqual([]);
      }
    }
  });

  it("is sent to a valid one, and on this machine itself", async () => {
    const tls = selfSigned(host);
    for (const fromFirstByte of [false, true]) {
      for (const mode of ["opportunistic", "required"] as const) {
        const hop = await hopWith({ tls: { ...tls, fromFirstByte } });
        const options = { ca: [tls.cert], implicitTls: fromFirstByte };
        const opened = await open(hop.port, { host, tls: mode }, options);
        expect(opened).toMatchObject({ kind: "open", session: { secure: true } });
        expect(hop.lines.some((line) => line.startsWith("AUTH PLAIN"))).toBe(true);
      }
    }
    const near = await hopWith({});
    expect(await open(near.port, { tls: "none" })).toMatchObject({ kind: "open" });
  });
});
