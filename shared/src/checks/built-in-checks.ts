import { spam } from "./spam.ts";
import { virus } from "./virus.ts";

/** The checks that exist without any policy, in the order in which they are asked. */
export const builtInChecks = { virus, spam } as const;
export type BuiltInCheck = keyof typeof builtInChecks;
export const builtInNames = Object.keys(builtInChecks) as BuiltInCheck[];

export type WorkerService = (typeof builtInChecks)[BuiltInCheck]["service"] | "enricher";
/** The services that answer tasks. */
export const workerServices: readonly WorkerService[] = [
  ...builtInNames.map((name) => builtInChecks[name].service),
  "enricher",
];
