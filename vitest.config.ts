import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // One process per file: a crash of the native addon fails that file, not the run.
    pool: "forks",
    // What the user of this machine has tuned and downloaded is not to be tested.
    env: { BITNET_TUNING: "none", BITNET_MODELS: join(tmpdir(), "bitnet-no-models") },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: { include: ["src/**"] },
  },
});
