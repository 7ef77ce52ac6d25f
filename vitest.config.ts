import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["**/test/**/*.test.ts"],
    globalSetup: [
      "test/set-up/mongodb.ts",
      "test/set-up/clamd.ts",
      "test/set-up/spamd.ts",
      "test/set-up/rspamd.ts",
    ],
    setupFiles: ["test/set-up/properties.ts", "test/set-up/patience.ts"],
    exclude: ["**/node_modules/**", ".cache/**", ".run/**"],
    // Most of a test's time is spent waiting for others.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
