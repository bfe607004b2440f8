// Builds the native addon. In a clone: build/Release/bitnet.node with cmake-js, unless it is newer than every source;
// where tools are missing, the package of this platform is taken instead if it was built from the same sources.
// `bitnet build-native` runs it with --force there, and with --into FOLDER in an installed package.

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { hashSources } from "./native-sources.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const addonName = "bitnet.node";
const { values } = parseArgs({ options: { into: { type: "string" }, force: { type: "boolean", default: false } } });
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const howToInstall = {
  linux: "  Debian, Ubuntu:  sudo apt-get install -y g++ make cmake",
  darwin: "  macOS:           xcode-select --install && brew install cmake",
  win32:
    "  Windows:         Visual Studio Build Tools with the workload Desktop development with C++, in it also\n" +
    "                   C++ Clang tools for Windows and C++ CMake tools: https://visualstudio.microsoft.com/downloads/",
};

/** What a user can do something about, in a line. */
class Problem extends Error {}

function fail(problem, isToolMissing) {
  console.error(`error: cannot build the native part of bitnet: ${problem}`);
  if (isToolMissing) {
    const here = howToInstall[process.platform];
    const all = here === undefined ? Object.values(howToInstall) : [here, ...Object.values(howToInstall)];
    console.error(
      "Building needs a C++20 compiler (g++ 12 or clang 14, or newer) and CMake 3.18 or newer. To install them:",
    );
    console.error([...new Set(all)].join("\n"));
  }
  console.error(`Then run: ${values.into === undefined ? nextCommand() : "bitnet build-native"}`);
  process.exit(1);
}

/** npm goes on with what it installed: of `npm ci`, the rest of `prepare` is still to be done. */
function nextCommand() {
  return process.env.npm_lifecycle_event === "prepare" ? "the same installation again" : "npm run build:native";
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

/** What a program prints when it is asked for its version; undefined if it cannot be run. */
function versionOf(program) {
  const result = spawnSync(program, ["--version"], { encoding: "utf8" });
  return result.status === 0 ? result.stdout : undefined;
}

/** In words; undefined if everything is there that a build needs. */
function missingTool() {
  const cmake = versionOf("cmake");
  if (cmake === undefined) {
    return "cmake was not found";
  }
  const [, major, minor] = /(\d+)\.(\d+)/.exec(cmake) ?? [];
  if (Number(major) * 1000 + Number(minor) < 3018) {
    return `cmake ${major}.${minor} is too old`;
  }
  if (process.platform === "win32") {
    return undefined; // CMake itself finds Visual Studio
  }
  const named = process.env.CXX?.trim().split(/\s+/)[0];
  if (named && versionOf(named) === undefined) {
    return `the compiler ${named} (from CXX) was not found`;
  }
  if (!named && !["c++", "g++", "clang++"].some((name) => versionOf(name) !== undefined)) {
    return "no C++ compiler was found";
  }
  return ["make", "ninja"].some((name) => versionOf(name) !== undefined)
    ? undefined
    : "neither make nor ninja was found";
}

/** Builds OUT/Release/bitnet.node with the cmake-js that `modules` has. */
function build(out, modules) {
  const addon = join(out, "Release", addonName);
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism());
  const cmakeJs = join(modules, "cmake-js", "bin", "cmake-js");
  const args = ["build", "--out", out, "--config", "Release", "--parallel", jobs, "--log-level", "warn"];
  if (process.platform === "win32") {
    args.push("--toolset", "ClangCL");
  }
  if (!existsSync(addon)) {
    rmSync(join(out, "CMakeCache.txt"), { force: true }); // a configuration that was cut short would be kept
  }
  // cmake-js looks for node-addon-api from the sources, which may lie elsewhere.
  const env = { ...process.env, NODE_PATH: modules };
  const { status } = spawnSync(process.execPath, [cmakeJs, ...args], { cwd: root, stdio: "inherit", env });
  if (status !== 0 || !existsSync(addon)) {
    throw new Problem(`cmake-js ended with status ${status}; its messages are above`);
  }
  return addon;
}

/** Loads the addon in a process of its own, which a damaged one may end, and has it multiply with every kernel. */
function selfTest(addon) {
  const script = fileURLToPath(new URL("test-addon.mjs", import.meta.url));
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [script, addon], { encoding: "utf8" });
  if (status !== 0) {
    const said = /^ {2}"error": (".*")$/m.exec(stdout)?.[1] ?? /^\w*Error: .*$/m.exec(stderr)?.[0];
    throw new Problem(
      `the addon fails its self-test: ${said ?? `its process ended with ${signal ?? `status ${status}`}`}`,
    );
  }
}

/** Program and first arguments of npm: the one that runs this script, else the one in PATH. */
function npmCommand() {
  const own = process.env.npm_execpath ?? "";
  if (/npm-cli\.[cm]?js$/.test(own)) {
    return [process.execPath, own];
  }
  const isWindows = process.platform === "win32"; // where npm is a batch file, which cannot be given every argument
  return isWindows ? [process.execPath, join(dirname(process.execPath), "node_modules/npm/bin/npm-cli.js")] : ["npm"];
}

/** Installs packages into FOLDER/node_modules as the user's npm is configured, without running any of their scripts. */
function installPackages(folder, packages) {
  const [program, ...first] = npmCommand();
  const flags = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"];
  const args = [...first, "install", "--prefix", folder, "--global=false", "--workspaces=false", ...flags, ...packages];
  const { status, error, stderr } = spawnSync(program, args, { encoding: "utf8", timeout: 300_000, cwd: folder });
  if (error !== undefined) {
    throw new Problem(error.code === "ENOENT" ? "npm was not found" : `npm: ${error.message}`);
  }
  if (status !== 0) {
    const said = /^npm (?:error|ERR!) (?!code |errno )(.+)$/m.exec(stderr)?.[1];
    throw new Problem(said ?? `npm ended with status ${status}`);
  }
}

/** As the packages of the native part are called. */
function platformPackage() {
  const { header } = process.report?.getReport() ?? {};
  const isMusl = process.platform === "linux" && header?.glibcVersionRuntime === undefined;
  return `@bitnet-cli/${process.platform}${isMusl ? "musl" : ""}-${process.arch}`;
}

/** Puts the addon of this platform's package at `addon`. */
function takePackage(addon) {
  const folder = join(root, "build", "package");
  const name = platformPackage();
  const wanted = `${name}@${manifest.version}`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    installPackages(folder, [wanted]);
    const installed = join(folder, "node_modules", name);
    const { version, bitnet } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    if (version !== manifest.version || bitnet?.sources !== hashSources(root)) {
      throw new Problem(`${name}@${version} was built from other sources than these`);
    }
    selfTest(join(installed, addonName));
    mkdirSync(dirname(addon), { recursive: true });
    copyFileSync(join(installed, addonName), `${addon}.partial`);
    renameSync(`${addon}.partial`, addon);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return wanted;
}

function buildClone() {
  const addon = join(root, "build", "Release", addonName);
  if (values.force) {
    rmSync(addon, { force: true }); // a damaged one would seem up to date
  }
  if (existsSync(addon) && statSync(addon).mtimeMs > newestSource()) {
    return;
  }
  const missing = missingTool();
  if (missing === undefined) {
    console.error("bitnet: building the native addon (about a minute)");
    const require = createRequire(import.meta.url);
    build(join(root, "build"), join(dirname(require.resolve("cmake-js/package.json")), ".."));
    return;
  }
  try {
    console.error(`bitnet: ${missing}; the native part is taken from ${takePackage(addon)}`);
  } catch (error) {
    if (!(error instanceof Problem)) {
      throw error;
    }
    fail(`${missing}, and no package of it can be taken instead: ${error.message}`, true);
  }
}

/** The folder with cmake-js and node-addon-api, which the package does not depend on. */
function fetchTools(parent) {
  const versions = manifest.bitnet?.tools ?? manifest.devDependencies; // of a package that `npm pack` made in a clone
  const wanted = ["cmake-js", "node-addon-api"].map((name) => `${name}@${versions[name]}`);
  const folder = join(parent, `tools-${wanted.join("-")}`);
  if (!existsSync(folder)) {
    const partial = `${folder}.${process.pid}.partial`;
    mkdirSync(partial, { recursive: true });
    try {
      installPackages(partial, wanted);
      renameSync(partial, folder);
    } catch (error) {
      throw new Problem(`cannot get ${wanted.join(" and ")}: ${error.message}`);
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
  }
  return join(folder, "node_modules");
}

const forgottenMs = 24 * 3600_000;

/** Deletes what builds have left that were killed. */
function removeForgotten(parent) {
  for (const name of existsSync(parent) ? readdirSync(parent) : []) {
    const path = join(parent, name);
    if (name.endsWith(".partial") && Date.now() - statSync(path).mtimeMs > forgottenMs) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

/** Whole or not at all: what is at `folder` is replaced by an addon that was tried. */
function buildInto(folder) {
  const missing = missingTool();
  if (missing !== undefined) {
    fail(missing, true);
  }
  const work = `${folder}.${process.pid}.partial`;
  const done = join(work, "done");
  removeForgotten(dirname(folder));
  mkdirSync(done, { recursive: true });
  try {
    const addon = build(work, fetchTools(dirname(folder)));
    selfTest(addon);
    copyFileSync(addon, join(done, addonName));
    const bitnet = { sources: hashSources(root), bytes: statSync(addon).size };
    writeFileSync(join(done, "package.json"), `${JSON.stringify({ version: manifest.version, bitnet })}\n`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(done, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

// Ctrl-C ends the compiler; what is half-built is removed after that.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {});
}
try {
  if (values.into === undefined) {
    buildClone();
  } else {
    buildInto(values.into);
  }
} catch (error) {
  const isOfFiles = typeof error.syscall === "string" && error.path !== undefined; // full, read-only, of somebody else
  if (!(error instanceof Problem || isOfFiles)) {
    throw error;
  }
  fail(error.message, false);
}
