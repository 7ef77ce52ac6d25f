import { InvalidArgumentError, type Command } from "commander";
import { BareDispatcher } from "@rs-agent/shared/bus/contract/bare-dispatcher.ts";
import { runContract, type StepResult } from "@rs-agent/shared/bus/contract/worker-contract.ts";
import { openBusProtection } from "@rs-agent/shared/bus/protection.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { CliDeps } from "../session.ts";
import { field } from "../terminal.ts";

interface TestOptions {
  settings?: Record<string, unknown>;
  hugeMb: number;
  patience: number;
  pid?: number;
  json?: true;
}

/** `worker test`: holds a worker in any language to the protocol (docs/write-a-worker.md). */
export function addWorker(program: Command, deps: CliDeps): void {
  program
    .command("worker")
    .description("workers of your own")
    .command("test")
    .description("hold a worker to the wire protocol, as its dispatcher")
    .argument("<address>", "where to listen: what the worker has as BUS_DISPATCHERS")
    .argument("[second]", "a second one, for what needs two dispatchers")
    .option("--settings <json>", "the settings of its tasks", settingsIn)
    .option("--huge-mb <n>", "size of the largest mail", numberIn, 30)
    .option("--patience <seconds>", "how long one mail may take", numberIn, 20)
    .option("--pid <pid>", "its process: stopped by SIGTERM at the end", numberIn)
    .option("--json", "print JSON")
    .action((address: string, second: string | undefined, options: TestOptions) =>
      test(deps, [address, ...(second === undefined ? [] : [second])], options),
    );
}

async function test(deps: CliDeps, addresses: string[], options: TestOptions): Promise<void> {
  const { output, env } = deps;
  const { hugeMb, patience, pid, settings, json } = options;
  const log = createSilentLogger();
  const protection = openBusProtection(
    { BUS_KEY_FILE: env["BUS_KEY_FILE"], BUS_ALLOW_FILE: env["BUS_ALLOW_FILE"] },
    { kind: "dispatcher", clock: systemClock, log },
  );
  const open = (bind: string, place: number) =>
    new BareDispatcher({
      bind,
      actorId: `contract-${String(place + 1)}`,
      protection,
      maxMailBytes: hugeMb * 2_000_000,
      clock: systemClock,
      log,
    });
  const [first, ...others] = addresses.map(open);
  if (first === undefined) throw new Error("commander asks for an address");
  const steps: StepResult[] = [];
  if (json !== true) output.tell(`waiting for a worker at ${first.endpoint}`);
  try {
    const holds = await runContract({
      dispatchers: [first, ...others],
      settings,
      hugeBytes: hugeMb * 1_000_000,
      patienceMs: patience * 1_000,
      stop: pid === undefined ? undefined : () => process.kill(pid, "SIGTERM"),
      onStep: (step) => {
        steps.push(step);
        if (json !== true) output.print(stepText(step));
      },
    });
    if (json === true) output.json(steps);
    if (!holds) deps.setExitCode(1);
  } finally {
    for (const dispatcher of [first, ...others]) dispatcher.close();
    protection.close();
  }
}

function stepText({ name, wrong, skipped }: StepResult): string {
  if (skipped === true) return field("skipped", name);
  return wrong === undefined ? field("ok", name) : field("WRONG", `${name}: ${wrong}`);
}

function numberIn(text: string): number {
  const number = Number(text);
  if (Number.isFinite(number) && number > 0) return number;
  throw new InvalidArgumentError("must be a number above 0");
}

function settingsIn(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch {
    // reported below
  }
  throw new InvalidArgumentError("must be a JSON object");
}
