import { newToken } from "../../ids.ts";
import { messageOf } from "../../errors.ts";
import {
  byeHeadSchema,
  heartbeatHeadSchema,
  resultHeadSchema,
  startedHeadSchema,
  type ResultHead,
} from "../wire.ts";
import type { BareDispatcher } from "./bare-dispatcher.ts";
import { buildTask, granting, soleIn, type Sent } from "./contract-task.ts";

export interface ContractOptions {
  /** Where the worker's dispatchers seem to be: one, or two for all of "sole use". */
  dispatchers: readonly [BareDispatcher, ...BareDispatcher[]];
  /** Of each task; absent: what a worker of its kind understands at least. */
  settings: Record<string, unknown> | undefined;
  /** Bytes of the largest mail that is sent. */
  hugeBytes: number;
  /** How long a worker may take for its first word, and an engine for a mail. */
  patienceMs: number;
  /** Makes the worker stop in order, as SIGTERM does; without it that is not tested. */
  stop?: (() => void) | undefined;
  onStep: (step: StepResult) => void;
}

export interface StepResult {
  name: string;
  /** Undefined: it holds. */
  wrong: string | undefined;
  skipped?: true;
}

const silenceMs = 1_500;
const textMail = "From: contract@example.org\r\nSubject: a mail\r\n\r\nNothing to see here.\r\n";

/** Holds a worker to shared/README.md, step by step. False: some step does not hold. */
export async function runContract(options: ContractOptions): Promise<boolean> {
  const run = new Contract(options);
  let holds = true;
  for (const [name, step] of run.steps()) {
    const wrong = step === undefined ? undefined : await step().catch(messageOf);
    holds &&= wrong === undefined;
    options.onStep({ name, wrong, ...(step === undefined && { skipped: true }) });
    // Without a session nothing else can be told.
    if (wrong !== undefined && name === "says ready") return false;
  }
  return holds;
}

type Step = () => Promise<string | undefined>;

class Contract {
  readonly #options: ContractOptions;
  readonly #dispatcher: BareDispatcher;

  constructor(options: ContractOptions) {
    this.#options = options;
    [this.#dispatcher] = options.dispatchers;
  }

  steps(): [name: string, step: Step | undefined][] {
    const { stop, dispatchers } = this.#options;
    return [
      ["says ready", () => this.#saysReady()],
      ["grants credit once its session is open", () => this.#grantsCredit()],
      ["sends numbered heartbeats, one per second", () => this.#beats()],
      ["answers a task once, after `started`, with the echo of its ids", () => this.#answers()],
      ["answers no task twice", () => this.#ignoresDuplicate()],
      ["drops what is not a message, and lives on", () => this.#survivesTruncated()],
      ["drops what names another session", () => this.#ignoresStranger()],
      ["takes a cancel before and after the answer, and answers once", () => this.#takesCancel()],
      ["answers once a task whose deadline has passed", () => this.#keepsDeadline()],
      ["takes a huge mail, acknowledges it and answers", () => this.#takesHuge()],
      [
        dispatchers.length > 1
          ? "is one dispatcher's alone only once the other knows"
          : "says when a dispatcher has it to itself",
        () => this.#isSole(),
      ],
      ["says ready again when its dispatcher is silent", () => this.#saysReadyAgain()],
      [
        "finishes and says goodbye when it is stopped",
        stop === undefined ? undefined : () => this.#drains(stop),
      ],
    ];
  }

  async #saysReady(): Promise<string | undefined> {
    for (const dispatcher of this.#options.dispatchers) {
      const ready = await dispatcher.await(() => dispatcher.unanswered(), this.#options.patienceMs);
      if (ready === undefined) {
        const came = dispatcher.said.length === 0 ? "nothing came" : "what came is no `ready`";
        return `${dispatcher.endpoint}: ${came}`;
      }
      if (!ready.versions.includes(1)) return "it does not speak version 1";
      dispatcher.open(ready);
    }
    return undefined;
  }

  async #grantsCredit(): Promise<string | undefined> {
    const { dispatchers, patienceMs } = this.#options;
    for (const dispatcher of dispatchers) {
      const first = await dispatcher.await(() => granting(dispatcher), patienceMs);
      if (first === undefined) return this.#whyNoCredit(dispatcher);
      if (first["incarnation"] !== dispatcher.ready?.incarnation) {
        return "its heartbeat has another incarnation than its ready";
      }
    }
    return undefined;
  }

  #whyNoCredit(dispatcher: BareDispatcher): string {
    const last = dispatcher.all("heartbeat").at(-1)?.head;
    if (last === undefined) return "no heartbeat came";
    const parsed = heartbeatHeadSchema.safeParse(last);
    if (!parsed.success) return "its heartbeat does not fit";
    return `it grants nothing: ${parsed.data.unable ?? "credit is absent or zero"}`;
  }

  async #beats(): Promise<string | undefined> {
    const dispatcher = this.#dispatcher;
    const before = dispatcher.all("heartbeat").length;
    const enough = () => (dispatcher.all("heartbeat").length >= before + 3 ? true : undefined);
    if ((await dispatcher.await(enough, 4_500)) === undefined) return "fewer than 3 in 4.5 s";
    const beats = dispatcher.all("heartbeat").map(({ head }) => head["beat"]);
    const isCounted = beats.every((beat, place) => beat === place + 1);
    return isCounted ? undefined : `their \`beat\` is ${beats.join(", ")}, not 1, 2, 3 …`;
  }

  async #answers(): Promise<string | undefined> {
    const sent = this.#send(Buffer.from(textMail));
    const result = await this.#result(sent);
    if (typeof result === "string") return result;
    const { said } = this.#dispatcher;
    const begun = said.findIndex(({ head }) => {
      const parsed = startedHeadSchema.safeParse(head);
      return parsed.success && parsed.data.sequence >= sent.sequence;
    });
    const answered = said.findIndex(({ head }) => head["taskId"] === sent.taskId);
    if (begun === -1 || begun > answered) return "no `started` came before the result";
    return whyNoAnswer(result.output);
  }

  async #ignoresDuplicate(): Promise<string | undefined> {
    const sent = this.#send(Buffer.from(textMail));
    const result = await this.#result(sent);
    if (typeof result === "string") return result;
    this.#dispatcher.sendFrames(sent.frames);
    return this.#onlyOnce(sent);
  }

  async #survivesTruncated(): Promise<string | undefined> {
    const [head = Buffer.alloc(0), body = Buffer.alloc(0)] = this.#task(
      Buffer.from(textMail),
    ).frames;
    const dispatcher = this.#dispatcher;
    for (const frames of [
      [head.subarray(0, head.length / 2), body],
      [head, body.subarray(0, 10)],
      [head],
      [Buffer.from([0xc1])],
      [Buffer.alloc(0)],
      [Buffer.from([0x90]), body],
    ]) {
      dispatcher.sendFrames(frames);
    }
    return this.#isAlive();
  }

  async #ignoresStranger(): Promise<string | undefined> {
    const sent = this.#task(Buffer.from(textMail), { session: newToken() });
    this.#dispatcher.sendFrames(sent.frames);
    const alive = await this.#isAlive();
    if (alive !== undefined) return alive;
    return this.#resultsOf(sent).length === 0 ? undefined : "it answered a task of another session";
  }

  async #takesCancel(): Promise<string | undefined> {
    const dispatcher = this.#dispatcher;
    const sent = this.#send(Buffer.from(textMail));
    dispatcher.send({ kind: "cancel", taskId: sent.taskId });
    const result = await this.#result(sent);
    if (typeof result === "string") return result;
    dispatcher.send({ kind: "cancel", taskId: sent.taskId });
    dispatcher.send({ kind: "cancel", taskId: newToken() });
    return (await this.#onlyOnce(sent)) ?? (await this.#isAlive());
  }

  async #keepsDeadline(): Promise<string | undefined> {
    const sent = this.#send(Buffer.from(textMail), { deadlineMs: 1 });
    const result = await this.#result(sent);
    if (typeof result === "string") return result;
    return this.#onlyOnce(sent);
  }

  async #takesHuge(): Promise<string | undefined> {
    const { hugeBytes } = this.#options;
    const line = `${"x".repeat(70)}\r\n`;
    const mail = Buffer.from(textMail + line.repeat(Math.ceil(hugeBytes / line.length)));
    const sent = this.#send(mail);
    const dispatcher = this.#dispatcher;
    const seen = () =>
      dispatcher.said.find(
        ({ head }) =>
          head["session"] === dispatcher.session &&
          (Number(head["lastSeen"] ?? head["sequence"] ?? 0) >= sent.sequence ||
            head["taskId"] === sent.taskId),
      );
    if ((await dispatcher.await(seen, 10_000)) === undefined)
      return "it is not acknowledged in 10 s";
    const result = await this.#result(sent);
    if (typeof result === "string") return result;
    if (result.output.kind !== "failed") return undefined;
    return `${String(mail.length)} bytes: ${result.output.detail}`;
  }

  async #isSole(): Promise<string | undefined> {
    const { patienceMs, dispatchers } = this.#options;
    const [dispatcher, other] = dispatchers;
    dispatcher.wantsSole = true;
    dispatcher.beat();
    const told = await dispatcher.await(() => {
      const sole = soleIn(dispatcher);
      // What the other one knows by then: that it has no credit.
      return sole && { sole, isEarly: other !== undefined && granting(other) !== undefined };
    }, patienceMs);
    dispatcher.wantsSole = false;
    if (told === undefined) return "no heartbeat with `sole` came";
    if (told.isEarly && other !== undefined) {
      // If it took the other one for silent, as it may on a busy machine, that session and its credit are over.
      const ready = await other.await(() => other.unanswered(), silenceMs);
      if (ready === undefined) return "it said `sole` while the other dispatcher had credit";
      other.open(ready);
    }
    if (told.sole["lastSeen"] !== dispatcher.sequence) return "`sole` came with tasks not yet seen";
    const sent = this.#send(Buffer.from(textMail), { alone: true });
    const result = await this.#result(sent);
    if (typeof result === "string") return result;
    const after = dispatcher.all("heartbeat").length + 1;
    const since = () => dispatcher.all("heartbeat")[after]?.head;
    const next = await dispatcher.await(since, patienceMs);
    if (next?.["sole"] === true) return "it still says `sole` after that one task";
    const again = () => (other === undefined ? true : granting(other));
    const regained = await dispatcher.await(again, patienceMs);
    return regained === undefined ? "the other dispatcher gets no credit again" : undefined;
  }

  async #saysReadyAgain(): Promise<string | undefined> {
    const dispatcher = this.#dispatcher;
    dispatcher.isSilent = true;
    const ready = await dispatcher.await(() => dispatcher.unanswered(), 8_000);
    if (ready === undefined) return "no `ready` with another `link` came in 8 s";
    if (ready.incarnation !== dispatcher.ready?.incarnation)
      return "it calls itself another process";
    dispatcher.open(ready);
    return (await this.#grantsCredit()) ?? (await this.#isAlive());
  }

  async #drains(stop: () => void): Promise<string | undefined> {
    const { dispatchers, patienceMs } = this.#options;
    const sent = this.#send(Buffer.from(textMail));
    stop();
    const byes = (dispatcher: BareDispatcher, done: boolean) =>
      dispatcher.all("bye").find(({ head }) => {
        const bye = byeHeadSchema.safeParse(head);
        return bye.success && bye.data.done === done;
      });
    for (const dispatcher of dispatchers) {
      const first = await dispatcher.await(() => byes(dispatcher, false), patienceMs);
      if (first === undefined) return "it left without `bye (done: false)`";
      dispatcher.send({ kind: "bye", done: false });
    }
    const result = await this.#result(sent);
    if (typeof result === "string") return `of a task that it had: ${result}`;
    for (const dispatcher of dispatchers) {
      const last = await dispatcher.await(() => byes(dispatcher, true), patienceMs);
      if (last === undefined) return "it left without `bye (done: true)`";
      dispatcher.send({ kind: "bye", done: true });
    }
    return undefined;
  }

  /** It answers an ordinary task. */
  async #isAlive(): Promise<string | undefined> {
    const result = await this.#result(this.#send(Buffer.from(textMail)));
    return typeof result === "string" ? `after that: ${result}` : undefined;
  }

  async #onlyOnce(sent: Sent): Promise<string | undefined> {
    const twice = () => (this.#resultsOf(sent).length > 1 ? true : undefined);
    const isTwice = await this.#dispatcher.await(twice, silenceMs);
    return isTwice === undefined ? undefined : "it was answered twice";
  }

  #send(mail: Buffer, fields: Record<string, unknown> = {}): Sent {
    this.#dispatcher.sequence += 1;
    const sent = this.#task(mail, fields);
    this.#dispatcher.sendFrames(sent.frames);
    return sent;
  }

  #task(mail: Buffer, fields: Record<string, unknown> = {}): Sent {
    return buildTask(this.#dispatcher, mail, this.#options, fields);
  }

  #resultsOf({ taskId }: Sent): Record<string, unknown>[] {
    return this.#dispatcher
      .all("result")
      .flatMap(({ head }) => (head["taskId"] === taskId ? [head] : []));
  }

  /** Its one result, or what is wrong with it. */
  async #result(sent: Sent): Promise<ResultHead | string> {
    const first = () => this.#resultsOf(sent)[0];
    const head = await this.#dispatcher.await(first, this.#options.patienceMs + 2_000);
    if (head === undefined) return "no result came";
    for (const field of ["mailId", "sha256", "settingsHash", "task"]) {
      if (head[field] !== sent.head[field]) return `its result echoes another ${field}`;
    }
    const parsed = resultHeadSchema.safeParse(head);
    return parsed.success ? parsed.data : "its result does not fit the schema";
  }
}

/** A plain mail is nothing that a worker may be unable to judge. */
function whyNoAnswer(output: ResultHead["output"]): string | undefined {
  switch (output.kind) {
    case "failed":
      return `it failed: ${output.detail}`;
    case "unchecked":
      return `it is \`unchecked: ${output.reason}\`: ${output.detail ?? ""}`;
    case "unable":
      return `it is unable: ${output.reason}`;
    default:
      return undefined;
  }
}
