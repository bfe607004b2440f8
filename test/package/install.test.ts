// What a new user meets when something needed for the native part is missing.

import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { root, tinyModel } from "../support/fixtures.js";

let copy: string; // a package without its addon
let tools: string; // the only folder in PATH

beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), "bitnet-install-"));
  tools = join(copy, "tools");
  mkdirSync(tools);
  for (const part of ["bin", "dist", "scripts", "package.json", "CMakeLists.txt"]) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  mkdirSync(join(copy, "native"));
  writeFileSync(join(copy, "native", "addon.cpp"), "");
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"), "junction");
});
afterEach(() => {
  rmSync(copy, { recursive: true });
});

function run(script: string, ...args: string[]) {
  const env = { PATH: tools, npm_lifecycle_event: "install" };
  return spawnSync(process.execPath, [join(copy, script), ...args], { encoding: "utf8", env });
}

/** A program that answers --version. */
function addTool(name: string, version: string): void {
  writeFileSync(join(tools, name), `#!/bin/sh\necho "${version}"\n`, { mode: 0o755 });
}

const cases: [string, string[][], string][] = [
  ["cmake", [], "cmake was not found"],
  ["a newer cmake", [["cmake", "cmake version 3.10.2"]], "cmake 3.10 is too old"],
  ["a compiler", [["cmake", "cmake version 3.25.1"]], "no C++ compiler was found"],
  [
    "make",
    [
      ["cmake", "cmake version 3.25.1"],
      ["g++", "g++ 12"],
    ],
    "neither make nor ninja was found",
  ],
];

test.skipIf(process.platform === "win32").each(cases)(
  "without %s the installation says what to install",
  (_, present, problem) => {
    for (const [name = "", version = ""] of present) {
      addTool(name, version);
    }
    const { status, stderr } = run("scripts/build-native.mjs");
    expect(status).toBe(1);
    expect(stderr).toContain(`error: cannot build the native part of bitnet: ${problem}\n`);
    expect(stderr).toContain("apt-get install -y g++ make cmake");
    expect(stderr).toContain("xcode-select --install && brew install cmake");
    expect(stderr).toContain("Visual Studio Build Tools");
    expect(stderr).toMatch(/\nThen run: the same installation again\n$/); // npm deletes what failed
  },
);

test("an addon newer than its sources is not built again, and needs no tools", () => {
  const addon = join(copy, "build", "Release", "bitnet.node");
  mkdirSync(join(copy, "build", "Release"), { recursive: true });
  writeFileSync(addon, "");
  const later = new Date(Date.now() + 60_000);
  utimesSync(addon, later, later);
  expect(run("scripts/build-native.mjs")).toMatchObject({ status: 0, stdout: "", stderr: "" });
  utimesSync(join(copy, "native", "addon.cpp"), later, new Date(Date.now() + 120_000));
  expect(run("scripts/build-native.mjs").status).toBe(1);
});

test("a prebuilt addon for this platform is enough", () => {
  const folder = join(copy, "prebuilds", `${process.platform}-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "bitnet.node"), "");
  expect(run("scripts/build-native.mjs")).toMatchObject({ status: 0, stderr: "" });
});

test.each([
  ["", "bitnet build-native"],
  ["npm/12.2.2 node/v20.20.0 linux x64 workspaces/false", "npx bitnet build-native"],
  ["pnpm/12.21.0 npm/? node/v20.20.0 linux x64", "pnpm exec bitnet build-native"],
])("without the addon a command names the one that builds it, as %j runs it", (agent, command) => {
  const env = { PATH: tools, HOME: copy, npm_config_user_agent: agent };
  const args = [join(copy, "bin/bitnet.js"), "tokenize", "-m", tinyModel, "text"];
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", env });
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^error: the native part is not built .*\nhint: build it, which needs a C\+\+ compiler and CMake: /,
  );
  expect(stderr.endsWith(` ${command}\n`)).toBe(true);
});

test("build-native without a compiler says what to install, and then to run it again", () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(copy, "bin/bitnet.js"), "build-native"], {
    encoding: "utf8",
    env: { PATH: tools, HOME: copy },
  });
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toContain("error: cannot build the native part of bitnet: cmake was not found\n");
  expect(stderr).toContain("\nThen run: bitnet build-native\n");
});

test("an addon in the user's cache is found", () => {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const folder = join(copy, "cache/bitnet/native", `${version}-${process.platform}-${process.arch}`, "Release");
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(root, "build/Release/bitnet.node"), join(folder, "bitnet.node"));
  cpSync(join(root, "models"), join(copy, "models"), { recursive: true });
  const env = { PATH: tools, HOME: copy, XDG_CACHE_HOME: join(copy, "cache") };
  const args = [join(copy, "bin/bitnet.js"), "run", "-p", "Once", "-n", "2", "--quiet"];
  expect(spawnSync(process.execPath, args, { encoding: "utf8", env })).toMatchObject({ status: 0, stderr: "" });
});

test("an addon that cannot be loaded says so", () => {
  mkdirSync(join(copy, "build", "Release"), { recursive: true });
  writeFileSync(join(copy, "build", "Release", "bitnet.node"), "not a library");
  const { status, stderr } = run("bin/bitnet.js", "tokenize", "-m", tinyModel, "text");
  expect(status).toBe(1);
  expect(stderr).toMatch(/^error: cannot load the native addon .*\nhint: build it, /);
});
