import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // One process per file: a crash of the native addon fails that file, not the run.
    pool: "forks",
    env: { BITNET_TUNING: "none" }, // what this machine's user has tuned is not to be tested
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: { include: ["src/**"] },
  },
});
