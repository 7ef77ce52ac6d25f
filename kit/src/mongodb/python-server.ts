import { providePython } from "../python-environment.ts";
import type { ProviderContext } from "./providers.ts";

/** The release that was tried and measured. */
const release = "SecantusDB==0.7.0b3";

/**
 * SecantusDB's Python server, in a virtual environment of its own in the cache, which is made if it
 * is missing.
 */
export function findPythonServer(
  context: ProviderContext,
): Promise<{ file: string } | { missing: string }> {
  const name = `secantusdb-${release.split("==")[1] ?? ""}`;
  const wanted = { name, packages: [release], script: "secantusd-py", pipArguments: ["--pre"] };
  return providePython(wanted, context);
}
