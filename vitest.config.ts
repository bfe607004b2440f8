import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

// No test is about time: these only end what would never end, on slow machines that have other things to do as well.
const patience = 300_000;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // One process per file: a crash of the native addon fails that file, not the run.
    pool: "forks",
    maxWorkers: availableParallelism(), // much of the time is that of processes that tests wait for
    // What the user of this machine has tuned, downloaded and read is not to be tested, nor to be changed by tests.
    env: {
      BITNET_TUNING: "none",
      BITNET_MODELS: join(tmpdir(), "bitnet-no-models"),
      XDG_STATE_HOME: join(tmpdir(), "bitnet-tests-state"),
    },
    testTimeout: patience,
    hookTimeout: patience,
    expect: { poll: { timeout: patience / 5 } },
    coverage: { include: ["src/**"] },
  },
});
