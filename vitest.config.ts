import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/set-up/longest-first.ts";

export default defineConfig({
  test: {
    include: ["**/test/**/*.test.ts"],
    sequence: { sequencer: LongestFirst },
    globalSetup: ["test/set-up/servers.ts"],
    setupFiles: [
      "test/set-up/leaks.ts",
      "test/set-up/properties.ts",
      "test/set-up/patience.ts",
      "test/set-up/clean-up.ts",
    ],
    exclude: ["**/node_modules/**", ".cache/**", ".run/**"],
    // Most of a test's time is spent waiting for others: more of them than cores.
    maxWorkers: 2 * availableParallelism() + 1,
    // Each wait inside has patience of its own, which grows with the load (test/set-up/patience.ts).
    testTimeout: 360_000,
    hookTimeout: 360_000,
    expect: { poll: { timeout: 240_000 } },
  },
});
