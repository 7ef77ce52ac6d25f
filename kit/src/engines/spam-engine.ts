import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { startChild, untilReady, type Child } from "../processes/child.ts";

/** How to start a spam engine, and how to see that it works. */
export interface EngineCommand {
  /** For a person: `spamd`. */
  name: string;
  program: string;
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
  logFile: string;
  startLimitMs: number;
  /** Resolves once a real check was answered; rejects when the signal aborts. */
  untilChecks: (signal: AbortSignal) => Promise<void>;
  signal: AbortSignal | undefined;
}

/**
 * Starts an engine, which can check mail when this returns.
 * @throws TerminalError SETUP_FAILED with the end of what it printed
 */
export async function startSpamEngine(command: EngineCommand): Promise<Child> {
  const { name, program, args, env, logFile, startLimitMs, untilChecks, signal } = command;
  const child = startChild(program, args, { env: { ...env, LANG: "C", LC_ALL: "C" }, logFile });
  try {
    await untilReady(child, untilChecks, { withinMs: startLimitMs, signal });
    return child;
  } catch (error) {
    const last = child.said().split("\n").slice(-3).join("\n  ");
    const said = last === "" ? "" : `\n  ${last}\n  (whole log: ${logFile})`;
    const text = `${name} did not start: ${messageOf(error)}${said}`;
    throw new TerminalError("SETUP_FAILED", text, { cause: error });
  }
}
