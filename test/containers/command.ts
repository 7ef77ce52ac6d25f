import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { once } from "node:events";

export interface CommandOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Given on standard input. */
  input?: string;
  /** Exit codes other than 0 that are not errors. */
  mayEndWith?: readonly number[];
}

export interface CommandEnd {
  stdout: string;
  stderr: string;
  code: number;
}

/**
 * Runs a program to its end.
 * @throws Error with the end of what it printed, on any other exit code
 */
export async function run(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandEnd> {
  const { cwd, env = process.env, input, mayEndWith = [] } = options;
  const child = spawn(file, args, { cwd, env, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(input);
  const output = Promise.all([text(child.stdout), text(child.stderr)]);
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  const [stdout, stderr] = await output;
  if (code === null || (code !== 0 && !mayEndWith.includes(code))) {
    const said = (stdout + stderr).trim().split("\n").slice(-25).join("\n  ");
    throw new Error(`${file} ${args.join(" ")}: ${signal ?? `exit code ${code}`}\n  ${said}`);
  }
  return { stdout, stderr, code };
}
