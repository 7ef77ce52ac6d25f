import { setTimeout as wait } from "node:timers/promises";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { createDeadline, settledOrAborted } from "@rs-agent/shared/deadline.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Engine, UncheckedReason } from "@rs-agent/shared/checks/finding.ts";
import type { SpamFinding } from "@rs-agent/shared/checks/spam.ts";
import type { Ability } from "@rs-agent/shared/worker/handler.ts";
import type { CanaryOutcome, Judgement, MailToJudge, SpamEngineClient } from "./engine-client.ts";

/** Milliseconds between looks at an engine that is unable; doubled up to the second. */
const firstLookMs = 500;
const slowestLookMs = 5_000;

/** After these the canaries tell whether it was the mail or the engine. */
const mayBeEnginesFault: readonly UncheckedReason[] = [
  "engine-away",
  "engine-error",
  "time-out",
  "busy",
];

interface Member {
  client: SpamEngineClient;
  state: CanaryOutcome;
  inFlight: number;
  /** Canaries are on their way by our own doing: after a failure, until it is able. */
  probing: boolean;
  /** It has gone away with a mail in hand; settles when its canaries have said how it is. */
  doubt: PromiseWithResolvers<undefined> | undefined;
}

export interface EnginePoolDeps {
  clients: readonly SpamEngineClient[];
  /** Requests at once to each engine. */
  requestsEach: number;
  /** Milliseconds for one canary. */
  canaryTimeoutMs: number;
  clock: Clock;
  log: Logger;
}

export interface JudgeOptions {
  signal: AbortSignal;
  timeoutMs: number;
  /** After a time-out, milliseconds in which the engine must say how it is for the mail to be suspected. */
  accountMs: number;
}

/**
 * Several engines as one: each mail goes to the least busy of those whose canaries passed. One
 * that cannot be reached is left out until they pass again, and its mail goes to another. One that
 * went away with a mail in hand is given no other before they have passed: what it does then is not the
 * next mail's doing.
 */
export class EnginePool {
  readonly #members: Member[];
  readonly #deps: EnginePoolDeps;
  readonly #closed = new AbortController();

  constructor(deps: EnginePoolDeps) {
    this.#deps = deps;
    this.#members = deps.clients.map((client) => ({
      client,
      state: { kind: "unable", reason: `${client.engineName} ${client.address}: not asked yet` },
      inFlight: 0,
      probing: false,
      doubt: undefined,
    }));
  }

  /** Mails that may be judged at once. */
  concurrency(): number {
    return this.#members.filter(isAble).length * this.#deps.requestsEach;
  }

  async judge(
    mail: MailToJudge,
    options: JudgeOptions,
  ): Promise<{ finding: SpamFinding; engine?: Engine; strikes?: number }> {
    const { clock } = this.#deps;
    const startedAt = clock.monotonicMs();
    for (;;) {
      const timeoutMs = Math.max(1, options.timeoutMs - (clock.monotonicMs() - startedAt));
      const member = this.#leastBusy();
      if (member?.state.kind !== "able") {
        if (await this.#doubtSettled(timeoutMs, options.signal)) continue;
        return { finding: this.#nobodyAble() };
      }
      const { engine } = member.state;
      member.inFlight += 1;
      const judgement = await member.client
        .judge(mail, { signal: options.signal, timeoutMs })
        .finally(() => (member.inFlight -= 1));
      const { finding, lost } = judgement;
      if (lost === "died") this.#doubt(member, finding);
      if (lost !== undefined && (await this.#isStrike(member, lost, options.accountMs))) {
        this.#shallTryAnother(member, judgement);
        return { finding, engine, strikes: 1 };
      }
      if (!this.#shallTryAnother(member, judgement)) return { finding, engine };
    }
  }

  /** Why each engine that is left out is so. */
  reasons(): string {
    return this.#members
      .flatMap(({ state }) => (state.kind === "unable" ? [state.reason] : []))
      .join("; ");
  }

  /** Puts the canaries through every engine. One that is able is enough. */
  async canary(signal: AbortSignal): Promise<Ability> {
    await Promise.all(this.#members.map((member) => this.#look(member, signal)));
    const able = this.#members.find(isAble);
    if (able?.state.kind === "able") return { able: true, engine: able.state.engine };
    return { able: false, reason: this.reasons() };
  }

  close(): void {
    this.#closed.abort();
    for (const { client } of this.#members) client.close();
  }

  #leastBusy(): Member | undefined {
    return this.#members
      .filter(isAble)
      .reduce<Member | undefined>(
        (least, member) =>
          least === undefined || member.inFlight < least.inFlight ? member : least,
        undefined,
      );
  }

  /**
   * Whether the mail is to be suspected. If its time was over: only with an engine that says soon how
   * it is, that is of one which is well or gone. One that is slow with every mail does not.
   */
  async #isStrike(member: Member, lost: "died" | "time-out", accountMs: number): Promise<boolean> {
    if (lost === "died") return true;
    if (accountMs < 1) return false;
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(accountMs)]);
    return this.#look(member, signal).then(
      () => true,
      (error: unknown) => {
        if (!signal.aborted) throw error;
        return false;
      },
    );
  }

  /** Leaves it out until its canaries, which start immediately, have passed. */
  #doubt(member: Member, finding: SpamFinding): void {
    const { engineName, address } = member.client;
    const reason = finding.kind === "unchecked" ? finding.detail : undefined;
    member.doubt ??= Promise.withResolvers();
    this.#setState(member, { kind: "unable", reason: `${engineName} ${address}: ${reason ?? ""}` });
    void this.#probe(member);
  }

  /** Waits for an engine in doubt to be found able or not; false: there is none, or the time is over. */
  async #doubtSettled(withinMs: number, signal: AbortSignal): Promise<boolean> {
    const doubts = this.#members.flatMap(({ doubt }) => (doubt === undefined ? [] : [doubt]));
    if (doubts.length === 0) return false;
    const patience = createDeadline(withinMs, signal);
    await settledOrAborted(Promise.race(doubts.map(({ promise }) => promise)), patience.signal);
    patience.end();
    signal.throwIfAborted();
    return !patience.signal.aborted;
  }

  /** An engine that was not reached has seen nothing of the mail: another may have it. */
  #shallTryAnother(member: Member, { finding, isEnginesWord }: Judgement): boolean {
    if (finding.kind !== "unchecked" || isEnginesWord === true) return false;
    if (finding.reason === "engine-away") {
      this.#setState(member, { kind: "unable", reason: finding.detail ?? finding.reason });
    }
    if (!mayBeEnginesFault.includes(finding.reason)) return false;
    void this.#probe(member);
    return finding.reason === "engine-away";
  }

  /** Looks immediately, and again until it is able. Never rejects. */
  async #probe(member: Member): Promise<void> {
    if (member.probing) return;
    member.probing = true;
    const { signal } = this.#closed;
    try {
      for (let delayMs = firstLookMs; ; delayMs = Math.min(delayMs * 2, slowestLookMs)) {
        await this.#look(member, signal);
        if (isAble(member)) return;
        await wait(delayMs, undefined, { signal });
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      member.probing = false;
    }
  }

  async #look(member: Member, signal: AbortSignal): Promise<void> {
    const options = { signal, timeoutMs: this.#deps.canaryTimeoutMs };
    const outcome = await member.client.putCanariesThrough(options);
    this.#setState(member, outcome);
    member.doubt?.resolve(undefined);
    member.doubt = undefined;
    if (outcome.kind === "unable") void this.#probe(member);
  }

  #setState(member: Member, state: CanaryOutcome): void {
    const { log } = this.#deps;
    const { address } = member.client;
    if (state.kind === "able" && !isAble(member))
      log.info({ address, ...state }, "spam engine is able");
    if (state.kind === "unable" && isAble(member))
      log.warn({ address, reason: state.reason }, "spam engine is unable and left out");
    member.state = state;
  }

  #nobodyAble(): SpamFinding {
    return { kind: "unchecked", reason: "engine-away", detail: this.reasons().slice(0, 1_000) };
  }
}

function isAble(member: Member): boolean {
  return member.state.kind === "able";
}
