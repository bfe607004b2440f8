// Building the native part: in a clone where something is missing, and for a package by `bitnet build-native`.

import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { addonOrigin } from "../../src/native/addon.js";
import { platformName } from "../../src/native/platform.js";
import { packageVersion } from "../../src/system/package.js";
import { root, tinyModel } from "../support/fixtures.js";

const version = packageVersion();
const name = `@bitnet-cli/${platformName()}`;
const addon = addonOrigin().path;

let copy: string; // a clone, or a package, without its addon
let tools: string; // the only folder in PATH

beforeAll(() => {
  copy = realpathSync(mkdtempSync(join(tmpdir(), "bitnet-install-")));
  tools = join(copy, "tools");
  for (const part of ["bin", "dist", "scripts", "CMakeLists.txt"]) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"), "junction");
});
afterAll(() => rmSync(copy, { recursive: true }));

beforeEach(() => {
  for (const made of ["tools", "build", "cache", "native", "npm.cjs", "npm.txt"]) {
    rmSync(join(copy, made), { recursive: true, force: true });
  }
  for (const part of ["package.json", "tsconfig.json"]) {
    cpSync(join(root, part), join(copy, part));
  }
  mkdirSync(tools);
  mkdirSync(join(copy, "native"));
  writeFileSync(join(copy, "native", "addon.cpp"), "");
});

function run(script: string, ...args: string[]) {
  const env = { PATH: tools, HOME: copy, XDG_CACHE_HOME: join(copy, "cache"), npm_lifecycle_event: "prepare" };
  return spawnSync(process.execPath, [join(copy, script), ...args], { encoding: "utf8", env });
}

/** A program that answers --version. */
function addTool(tool: string, text: string): void {
  writeFileSync(join(tools, tool), `#!/bin/sh\necho "${text}"\n`, { mode: 0o755 });
}

function addAllTools(): void {
  addTool("cmake", "cmake version 3.25.1");
  addTool("g++", "g++ 12");
  addTool("make", "GNU Make 4.3");
}

/** An npm that does what `body` says, with the words of its command line. FOLDER is where it installs. */
function addNpm(body: string): void {
  const script = `const folder = process.argv[process.argv.indexOf("--prefix") + 1];
    const fs = require("node:fs");
    const write = (path, text) => {
      fs.mkdirSync(require("node:path").dirname(folder + "/node_modules/" + path), { recursive: true });
      fs.writeFileSync(folder + "/node_modules/" + path, text);
    };
    ${body}`;
  writeFileSync(join(copy, "npm.cjs"), script);
  const file = `#!/bin/sh\nexec "${process.execPath}" "${join(copy, "npm.cjs")}" "$@"\n`;
  writeFileSync(join(tools, "npm"), file, { mode: 0o755 });
}

const notFound =
  'console.error("npm error code E404\\nnpm error 404 Not Found - GET\\nnpm error A complete log"); process.exit(1);';

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

describe.skipIf(process.platform === "win32")("npm ci in a clone", () => {
  test.each(cases)("without %s and without npm says what to install", (_, present, problem) => {
    for (const [tool = "", text = ""] of present) {
      addTool(tool, text);
    }
    const { status, stderr } = run("scripts/build-native.mjs");
    expect(status).toBe(1);
    const instead = "and no package of it can be taken instead: npm was not found";
    expect(stderr).toContain(`error: cannot build the native part of bitnet: ${problem}, ${instead}\n`);
    expect(stderr).toContain("apt-get install -y g++ make cmake");
    expect(stderr).toContain("xcode-select --install && brew install cmake");
    expect(stderr).toContain("Visual Studio Build Tools");
    expect(stderr).toMatch(/\nThen run: the same installation again\n$/);
    expect(existsSync(join(copy, "build", "package"))).toBe(false);
  });

  test("where nothing is published says what npm said", () => {
    addNpm(notFound);
    expect(run("scripts/build-native.mjs").stderr).toMatch(
      /^error: .*: cmake was not found, and no package of it can be taken instead: 404 Not Found - GET\n/,
    );
  });

  const packed = (more: string) => `
    require("node:fs").writeFileSync(${"process.env.HOME"} + "/npm.txt", process.argv.slice(2).join(" "));
    const { sources } = { sources: require("node:child_process").execFileSync(process.execPath, ["scripts/native-sources.mjs"], { cwd: process.env.HOME, encoding: "utf8" }).trim() };
    write("${name}/package.json", JSON.stringify({ version: "${version}", bitnet: { sources } }));
    write("${name}/bitnet.node", fs.readFileSync(${JSON.stringify(addon)}));
    ${more}`;

  test("without a compiler takes the package of this platform and of the same sources", () => {
    addNpm(packed(""));
    const { status, stderr } = run("scripts/build-native.mjs");
    const told = `bitnet: cmake was not found; the native part is taken from ${name}@${version}\n`;
    expect({ status, stderr }).toEqual({ status: 0, stderr: told });
    expect(readFileSync(join(copy, "npm.txt"), "utf8")).toContain("--ignore-scripts");
    expect(readdirSync(join(copy, "build"))).toEqual(["Release"]);
    expect(run("bin/bitnet.js", "tokenize", "-m", tinyModel, "text")).toMatchObject({ status: 0, stderr: "" });
    expect(run("scripts/build-native.mjs")).toMatchObject({ status: 0, stderr: "" }); // there is nothing left to do
  });

  test.each([
    [
      "of other sources",
      `write("${name}/package.json", '{ "version": "${version}" }');`,
      "was built from other sources",
    ],
    ["that is damaged", `write("${name}/bitnet.node", "nothing");`, "the addon fails its self-test: Error: "],
  ])("does not take a package %s", (_, fault, problem) => {
    addNpm(packed(fault));
    const { status, stderr } = run("scripts/build-native.mjs");
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining(problem) });
    expect(readdirSync(join(copy, "build"))).toEqual([]);
  });

  test("does nothing where the addon is newer than its sources, and needs no tools", () => {
    const built = join(copy, "build", "Release", "bitnet.node");
    mkdirSync(join(copy, "build", "Release"), { recursive: true });
    writeFileSync(built, "");
    const later = new Date(Date.now() + 60_000);
    utimesSync(built, later, later);
    expect(run("scripts/build-native.mjs")).toMatchObject({ status: 0, stdout: "", stderr: "" });
    utimesSync(join(copy, "native", "addon.cpp"), later, new Date(Date.now() + 120_000));
    expect(run("scripts/build-native.mjs").status).toBe(1);
  });
});

test("a clone without its addon names the command that builds it", () => {
  const { status, stderr } = run("bin/bitnet.js", "tokenize", "-m", tinyModel, "text");
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(
      /^error: the native part is not built .*\nhint: build it, which needs a C\+\+ compiler and CMake: npm run build:native\n$/,
    ),
  });
});

describe.skipIf(process.platform === "win32")("bitnet build-native, for a package", () => {
  beforeEach(() => {
    rmSync(join(copy, "tsconfig.json"));
    const manifest = {
      name: "bitnet-cli",
      version,
      type: "module",
      bitnet: { sources: "5".repeat(64), tools: { "cmake-js": "8.0.0", "node-addon-api": "8.9.2" } },
    };
    writeFileSync(join(copy, "package.json"), JSON.stringify(manifest));
  });

  /** A cmake-js that copies `made`. */
  const withCmakeJs = (made: string) => `write("cmake-js/bin/cmake-js", \`
    const out = process.argv[process.argv.indexOf("--out") + 1] + "/Release";
    require("node:fs").mkdirSync(out, { recursive: true });
    require("node:fs").copyFileSync(${JSON.stringify(made)}, out + "/bitnet.node");\`);`;
  const folder = () => join(copy, "cache/bitnet/native", `${version}-${"5".repeat(16)}-${platformName()}`);
  const kept = () => readdirSync(join(copy, "cache/bitnet/native")).sort();

  test("builds with tools of its own, tries what it made and keeps it in the cache", () => {
    addAllTools();
    addNpm(withCmakeJs(addon));
    const path = join(folder(), "bitnet.node");
    expect(run("bin/bitnet.js", "build-native")).toMatchObject({ status: 0, stdout: `${path}\n` });
    expect(kept()).toEqual([
      `${version}-${"5".repeat(16)}-${platformName()}`,
      "tools-cmake-js@8.0.0-node-addon-api@8.9.2",
    ]);
    expect(run("bin/bitnet.js", "tokenize", "-m", tinyModel, "text")).toMatchObject({ status: 0, stderr: "" });
    const again = run("bin/bitnet.js", "build-native");
    expect(again).toMatchObject({ status: 0, stdout: "", stderr: expect.stringContaining("can be loaded") });
  });

  test("keeps nothing that fails its self-test", () => {
    addAllTools();
    addNpm(withCmakeJs(tinyModel));
    const { status, stdout, stderr } = run("bin/bitnet.js", "build-native");
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain("error: cannot build the native part of bitnet: the addon fails its self-test: Error: ");
    expect(kept()).toEqual(["tools-cmake-js@8.0.0-node-addon-api@8.9.2"]);
  });

  test("says what npm said where its tools cannot be had", () => {
    addAllTools();
    addNpm(notFound);
    const { status, stderr } = run("bin/bitnet.js", "build-native");
    expect(status).toBe(1);
    expect(stderr).toContain("cannot get cmake-js@8.0.0 and node-addon-api@8.9.2: 404 Not Found - GET\n");
    expect(kept()).toEqual([]);
  });

  test("without a compiler says what to install, and then to run it again", () => {
    const { status, stdout, stderr } = run("bin/bitnet.js", "build-native");
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain("error: cannot build the native part of bitnet: cmake was not found\n");
    expect(stderr).toContain("\nThen run: bitnet build-native\n");
  });

  test("says where it cannot write", () => {
    addAllTools();
    writeFileSync(join(copy, "cache"), "a file in the way");
    const { status, stderr } = run("bin/bitnet.js", "build-native");
    expect(status).toBe(1);
    expect(stderr).toMatch(/error: cannot build the native part of bitnet: .*(ENOTDIR|EEXIST).*cache/);
  });
});
