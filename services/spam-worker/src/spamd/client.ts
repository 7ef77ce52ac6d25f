import type { SpamRule } from "@rs-agent/shared/checks/spam.ts";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import type { EngineFailure } from "@rs-agent/shared/engines/engine-client.ts";
import { exchange, type ExchangeLimits } from "./exchange.ts";
import type { SpamdReply } from "./reply.ts";
import type { Lesson, RequestOptions } from "./request.ts";
import { parseReport, parseScore, parseSymbols, type Score } from "./score.ts";

export interface SpamdClientOptions extends ExchangeLimits {
  address: EngineAddress;
}

export interface AskOptions {
  /** Whose preferences apply; absent: spamd's default user. */
  user?: string;
  signal: AbortSignal;
  /** A shorter deadline than the client's own, in milliseconds. */
  timeoutMs?: number;
}

export type Answer<T> = ({ kind: "answer" } & T) | EngineFailure;

/**
 * A client of one spamd: one connection and one deadline per request. It never throws for what
 * spamd does or does not do; it throws when `signal` aborts. `mail` is a list of pieces sent one
 * after another, so that nothing is copied to put a line in front.
 */
export interface SpamdClient {
  readonly address: string;
  ping(options: AskOptions): Promise<Answer<object>>;
  check(mail: readonly Buffer[], options: AskOptions): Promise<Answer<Score>>;
  /** With the names of the rules that hit. */
  symbols(mail: readonly Buffer[], options: AskOptions): Promise<Answer<Score & Rules>>;
  /** With spamd's report; `rules` with points, if its table is provably whole. */
  report(mail: readonly Buffer[], options: AskOptions): Promise<Answer<Score & Report>>;
  /** With the header block as SpamAssassin would rewrite it. */
  headers(mail: readonly Buffer[], options: AskOptions): Promise<Answer<Score & Headers>>;
  /** Teaches (spamd needs `--allow-tell`). If spamd knew already, nothing was done. */
  tell(mail: readonly Buffer[], lesson: Lesson, options: AskOptions): Promise<Answer<Told>>;
}

export interface Rules {
  rules: SpamRule[];
}

export interface Report {
  report: string;
  rules: SpamRule[] | undefined;
}

export interface Headers {
  headers: Buffer;
}

export interface Told {
  /** `local`, `remote`: where the mail is now known as that class. */
  didSet: string[];
  didRemove: string[];
}

export function createSpamdClient(options: SpamdClientOptions): SpamdClient {
  const { address } = options;
  const ask = async <T>(
    request: RequestOptions,
    asked: AskOptions,
    read: (reply: SpamdReply) => T | undefined,
  ): Promise<Answer<T>> => {
    const timeoutMs = Math.min(options.timeoutMs, asked.timeoutMs ?? Infinity);
    const named = asked.user === undefined ? request : { ...request, user: asked.user };
    const outcome = await exchange(address, named, { ...options, timeoutMs }, asked.signal);
    if (outcome.kind === "failed") return outcome;
    const answer = read(outcome.reply);
    return answer === undefined ? unreadable(outcome.reply) : { kind: "answer", ...answer };
  };
  return {
    address: address.text,
    ping: (asked) => ask({ method: "PING" }, asked, readPong),
    check: (mail, asked) => ask({ method: "CHECK", mail }, asked, readScore),
    symbols: (mail, asked) => ask({ method: "SYMBOLS", mail }, asked, readSymbols),
    report: (mail, asked) => ask({ method: "REPORT", mail }, asked, readReport),
    headers: (mail, asked) => ask({ method: "HEADERS", mail }, asked, readHeaders),
    tell: (mail, lesson, asked) => ask({ method: "TELL", lesson, mail }, asked, readTold),
  };
}

function readPong(reply: SpamdReply): object | undefined {
  return reply.message === "PONG" ? {} : undefined;
}

function readScore(reply: SpamdReply): Score | undefined {
  return parseScore(reply.headers.get("spam") ?? "");
}

function readSymbols(reply: SpamdReply): (Score & Rules) | undefined {
  const score = readScore(reply);
  const rules = parseSymbols(reply.body.toString("latin1"));
  return score === undefined || rules === undefined ? undefined : { ...score, rules };
}

function readReport(reply: SpamdReply): (Score & Report) | undefined {
  const score = readScore(reply);
  if (score === undefined) return undefined;
  const report = reply.body.toString("latin1");
  return { ...score, report, rules: parseReport(report, score.score) };
}

function readHeaders(reply: SpamdReply): (Score & Headers) | undefined {
  const score = readScore(reply);
  return score === undefined ? undefined : { ...score, headers: reply.body };
}

function readTold(reply: SpamdReply): Told {
  const places = (name: string) =>
    (reply.headers.get(name) ?? "")
      .split(",")
      .map((place) => place.trim())
      .filter((place) => place !== "");
  return { didSet: places("didset"), didRemove: places("didremove") };
}

function unreadable(reply: SpamdReply): EngineFailure {
  const said = JSON.stringify([reply.message, reply.headers.get("spam") ?? ""]);
  return {
    kind: "failed",
    reason: "engine-error",
    detail: `spamd's reply fits no form that we know: ${said.slice(0, 300)}`,
  };
}
