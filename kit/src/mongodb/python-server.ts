import { providePython } from "../python-environment.ts";
import type { ProviderContext } from "./providers.ts";

/** The release that LIBRARIES.md measured. */
const release = "SecantusDB==0.7.0b3";

/**
 * SecantusDB's Python server in a virtual environment of its own in the cache, made if it is not
 * there.
 */
export function findPythonServer(
  context: ProviderContext,
): Promise<{ file: string } | { missing: string }> {
  const name = `secantusdb-${release.split("==")[1] ?? ""}`;
  const wanted = { name, packages: [release], script: "secantusd-py", pipArguments: ["--pre"] };
  return providePython(wanted, context);
}
