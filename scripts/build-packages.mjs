// Builds the packages of the native part: build-packages/PLATFORM/ and its .tgz, for every platform of platforms.mjs.
//   node scripts/build-packages.mjs [--only linux-x64,...] [--test]
//   node scripts/build-packages.mjs --here      this platform's, from the addon that cmake-js has built
// Needs zig 0.17 (ZIG, `zig` in PATH or `pip install ziglang`), CMake and llvm-objdump; docs/platforms.md has the rest.

import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, homedir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { hashSources } from "./native-sources.mjs";
import { platforms } from "./platforms.mjs";
import { testPackages } from "./test-packages.mjs";
import { nativeParts } from "./third-party.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = join(root, "build-packages");
const work = join(out, ".work");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const { values } = parseArgs({
  options: { only: { type: "string" }, here: { type: "boolean" }, test: { type: "boolean" } },
});

function fail(message, hint) {
  console.error(`error: ${message}\nhint: ${hint}`);
  process.exit(1);
}

/** The first of the programs that runs; each is a list of words. */
function findProgram(candidates, ...question) {
  return candidates.find(([program, ...first]) => spawnSync(program, [...first, ...question]).status === 0);
}

function findZig() {
  const words = [[process.env.ZIG ?? "zig"], ["python3", "-m", "ziglang"]];
  const found = findProgram(words, "version");
  if (found === undefined) {
    fail("zig was not found (in ZIG, in PATH, or as Python's package)", "pip install ziglang==0.17.1");
  }
  // CMake wants one program, and the module of Python is a way to it.
  const [program, ...first] = found;
  const env = execFileSync(program, [...first, "env"], { encoding: "utf8" });
  const field = (name) => new RegExp(`\\.?"?${name}"?\\s*[=:]\\s*"([^"]+)"`).exec(env)?.[1];
  return { program: field("zig_exe"), lib: field("lib_dir") };
}

function findObjdump() {
  const versions = [22, 21, 20, 19, 18, 17, 16, 15, 14].map((version) => `llvm-objdump-${version}`);
  const names = [...(process.env.OBJDUMP ? [process.env.OBJDUMP] : []), "llvm-objdump", ...versions];
  const [program] = findProgram(
    names.map((name) => [name]),
    "--version",
  ) ?? [undefined];
  return program ?? fail("llvm-objdump was not found", "Debian, Ubuntu: apt-get install llvm");
}

/** Folders with the headers of Node's interface for addons. */
function headerFolders() {
  const require = createRequire(import.meta.url);
  const ofCmakeJs = createRequire(require.resolve("cmake-js/package.json"));
  return [ofCmakeJs("node-api-headers").include_dir, dirname(require.resolve("node-addon-api/package.json"))];
}

const run = (program, args, env) => execFileSync(program, args, { stdio: ["ignore", "inherit", "inherit"], env });

/** Builds the addon of a platform, or `target`; returns the build folder. */
export function compile(platform, zig, { folder = platform.name, target = "bitnet_addon", options = [] } = {}) {
  const build = join(work, folder);
  const cache = join(work, "zig");
  const { CMAKE_CXX_COMPILER_LAUNCHER: _, ...rest } = process.env; // ccache does not know zig, which has a cache itself
  const env = { ZIG_GLOBAL_CACHE_DIR: cache, ZIG_LOCAL_CACHE_DIR: cache, ...rest };
  const settings = {
    CMAKE_TOOLCHAIN_FILE: join(root, "cmake", "zig.cmake"),
    CMAKE_BUILD_TYPE: "Release",
    ZIG: zig.program,
    ZIG_TARGET: platform.target,
    ZIG_SYSTEM: platform.system,
    ZIG_PROCESSOR: platform.processor,
    CMAKE_JS_INC: headerFolders().join(";"),
  };
  const defined = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
  run("cmake", ["-S", root, "-B", build, ...defined, ...options], env);
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(availableParallelism());
  run("cmake", ["--build", build, "--parallel", jobs, "--target", target], env);
  return build;
}

/** What makes an addon unfit to be published, in words. */
function check(path, { name, instructions, features = [], glibc }, objdump) {
  const dump = (...args) => execFileSync(objdump, [...args, path], { encoding: "latin1", maxBuffer: 2 ** 30 });
  const code = dump("--disassemble", "--no-show-raw-insn", ...features);
  const missing = Object.entries(instructions).flatMap(([set, pattern]) => (pattern.test(code) ? [] : [set]));
  const problems = missing.map((set) => `has no instructions of ${set}`);
  if (glibc !== undefined) {
    const minor = (version) => Number(version.split(".")[1]);
    const needed = [...dump("--private-headers").matchAll(/GLIBC_(2\.\d+)/g)].map(([, version]) => version);
    const newer = needed.filter((version) => minor(version) > minor(glibc));
    problems.push(...newer.map((version) => `needs glibc ${version}`));
  }
  const text = readFileSync(path, "latin1");
  const paths = [root, homedir(), "/node_modules/"].filter((place) => place.length > 5 && text.includes(place));
  problems.push(...paths.map((place) => `has the path ${place}`));
  if (problems.length > 0) {
    throw new Error(`the addon of ${name} ${problems.join(", ")}`);
  }
}

function writePackage(platform, addon, linked) {
  const folder = join(out, platform.name);
  const write = (name, text) => writeFileSync(join(folder, name), text);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  copyFileSync(addon, join(folder, "bitnet.node"));
  const { version, license, author, homepage, bugs, repository, engines, publishConfig } = manifest;
  const description = {
    name: `@bitnet-cli/${platform.name}`,
    version,
    description: `The native part of bitnet-cli for ${platform.name}`,
    os: [platform.os],
    cpu: [platform.cpu],
    ...(platform.libc === undefined ? {} : { libc: [platform.libc] }),
    ...{ license, author, homepage, bugs, repository, engines, publishConfig },
    main: "bitnet.node",
    files: ["bitnet.node", "THIRD_PARTY_NOTICES.md"],
    preferUnplugged: true,
    bitnet: { sources: hashSources(root), bytes: statSync(addon).size },
  };
  write("package.json", `${JSON.stringify(description, null, 2)}\n`);
  copyFileSync(join(root, "LICENSE"), join(folder, "LICENSE"));
  write("README.md", readme(platform.name));
  write("THIRD_PARTY_NOTICES.md", notices(linked));
  return pack(folder);
}

const readme = (name) => `# @bitnet-cli/${name}

The native part of [bitnet-cli](${manifest.homepage}) for ${name}: an addon for Node with the kernels of every instruction set,
of which the best is chosen when it runs. It is installed by itself with bitnet-cli; the versions of both must be the same.
`;

/** The licences of what an addon contains beside the sources of the project. */
function notices(linked) {
  const parts = [...nativeParts(), ...linked].map(
    ({ name, version, text }) =>
      `## ${name}${version === undefined ? "" : ` ${version}`}\n\n\`\`\`\n${text.trim()}\n\`\`\`\n`,
  );
  return `# Third-party notices\n\nThis addon contains work of others, under these licences.\n\n${parts.join("\n")}`;
}

/** Licences of what zig links in. */
function zigParts({ linked }, zig) {
  const ofZig = { name: "compiler-rt of zig", text: readFileSync(join(dirname(zig.program), "LICENSE"), "utf8") };
  const others = linked.map((path) => ({
    name: dirname(path).replace("libc/", ""),
    text: readFileSync(join(zig.lib, path), "utf8"),
  }));
  return [...others, ofZig];
}

function pack(folder) {
  const args = ["pack", "--ignore-scripts", "--pack-destination", out, "--json"];
  const [packed] = JSON.parse(execFileSync("npm", args, { cwd: folder, encoding: "utf8" }));
  const kib = (bytes) => `${(bytes / 1024).toFixed(0)} KiB`;
  console.log(`${packed.filename}: ${kib(packed.size)}, unpacked ${kib(packed.unpackedSize)}`);
  return join(out, packed.filename);
}

function packageHere() {
  const addon = join(root, "build", "Release", "bitnet.node");
  if (!existsSync(addon)) {
    fail(`there is no ${relative(root, addon)}`, "npm run build:native");
  }
  const { header } = process.report.getReport();
  const isMusl = process.platform === "linux" && header.glibcVersionRuntime === undefined;
  const name = `${process.platform}${isMusl ? "musl" : ""}-${process.arch}`;
  const libc = process.platform === "linux" ? { libc: isMusl ? "musl" : "glibc" } : {};
  const platform = platforms.find((one) => one.name === name) ?? {
    ...{ name, os: process.platform, cpu: process.arch },
    ...libc,
  };
  writePackage(platform, addon, []);
}

function packageAll(names) {
  const unknown = names.filter((name) => !platforms.some((platform) => platform.name === name));
  if (unknown.length > 0) {
    fail(`there is no platform ${unknown.join(", ")}`, `they are ${platforms.map(({ name }) => name).join(", ")}`);
  }
  const zig = findZig();
  const objdump = findObjdump();
  for (const platform of platforms.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const addon = join(compile(platform, zig), "bitnet.node");
    check(addon, platform, objdump);
    writePackage(platform, addon, zigParts(platform, zig));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(work, { recursive: true });
  if (values.here) {
    packageHere();
  } else {
    const names = values.only?.split(",") ?? [];
    packageAll(names);
    if (values.test && !(await testPackages(names))) {
      process.exitCode = 1;
    }
  }
}
