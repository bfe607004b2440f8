// An installed package whose native part is missing, foreign or damaged: one line says what is wrong, one what to do.

import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { addonOrigin } from "../../src/native/addon.js";
import { glibcVersion, platformName } from "../../src/native/platform.js";
import { packageVersion } from "../../src/system/package.js";
import { root, tinyModel } from "../support/fixtures.js";

const version = packageVersion();
const platform = platformName();
const name = `@bitnet-cli/${platform}`;
const addon = readFileSync(addonOrigin().path);
const sources = "5".repeat(64);
const optionalDependencies = { [name]: version, "@bitnet-cli/darwin-arm64": version };

let project: string; // with bitnet-cli in its node_modules
let modules: string;
let main: string;
let folder: string; // of the package of this platform
let cache: string;

beforeAll(() => {
  project = realpathSync(mkdtempSync(join(tmpdir(), "bitnet-addon-")));
  modules = join(project, "node_modules");
  main = join(modules, "bitnet-cli");
  folder = join(modules, name);
  cache = join(project, "cache");
  mkdirSync(main, { recursive: true });
  for (const part of ["bin", "dist"]) {
    cpSync(join(root, part), join(main, part), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(main, "node_modules"), "junction");
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

beforeEach(() => {
  rmSync(dirname(folder), { recursive: true, force: true });
  rmSync(cache, { recursive: true, force: true });
  writeFileSync(join(project, "package.json"), "{}");
  writeMain({});
});

const makePipe = (path: string) => execFileSync("mkfifo", [path]);

function writeMain(more: object): void {
  const manifest = { name: "bitnet-cli", version, type: "module", bitnet: { sources }, optionalDependencies, ...more };
  writeFileSync(join(main, "package.json"), JSON.stringify(manifest));
}

interface Faults {
  version?: string;
  sources?: string;
  bytes?: number;
}

/** The package of this platform, with what is wrong with it. */
function writePackage(content: Buffer | string, faults: Faults = {}): void {
  mkdirSync(folder, { recursive: true });
  const { version: own = version, sources: from = sources, bytes = Buffer.from(content).length } = faults;
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version: own, bitnet: { sources: from, bytes } }));
  writeFileSync(join(folder, "bitnet.node"), content);
}

/** Runs a command that needs the native part. `before`: a script that this process loads first. */
function run(env: NodeJS.ProcessEnv = {}, before = "", wrapper: string[] = []) {
  writeFileSync(join(project, "before.cjs"), before);
  const args = [
    "--require",
    join(project, "before.cjs"),
    join(main, "bin/bitnet.js"),
    "tokenize",
    "-m",
    tinyModel,
    "a",
  ];
  const [program = "", ...rest] = [...wrapper, process.execPath, ...args];
  const { status, stdout, stderr } = spawnSync(program, rest, {
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: project, XDG_CACHE_HOME: cache, NO_COLOR: "1", ...env },
  });
  return { status, stdout, stderr: stderr.replaceAll(project, "") };
}

/** What is printed of a failure: a line and a hint. */
const failure = (message: string, hint: string) => ({
  status: 1,
  stdout: "",
  stderr: `error: ${message}\nhint: ${hint}\n`,
});

const place = `/node_modules/${name}`;
const install = `npm install ${name}@${version}`;
const again = `delete ${place} and install it again: ${install}`;
const build = "build one here, which needs a C++ compiler and CMake: bitnet build-native";

describe("the package of this platform", () => {
  test("is loaded", () => {
    writePackage(addon);
    expect(run()).toMatchObject({ status: 0, stderr: "" });
    const script = `import(${JSON.stringify(join(main, "dist/native/addon.js"))}).then((m) => console.log(JSON.stringify(m.addonOrigin())))`;
    const { stdout } = spawnSync(process.execPath, ["-e", script], { encoding: "utf8" });
    expect(JSON.parse(stdout)).toEqual({ kind: "package", path: join(folder, "bitnet.node"), version });
  });

  test("that is missing can be installed", () => {
    const why = `the native part is missing: ${name} is not installed (optional packages were left out)`;
    expect(run()).toEqual(failure(why, `install it: ${install}`));
  });

  test("that is missing beside those of others comes from another machine", () => {
    for (const other of ["darwin-arm64", "win32-x64"]) {
      mkdirSync(join(dirname(folder), other), { recursive: true });
    }
    const there = "@bitnet-cli/darwin-arm64, @bitnet-cli/win32-x64 are there, of another platform than this";
    const why = `the native part is missing: ${name} is not installed (${there})`;
    expect(run()).toEqual(failure(why, `install it: ${install}`));
  });

  test("that there is none of is said so", () => {
    writeMain({ optionalDependencies: { "@bitnet-cli/darwin-arm64": version } });
    expect(run()).toEqual(failure(`there is no package of the native part for ${platform}`, build));
  });

  test("must have the version of the program", () => {
    writePackage(addon, { version: "0.0.9" });
    const why = `${name} is of version 0.0.9, but bitnet-cli is ${version}`;
    expect(run()).toEqual(failure(why, `install the one that belongs to it: ${install}`));
  });

  test("must have been built from the sources of the program", () => {
    writePackage(addon, { sources: "6".repeat(64) });
    const why = `${name} ${version} was built from other sources than this bitnet-cli ${version}`;
    expect(run()).toEqual(failure(why, `install the one that belongs to it: ${install}`));
  });

  test.each([
    ["npm/11.1.0 node/v20.20.0 linux x64", "npm install "],
    ["pnpm/12.21.0 npm/? node/v20.20.0 linux x64", "pnpm add "],
    ["yarn/4.1.0 npm/? node/v20.20.0", "yarn add "],
    ["bun/1.4.5 npm/? node/v20.20.0", "bun add "],
  ])("is installed by the manager that runs the program: %s", (agent, command) => {
    expect(run({ npm_config_user_agent: agent }).stderr).toContain(
      `\nhint: install it: ${command}${name}@${version}\n`,
    );
  });

  test("is installed globally beside a global program", () => {
    rmSync(join(project, "package.json"));
    expect(run().stderr).toContain(`\nhint: install it: npm install --global ${name}@${version}\n`);
  });
});

test.runIf(process.platform === "linux")("what a build in a clone has left half-written is not mapped", () => {
  const built = join(main, "build", "Release");
  mkdirSync(built, { recursive: true });
  writeFileSync(join(built, "bitnet.node"), addon.subarray(0, addon.length - 100));
  const { status, stderr } = run();
  rmSync(join(main, "build"), { recursive: true });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringContaining(`bitnet.node is damaged: it has ${addon.length - 100} bytes and says that it has`),
  });
});

describe("a file of that package", () => {
  test.each([
    ["is empty", "", `it has 0 bytes instead of ${addon.length}`],
    ["ends too early", addon.subarray(0, 100_000), `it has 100000 bytes instead of ${addon.length}`],
  ])("that %s is not mapped", (_, content, problem) => {
    writePackage(content, { bytes: addon.length });
    expect(run()).toEqual(failure(`the native part ${place}/bitnet.node is damaged: ${problem}`, again));
  });

  test("that is no library is told", () => {
    writePackage("<html>blocked by the proxy</html>");
    const problem = "it is no library of any system";
    expect(run()).toEqual(failure(`the native part ${place}/bitnet.node is damaged: ${problem}`, again));
  });

  test("that is not there is told", () => {
    writePackage(addon);
    rmSync(join(folder, "bitnet.node"));
    const problem = "no such file or directory";
    expect(run()).toEqual(failure(`the native part ${place}/bitnet.node is damaged: ${problem}`, again));
  });

  test("that should describe it and is not there is told, and not taken for another platform's", () => {
    writePackage(addon);
    rmSync(join(folder, "package.json"));
    const hint = `delete it and install it again: ${install}`;
    expect(run()).toEqual(failure(`the package ${name} is damaged: it is there without its package.json`, hint));
  });

  test("that is a folder or a pipe is told, and not waited for", () => {
    const makers = [mkdirSync, ...(process.platform === "win32" ? [] : [makePipe])];
    for (const make of makers) {
      writePackage(addon);
      rmSync(join(folder, "bitnet.node"));
      make(join(folder, "bitnet.node"));
      const why = `the native part ${place}/bitnet.node is damaged: it is not a regular file`;
      expect(run()).toEqual(failure(why, again));
      rmSync(folder, { recursive: true });
    }
  });

  test("that should describe it and is no JSON is told", () => {
    writePackage(addon);
    writeFileSync(join(folder, "package.json"), "{");
    const { status, stderr } = run();
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^error: the package @bitnet-cli\/\S+ is damaged: .*\nhint: delete it and install it again: .*\n$/,
    );
  });

  const pe = Buffer.alloc(128);
  pe.write("MZ");
  pe.writeUInt32LE(0x40, 0x3c);
  pe.write("PE", 0x40);
  pe.writeUInt16LE(0xaa64, 0x44);
  const machO = Buffer.alloc(128);
  machO.writeUInt32LE(0xfeedfacf, 0);
  machO.writeUInt32LE(0x1000007, 4);
  const elf = Buffer.alloc(128);
  elf.write("\x7fELF");
  elf.writeUInt16LE(243, 18);
  test.each([
    ["win32-arm64", pe],
    ["darwin-x64", machO],
    ["linux-machine 243", elf],
  ])("that is for %s is told", (made, content) => {
    writePackage(content);
    const why = `the native part ${place}/bitnet.node is for ${made}, and this is ${process.platform}-${process.arch}`;
    expect(run()).toEqual(failure(why, again));
  });

  // Root may read everything, unless it goes without this privilege.
  const isRoot = process.getuid?.() === 0;
  const asUser = isRoot ? ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] : [];
  const canTry = process.platform !== "win32" && (!isRoot || spawnSync("setpriv", ["--version"]).status === 0);
  test.skipIf(!canTry)("that this user may not read is told", () => {
    writePackage(addon);
    chmodSync(join(folder, "bitnet.node"), 0);
    const why = `cannot read the native part ${place}/bitnet.node: permission denied`;
    expect(run({}, "", asUser)).toEqual(failure(why, "let this user read its folder and files"));
  });
});

/** The addon with other bytes in place of every `from`. */
function patched(from: string, to: string): Buffer {
  const bytes = Buffer.from(addon.toString("latin1").replaceAll(from, to), "latin1");
  expect(bytes.equals(addon)).toBe(false);
  return bytes;
}

describe.runIf(platform === `linux-${process.arch}`)("on Linux", () => {
  const text = addon.toString("latin1");
  const newest = Math.max(...[...text.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor)));

  test("an addon that needs a newer glibc says which, and can be built", () => {
    writePackage(patched(`GLIBC_2.${newest}`, `GLIBC_9.${newest}`));
    const has = `needs glibc 9.${newest}, and this system has ${glibcVersion()}`;
    expect(run()).toEqual(failure(`the native part ${place}/bitnet.node ${has}`, build));
  });

  test("an addon for musl says so", () => {
    writePackage(patched("libc.so.6\0", "libc.so\0\0\0"));
    const why = `the native part ${place}/bitnet.node was built for musl, and this system has glibc`;
    expect(run()).toEqual(failure(why, again));
  });

  const muslNode = () => {
    writeFileSync(join(project, "node"), `\x7fELF${"\0".repeat(600)}/lib/ld-musl-x86_64.so.1\0`);
    return `process.execPath = ${JSON.stringify(join(project, "node"))};`;
  };

  test("a Node for musl wants the package for musl", () => {
    writePackage(addon);
    const musl = `@bitnet-cli/linuxmusl-${process.arch}`;
    writeMain({ optionalDependencies: { ...optionalDependencies, [musl]: version } });
    const why = `the native part is missing: ${musl} is not installed (${name} is there, of another platform than this)`;
    expect(run({}, muslNode())).toEqual(failure(why, `install it: npm install ${musl}@${version}`));
  });

  test("an addon for glibc says so there", () => {
    const musl = join(dirname(folder), `linuxmusl-${process.arch}`);
    writePackage(addon);
    cpSync(folder, musl, { recursive: true });
    const refuse = `require("node:module")._extensions[".node"] = () => {
      throw new Error("Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by x)");
    };`;
    expect(run({}, muslNode() + refuse).stderr).toMatch(/bitnet\.node was built for glibc, and this system has musl\n/);
  });
});

describe("an addon that build-native made", () => {
  function writeLocal(): string {
    const local = join(cache, "bitnet/native", `${version}-${sources.slice(0, 16)}-${platform}`);
    mkdirSync(local, { recursive: true });
    writeFileSync(join(local, "package.json"), JSON.stringify({ version, bitnet: { sources, bytes: addon.length } }));
    copyFileSync(addonOrigin().path, join(local, "bitnet.node"));
    return local;
  }

  test("is loaded where there is no package", () => {
    writeLocal();
    expect(run()).toMatchObject({ status: 0, stderr: "" });
  });

  test("is loaded where the package cannot be", () => {
    writePackage("nothing");
    writeLocal();
    expect(run()).toMatchObject({ status: 0, stderr: "" });
  });

  test("is not taken by a program of other sources", () => {
    writeLocal();
    writeMain({ bitnet: { sources: "7".repeat(64) } });
    expect(run().stderr).toContain(`error: the native part is missing: ${name} is not installed`);
  });

  test("that is damaged can be built again", () => {
    const local = writeLocal();
    writeFileSync(join(local, "bitnet.node"), "");
    const why = `the native part ${local.replace(project, "")}/bitnet.node is damaged: it has 0 bytes instead of ${addon.length}`;
    expect(run()).toEqual(failure(why, "build it again: bitnet build-native --force"));
  });
});
