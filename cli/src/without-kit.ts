import { TerminalError } from "@rs-agent/shared/errors.ts";

/**
 * For kits that a container image does not have: they would bring servers of their own.
 * @throws TerminalError SETUP_MISSING saying what to run instead; any other error as it is
 */
export function withoutKit(what: string, command: string): (error: unknown) => never {
  return (error) => {
    if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw error;
    const text = `${what} is not installed here: run \`${command}\` in a checkout`;
    throw new TerminalError("SETUP_MISSING", text, { cause: error });
  };
}
