import { field } from "../terminal.ts";

/** One dependency: reached or not, and what to do. */
export interface Diagnosis {
  part: string;
  ok: boolean;
  /** It works, but may cost something one day. */
  warning?: true;
  /** It cannot be seen from here. */
  unknown?: true;
  /** What was found. */
  found: string;
  /** What to do if it is not well. */
  advice?: string;
  /** Part of the advice that is to be copied, so it is not wrapped. */
  copy?: string;
}

/** For a terminal of 80 columns. */
export function diagnosisText({ part, ok, warning, unknown, ...told }: Diagnosis): string {
  const { found, advice, copy } = told;
  const word = !ok ? "NOT WELL" : warning ? "WARNING" : unknown ? "NOT KNOWN" : "ok";
  return [
    field(part, `${word}: ${found}`, 16),
    ...(advice === undefined ? [] : [field("", `→ ${advice}`, 16)]),
    ...(copy === undefined ? [] : [copy]),
  ].join("\n");
}
