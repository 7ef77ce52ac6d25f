import type {
  Asked,
  AskOptions,
  EngineClient,
  EngineFailure,
  EngineState,
  Unable,
} from "../../src/engines/engine-client.ts";

/** What these tests find. */
export interface Finding {
  kind: "passed" | "found";
}

interface AskedQuestion extends AskOptions {
  question: string;
  alone: boolean;
  /** The first answer counts. */
  answer: (asked: Asked<Finding>) => void;
}

const passed: Asked<Finding> = { kind: "answered", finding: { kind: "passed" } };

/**
 * An engine whose answers come from the test: at once by `script`, or later by what is in `open`.
 */
export class FakeClient implements EngineClient<string, Finding> {
  readonly name = "fake";
  readonly address: string;
  /** Every question that was asked. */
  readonly asked: AskedQuestion[] = [];
  /** The answer to a question; undefined: it waits for `answer`. */
  script: (question: string) => Asked<Finding> | undefined = () => passed;
  /** What the canaries find; counts how often they were asked. */
  canaries: () => EngineState | Promise<EngineState> = () => this.able;
  looks = 0;
  isClosed = false;
  leaveOut: (why: Unable) => void = () => undefined;

  constructor(address: string) {
    this.address = address;
  }

  get able(): EngineState {
    return { kind: "able", engine: { name: "fake", version: this.address } };
  }

  ask(question: string, options: AskOptions & { alone?: boolean }): Promise<Asked<Finding>> {
    const { promise, resolve, reject } = Promise.withResolvers<Asked<Finding>>();
    const { signal, timeoutMs, alone = false } = options;
    this.asked.push({ question, signal, timeoutMs, alone, answer: resolve });
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    const scripted = this.script(question);
    if (scripted !== undefined) resolve(scripted);
    return promise;
  }

  async putCanariesThrough(): Promise<EngineState> {
    this.looks += 1;
    return this.canaries();
  }

  watch(leaveOut: (why: Unable) => void): void {
    this.leaveOut = leaveOut;
  }

  close(): void {
    this.isClosed = true;
  }
}

export const found: Asked<Finding> = { kind: "answered", finding: { kind: "found" } };

export function failed(
  reason: EngineFailure["reason"],
  more: Omit<EngineFailure, "kind" | "reason" | "detail"> = {},
): EngineFailure {
  return { kind: "failed", reason, detail: `it is ${reason}`, ...more };
}

export const died = failed("engine-error", { lost: "died" });
export const late = failed("time-out", { lost: "time-out" });
export const unreached = failed("engine-away");
