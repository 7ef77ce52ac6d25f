import { spawn } from "node:child_process";
import { messageOf } from "@rs-agent/shared/errors.ts";

/** How a set-up command ended; `output` is the end of what it printed on both streams. */
export interface CommandEnd {
  ok: boolean;
  output: string;
}

/**
 * Runs a set-up command to its end. Never rejects. The command is killed when it has printed
 * nothing for `silenceMs`: a download through a network that swallows packets would otherwise wait
 * forever.
 */
export function runCommand(
  program: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; silenceMs: number; onLine?: (line: string) => void },
): Promise<CommandEnd> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      stdio: ["ignore", "pipe", "pipe"],
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    let output = "";
    let silent = false;
    const silence = setTimeout(() => {
      silent = true;
      child.kill("SIGKILL");
    }, options.silenceMs);
    const onText = (chunk: Buffer) => {
      silence.refresh();
      const text = chunk.toString("utf8");
      output = (output + text).slice(-8192);
      for (const line of text.split(/[\r\n]+/))
        if (line.trim() !== "") options.onLine?.(line.trim());
    };
    child.stdout.on("data", onText);
    child.stderr.on("data", onText);
    const end = (ok: boolean, because: string) => {
      clearTimeout(silence);
      resolve({
        ok,
        output: because === "" ? output.trim() : `${output.trim()} (${because})`.trim(),
      });
    };
    child.once("error", (error) => end(false, messageOf(error)));
    child.once("close", (code) => {
      if (silent) end(false, `gave no sign for ${options.silenceMs / 1000} s`);
      else end(code === 0, code === 0 ? "" : `exit code ${String(code)}`);
    });
  });
}
