import { TerminalError } from "@rs-agent/shared/errors.ts";

/** The error for a value that an option cannot take. */
export function wrongOption(option: string, given: string, wanted: string): TerminalError {
  const text = given === "" ? option : `${option} ${given}`;
  return new TerminalError("CFG_INVALID", `${text}: ${wanted}`);
}

const sizes = { "": 1, k: 1_000, m: 1_000_000 } as const;

/** Bytes: `500`, `4k`, `5m`; undefined for anything else. */
export function sizeBytes(text: string): number | undefined {
  const [, digits, unit = ""] = /^([1-9]\d{0,8})([kKmM]?)$/.exec(text) ?? [];
  return digits === undefined
    ? undefined
    : Number(digits) * sizes[unit.toLowerCase() as keyof typeof sizes];
}

/** @throws TerminalError CFG_INVALID */
export function wholeNumber(option: string, text: string, most = 1_000_000_000): number {
  const number = /^[1-9]\d{0,9}$/.test(text) ? Number(text) : Number.NaN;
  if (number <= most) return number;
  throw wrongOption(option, text, `must be a whole number from 1 to ${most}`);
}

/** `a:9,b:1` as pairs of name and share; a name without a share has 1. */
export function sharesOf(option: string, text: string): [name: string, share: number][] {
  return text.split(",").map((entry) => {
    const [name = "", share = "1", ...more] = entry.trim().split(":");
    if (name !== "" && more.length === 0 && /^\d{1,4}$/.test(share)) return [name, Number(share)];
    throw wrongOption(option, text, "must be shares in whole numbers such as a:90,b:10");
  });
}
