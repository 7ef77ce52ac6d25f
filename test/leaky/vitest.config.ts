import { defineConfig } from "vitest/config";

/** Runs one file that leaves everything open; test/leak-check.test.ts checks that it fails. */
export default defineConfig({
  test: { include: ["leaky.ts"], setupFiles: ["../set-up/leaks.ts"] },
});
