import { parseArgs } from "node:util";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { wholeNumber, wrongOption } from "@rs-agent/kit/options.ts";

type Defaults = Readonly<Record<string, number | readonly number[]>>;
/** For each name a number above 0, or several. */
type Options<D> = { -readonly [N in keyof D]: D[N] extends number ? number : number[] } & {
  json: boolean;
};

/** All others are counts or bytes. */
const mayBeFractions = new Set(["seconds", "minutes", "factor", "rate", "work-ms", "round-ms"]);
const most = 999_999_999;

/**
 * A benchmark's options, each with its default; if that is a list, the option takes several
 * numbers, as in `1,4`. `--json` works with all.
 * @throws TerminalError CFG_INVALID
 */
export function parseOptions<const D extends Defaults>(
  given: readonly string[],
  defaults: D,
): Options<D> {
  const { json, ...texts } = textsOf(given, Object.keys(defaults));
  const numbers = Object.entries(defaults).map(([name, byDefault]) => {
    const text = texts[name];
    if (typeof text !== "string") return [name, byDefault];
    if (typeof byDefault === "number") return [name, numberIn(name, text)];
    return [name, text.split(",").map((part) => numberIn(name, part))];
  });
  return { ...Object.fromEntries(numbers), json } as Options<D>;
}

/** The options of this process; ends it if they are wrong. */
export function readOptions<const D extends Defaults>(defaults: D): Options<D> {
  try {
    return parseOptions(process.argv.slice(2), defaults);
  } catch (error) {
    return exitWithError(error);
  }
}

function textsOf(given: readonly string[], names: readonly string[]) {
  const numbers = Object.fromEntries(names.map((name) => [name, { type: "string" } as const]));
  const options = { ...numbers, json: { type: "boolean", default: false } } as const;
  try {
    const { values } = parseArgs({ args: [...given], options });
    return values as Record<string, string | boolean | undefined>;
  } catch (error) {
    throw new TerminalError("CFG_INVALID", messageOf(error), { cause: error });
  }
}

function numberIn(name: string, text: string): number {
  const option = `--${name}`;
  if (!mayBeFractions.has(name)) return wholeNumber(option, text, most);
  const number = /^\d{1,9}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (number > 0) return number;
  throw wrongOption(option, text, `must be a number above 0, up to ${most}`);
}
