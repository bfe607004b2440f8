// Builds the native tests in build-native-tests and runs them. Arguments go to the CMake configuration:
//   node scripts/test-native.mjs -DBITNET_SANITIZE=ON

import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const build = "build-native-tests";
const jobs = String(availableParallelism());

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error !== undefined) {
    console.error(`error: cannot run ${command}: ${error.message}`);
  }
  if (status !== 0) {
    process.exit(status ?? 1);
  }
}

run("cmake", ["-S", ".", "-B", build, "-DBITNET_TESTS=ON", ...process.argv.slice(2)]);
run("cmake", ["--build", build, "--parallel", jobs]);
run("ctest", ["--test-dir", build, "--output-on-failure", "--parallel", jobs]);
