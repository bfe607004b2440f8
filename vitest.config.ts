import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // One process per file: a crash of the native addon fails that file, not the run.
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: { include: ["src/**"] },
  },
});
