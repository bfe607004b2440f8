// Builds build/Release/bitnet.node with cmake-js; does nothing when it is newer than every native source.
// Runs by itself at `npm install`, then also skipping when the package brings a prebuilt addon for this platform.
// `bitnet build-native` runs it with --out FOLDER, for packages that were installed without their install script.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const { values } = parseArgs({ options: { out: { type: "string", default: join(root, "build") } } });
const addon = join(values.out, "Release", "bitnet.node");
const installing = process.env.npm_lifecycle_event === "install";
const inClone = existsSync(join(root, "tsconfig.json")); // is not in the package
const prebuilt = join(root, "prebuilds", `${process.platform}-${process.arch}`, "bitnet.node");

const howToInstall = {
  linux: "  Debian, Ubuntu:  sudo apt-get install -y g++ make cmake",
  darwin: "  macOS:           xcode-select --install && brew install cmake",
  win32:
    "  Windows:         Visual Studio Build Tools with the workload Desktop development with C++, in it also\n" +
    "                   C++ Clang tools for Windows and C++ CMake tools: https://visualstudio.microsoft.com/downloads/",
};

function fail(problem) {
  const here = howToInstall[process.platform];
  const all = here === undefined ? Object.values(howToInstall) : [here, ...Object.values(howToInstall)];
  console.error(`error: cannot build the native part of bitnet: ${problem}`);
  console.error(
    "Building needs a C++20 compiler (g++ 12 or clang 14, or newer) and CMake 3.18 or newer. To install them:",
  );
  console.error([...new Set(all)].join("\n"));
  console.error(`Then run: ${nextCommand()}`);
  process.exit(1);
}

/** npm deletes a package whose installation failed: there is nothing left to build in. */
function nextCommand() {
  if (inClone) {
    return "npm run build:native";
  }
  return installing ? "the same installation again" : "bitnet build-native";
}

function newestSource() {
  let newest = statSync(join(root, "CMakeLists.txt")).mtimeMs;
  for (const entry of readdirSync(join(root, "native"), { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      newest = Math.max(newest, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
    }
  }
  return newest;
}

function runs(command) {
  const result = spawnSync(command, ["--version"], { encoding: "utf8", shell: process.platform === "win32" });
  return result.status === 0 ? result.stdout : undefined;
}

function checkTools() {
  const cmake = runs("cmake");
  if (cmake === undefined) {
    fail("cmake was not found");
  }
  const [, major, minor] = /(\d+)\.(\d+)/.exec(cmake) ?? [];
  if (Number(major) * 1000 + Number(minor) < 3018) {
    fail(`cmake ${major}.${minor} is too old`);
  }
  if (process.platform === "win32") {
    return; // CMake itself finds Visual Studio
  }
  const named = process.env.CXX?.trim().split(/\s+/)[0];
  if (named ? runs(named) === undefined : !["c++", "g++", "clang++"].some((name) => runs(name) !== undefined)) {
    fail(named ? `the compiler ${named} (from CXX) was not found` : "no C++ compiler was found");
  }
  if (runs("make") === undefined && runs("ninja") === undefined) {
    fail("neither make nor ninja was found");
  }
}

function build() {
  const require = createRequire(import.meta.url);
  const cmakeJs = join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism());
  const args = [
    cmakeJs,
    "build",
    "--out",
    values.out,
    "--config",
    "Release",
    "--parallel",
    jobs,
    "--log-level",
    "warn",
  ];
  if (process.platform === "win32") {
    args.push("--toolset", "ClangCL");
  }
  if (!existsSync(addon)) {
    rmSync(join(values.out, "CMakeCache.txt"), { force: true }); // a configuration that was cut short would be kept
  }
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  if (status !== 0 || !existsSync(addon)) {
    fail(`cmake-js ended with status ${status}; its messages are above`);
  }
}

const upToDate = existsSync(addon) && statSync(addon).mtimeMs > newestSource();
if (!(upToDate || (installing && existsSync(prebuilt)))) {
  checkTools();
  console.error("bitnet: building the native addon (about a minute)");
  build();
}
