import { RetryableError } from "@rs-agent/shared/errors.ts";
import { isEnrichTask, type TaskHead } from "@rs-agent/shared/bus/wire.ts";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { answeredIn, type CheckKind, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type {
  Ability,
  TaskContext,
  TaskHandler,
  TaskMail,
  TaskOutput,
} from "@rs-agent/shared/worker/handler.ts";
import { honestFinding, type Truth } from "./mails.ts";
import type { Random } from "./random.ts";
import type { VirtualProcess } from "./virtual-time.ts";

/** How an engine is doing now; one for each worker. */
export interface EngineState {
  /** It cannot be reached: checks end as `unchecked`, canaries fail. */
  away: boolean;
  /** The share of tasks that are answered with this, although the mail is fine. */
  fails: number;
  throws: number;
  /** The share of tasks that are not worked on until somebody gives up. */
  hangs: number;
  /** What hangs does not even notice that it is given up. */
  isDeaf: boolean;
  /** The share of tasks in which the engine dies, with everything in it. */
  dies: number;
  /** Aborted when it dies; afterwards it is a new engine. */
  life: AbortController;
  /** Work takes this many times as long. */
  slowness: number;
}

/** One piece of work that a worker has begun. */
export interface Work {
  worker: VirtualProcess;
  engineName: string;
  task: TaskHead;
  beganMs: number;
  /** It does not notice that it is given up. */
  isDeaf: boolean;
  /** Undefined: it is still going on, unless its worker is dead. */
  endedMs: number | undefined;
  /** Undefined: it did not end with an output. */
  output: TaskOutput["output"] | undefined;
}

export interface EngineDeps {
  kind: TaskKind;
  engineName: string;
  process: VirtualProcess;
  random: Random;
  engine: EngineState;
  concurrency: number;
  truthOf: (sha256: string) => Truth | undefined;
  onBegun: (work: Work) => void;
  onDone: (work: Work) => void;
}

/** The handler of a worker whose engine tells the truth, if it tells anything. */
export function createEngine(deps: EngineDeps): TaskHandler {
  const { kind, random, engine, process } = deps;
  return {
    kind,
    concurrency: () => deps.concurrency,
    canary: () => answered<Ability>(random.around(5), ability(deps)),
    close: () => Promise.resolve(),
    async handle(task, mail, context) {
      const work: Work = {
        worker: process,
        engineName: deps.engineName,
        task,
        beganMs: process.time.nowMs,
        isDeaf: engine.isDeaf,
        endedMs: undefined,
        output: undefined,
      };
      deps.onBegun(work);
      try {
        const done = await handled(deps, task, mail, context, deps.truthOf(task.sha256));
        work.output = done.output;
        return done;
      } finally {
        work.endedMs = process.time.nowMs;
        deps.onDone(work);
      }
    },
  };
}

function ability({ engine, engineName }: EngineDeps): Ability {
  if (engine.away) return { able: false, reason: "the engine is away" };
  return { able: true, engine: { name: engineName, version: "1" } };
}

async function handled(
  deps: EngineDeps,
  task: TaskHead,
  mail: TaskMail,
  { signal }: TaskContext,
  truth: Truth | undefined,
): Promise<TaskOutput> {
  const { kind, random, engine, process } = deps;
  if (mail.kind !== "bytes" || sha256Hex(mail.bytes) !== task.sha256) {
    throw new Error("a worker got other bytes than its task says");
  }
  const { life } = engine;
  const workMs = random.around(kind === "virus" ? 20 : 60) * engine.slowness;
  await (engine.isDeaf ? answered(workMs, undefined) : unlessAborted(workMs, signal));
  if (truth?.poison?.kind === kind) {
    if (truth.poison.how === "kills-engine") engineDies(deps);
    else if (truth.poison.how !== "hangs") {
      process.end();
      return new Promise<never>(() => undefined);
    } else return hang(signal, engine.isDeaf);
  }
  if (kind !== "enrich" && random.chance(engine.dies)) engineDies(deps);
  if (life.signal.aborted) return { ...unchecked("engine-error"), strikes: 1 };
  if (random.chance(engine.hangs)) return hang(signal, engine.isDeaf);
  if (random.chance(engine.throws)) throw new RetryableError("AV_ENGINE_ERROR", "it broke");
  if (kind === "enrich") return enriched(task, mail.bytes, engine);
  if (engine.away) return unchecked("engine-away");
  if (random.chance(engine.fails)) return unchecked(random.pick(["engine-error", "busy"] as const));
  if (truth === undefined) throw new Error("a worker got a mail that nobody sent");
  return { output: honestFinding(truth, kind satisfies CheckKind) };
}

/** Its owner restarts it. */
function engineDies({ engine, random }: EngineDeps): void {
  engine.life.abort();
  engine.life = new AbortController();
  if (engine.away) return;
  engine.away = true;
  setTimeout(() => (engine.away = false), random.between(100, 3_000));
}

/** Hangs until the task is given up; a blocked one does not even notice that. */
function hang(signal: AbortSignal, isDeaf: boolean): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (isDeaf) return;
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

function unchecked(reason: "engine-away" | "engine-error" | "busy") {
  return { output: { kind: "unchecked", reason, detail: "simulated" } } as const;
}

function enriched(task: TaskHead, raw: Buffer, engine: EngineState): TaskOutput {
  if (!isEnrichTask(task)) throw new Error("the enricher got another task");
  if (engine.away) return { output: { kind: "unable", reason: "the key cannot be read" } };
  const restOffset = raw.indexOf("\r\n\r\n") + 2;
  const sign = task.settings.changes.find((change) => change.kind === "sign");
  const checked = answeredIn(task.verdicts)
    .map((check) => `${check}=${task.verdicts[check]?.finding.kind ?? "none"}`)
    .join(" ");
  const head = `${raw.subarray(0, restOffset).toString()}X-Checked: ${checked} ${task.disposition ?? ""}\r\n`;
  const rest = raw.subarray(restOffset);
  const seal = sign === undefined ? "" : `${sealOf(head, rest, sign)}\r\n`;
  const block = Buffer.from(head + seal);
  const whole = Buffer.concat([block, rest]);
  return {
    bytes: block,
    output: {
      kind: "enriched",
      bodyChanged: false,
      restOffset,
      sha256: sha256Hex(whole),
      size: whole.length,
      ...(sign && { signature: { domain: sign.domain, selector: sign.selector } }),
      notes: [],
    },
  };
}

/** Stands for a DKIM signature: it is the same only over exactly these bytes. */
function sealOf(head: string, rest: Buffer, sign: { domain: string; selector: string }): string {
  const { domain, selector } = sign;
  return `X-Seal: d=${domain} s=${selector} b=${sha256Hex(Buffer.concat([Buffer.from(head), rest]))}`;
}

/** Whether the bytes carry a seal of this key that fits them. */
export function isSealed(bytes: Buffer, by: { domain: string; selector: string }): boolean {
  const text = bytes.toString("latin1");
  const seal = /\r\n(X-Seal: [^\r\n]*)/.exec(text)?.[1];
  if (seal === undefined) return false;
  const without = text.replace(`${seal}\r\n`, "");
  const end = without.indexOf("\r\n\r\n") + 2;
  return sealOf(without.slice(0, end), Buffer.from(without.slice(end), "latin1"), by) === seal;
}

function unlessAborted(workMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    setTimeout(resolve, workMs);
  });
}

function answered<T>(afterMs: number, value: T): Promise<T> {
  return new Promise((resolve) => setTimeout(() => resolve(value), afterMs));
}
