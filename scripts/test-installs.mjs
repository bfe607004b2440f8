// Installs the packages of build-packages/ in every way that users do, from a registry of its own, and runs what was
// installed. `node scripts/test-installs.mjs [--only TEXT] [--keep]`, after `npm run package`; prints a table.
//
// Each case has an empty home, a PATH without compilers and, when this runs as root, an ordinary user. Package managers
// are fetched into build-packages/tools. Nothing of the caller's configuration of npm is read by a case or written.

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cases, other } from "./install-cases.mjs";
import { platforms } from "./platforms.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const packages = join(root, "build-packages");
const toolsFolder = join(packages, "tools");
const ordinaryUser = 65534; // nobody
const isRoot = process.getuid?.() === 0;
const { values } = parseArgs({ options: { only: { type: "string" }, keep: { type: "boolean", default: false } } });
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const scratch = mkdtempSync(join(tmpdir(), "bitnet-packages-"));
chmodSync(scratch, 0o755);

function run(program, args, options = {}) {
  return spawnSync(program, args, { encoding: "utf8", timeout: 600_000, maxBuffer: 2 ** 26, ...options });
}

/** The folder of an npm package, fetched once with the npm of this Node; scripts are not run. */
function fetchTool(spec) {
  const folder = join(toolsFolder, spec.replaceAll(/[/@]/g, "_"));
  const name = spec.replace(/(?<=.)@[^@/]*$/, "");
  if (!existsSync(join(folder, "node_modules", name))) {
    mkdirSync(folder, { recursive: true });
    // verdaccio asks for node-fetch by a tag that not every mirror has
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, overrides: { "node-fetch": "2" } }));
    const { status, stderr } = run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", spec], {
      cwd: folder,
    });
    if (status !== 0) {
      throw new Error(`cannot fetch ${spec}: ${stderr}`);
    }
  }
  return join(folder, "node_modules", name);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A registry that has our packages and hands on all others. */
async function startRegistry() {
  const port = await freePort();
  const upstream = run("npm", ["config", "get", "registry"]).stdout.trim();
  const ours = { access: "$all", publish: "$all" };
  const config = {
    storage: join(scratch, "registry"),
    uplinks: { npm: { url: upstream, maxage: "60m", timeout: "120s" } },
    auth: { htpasswd: { file: join(scratch, "htpasswd"), max_users: -1 } },
    packages: { "@bitnet-cli/*": ours, "bitnet-cli": ours, "**": { access: "$all", proxy: "npm" } },
    max_body_size: "100mb",
    log: { type: "file", path: join(scratch, "registry.log"), level: "warn" },
  };
  const file = join(scratch, "registry.json");
  writeFileSync(file, JSON.stringify(config));
  const child = spawn(
    process.execPath,
    [join(fetchTool("verdaccio@6"), "bin", "verdaccio"), "-c", file, "-l", `127.0.0.1:${port}`],
    {
      stdio: "ignore",
      cwd: scratch,
    },
  );
  const url = `http://127.0.0.1:${port}/`;
  for (let tries = 0; ; tries++) {
    const answer = await fetch(`${url}-/ping`).catch(() => undefined);
    if (answer?.ok) {
      return { url, close: () => child.kill() };
    }
    if (tries > 600 || child.exitCode !== null) {
      throw new Error(`the registry does not start; see ${config.log.path}`);
    }
    await wait(200);
  }
}

/** npm publish, with a configuration that says nothing but where to. */
function publish(registry, file, ...flags) {
  const npmrc = join(scratch, "publish.npmrc");
  writeFileSync(npmrc, `registry=${registry.url}\n//${new URL(registry.url).host}/:_authToken=none\n`);
  const args = ["publish", file, "--userconfig", npmrc, "--registry", registry.url, "--provenance=false", ...flags];
  const { status, stderr } = run("npm", args, { cwd: scratch });
  if (status !== 0) {
    throw new Error(`cannot publish ${file}: ${stderr}`);
  }
}

/** The same package under another version, for what has to do with two of them. */
function republish(registry, folder) {
  const copy = join(scratch, "other", relative(packages, folder));
  cpSync(folder, copy, { recursive: true });
  const path = join(copy, "package.json");
  const manifest = JSON.parse(readFileSync(path, "utf8"));
  const natives = Object.keys(manifest.optionalDependencies ?? {}).map((name) => [name, other]);
  const changed = {
    ...manifest,
    version: other,
    ...(natives.length > 0 && { optionalDependencies: Object.fromEntries(natives) }),
  };
  writeFileSync(path, JSON.stringify(changed));
  publish(registry, copy, "--tag", "other");
}

/** What a package manager reads of the platforms that this is not: it must find them, and pass them over. */
function publishOthers(registry, own) {
  for (const { name, os, cpu, libc } of platforms.filter((one) => one.name !== own)) {
    const folder = join(scratch, "stubs", name);
    mkdirSync(folder, { recursive: true });
    const manifest = { name: `@bitnet-cli/${name}`, os: [os], cpu: [cpu], ...(libc && { libc: [libc] }) };
    for (const which of [version, other]) {
      writeFileSync(join(folder, "package.json"), JSON.stringify({ ...manifest, version: which }));
      publish(registry, folder, "--tag", which === version ? "latest" : "other");
    }
  }
}

/** Programs that a case may use: no compiler, no cmake, no git. */
function makePath(home, node) {
  const folder = join(home, "bin");
  mkdirSync(folder);
  const programs =
    "sh bash env cat ls cp mv rm mkdir chmod ln sed grep dirname basename readlink uname tr head id test true".split(
      " ",
    );
  for (const name of programs) {
    const found = ["/usr/bin", "/bin"].map((place) => join(place, name)).find(existsSync);
    if (found !== undefined) {
      symlinkSync(found, join(folder, name));
    }
  }
  const nodePath =
    node === undefined
      ? process.execPath
      : join(fetchTool(`node-${process.platform}-${process.arch}@${node}`), "bin", "node");
  symlinkSync(nodePath, join(folder, "node"));
  return folder;
}

/** Puts what a package has as programs in PATH. One without `bin` is named with its program: "PACKAGE:FILE". */
function addTool(folder, tool) {
  const [spec, program] = tool.split(":");
  const place = fetchTool(spec);
  const { name: own, bin = program } = JSON.parse(readFileSync(join(place, "package.json"), "utf8"));
  const programs = typeof bin === "string" ? { [bin === program ? basename(bin) : own]: bin } : bin;
  for (const [name, path] of Object.entries(programs)) {
    writeShim(folder, name, join(place, path));
  }
}

function writeShim(folder, name, file) {
  const isScript = /\.[cm]?js$/.test(file) || /^#!.*node/.test(readFileSync(file).subarray(0, 64).toString("latin1"));
  writeFileSync(join(folder, name), `#!/bin/sh\nexec ${isScript ? "node " : ""}"${file}" "$@"\n`, { mode: 0o755 });
}

/** What a case works with: its home, its project, and commands as its user. */
function makeSetting(registry, { name, node, tools = [], folder = "project" }) {
  const home = join(scratch, name.replaceAll(/[^\w]+/g, "-"));
  const project = join(home, folder);
  mkdirSync(project, { recursive: true });
  const path = makePath(home, node);
  for (const tool of tools) {
    addTool(path, tool);
  }
  writeFileSync(join(home, ".npmrc"), `registry=${registry.url}\n`); // pnpm and Deno read no variable of npm
  const env = {
    ...{ HOME: home, PATH: path, TMPDIR: home, LANG: "C.UTF-8", CI: "1", NO_COLOR: "1", DO_NOT_TRACK: "1" },
    ...{
      npm_config_registry: registry.url,
      npm_config_audit: "false",
      npm_config_fund: "false",
      npm_config_update_notifier: "false",
    },
  };
  const user = isRoot ? { uid: ordinaryUser, gid: ordinaryUser } : {};
  giveTo(home, user.uid);
  const setting = {
    ...{
      home,
      project,
      registry: registry.url,
      version,
      root,
      linkTool: (file, as) => writeShim(path, as, file),
      fetchTool,
    },
    /** Runs a line of sh; what it printed. Throws if it fails, unless `fails`: then if it does not. */
    sh(line, { fails = false, cwd = project, env: more = {} } = {}) {
      const result = run("sh", ["-c", line], { cwd, env: { ...env, ...more }, ...user });
      if ((result.status !== 0) !== fails) {
        throw new Error(`${line}\n  ended with ${result.signal ?? result.status}\n${result.stdout}${result.stderr}`);
      }
      return fails ? `${result.stdout}${result.stderr}` : result.stdout;
    },
    write(file, text) {
      const target = join(project, file);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, text);
      giveTo(project, user.uid);
    },
    /** As the caller: what the user of the case may not do. */
    asCaller: (program, ...args) => run(program, args),
  };
  return setting;
}

function giveTo(folder, user) {
  if (user === undefined) {
    return;
  }
  chownSync(folder, user, user);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) {
      giveTo(join(folder, entry.name), user);
    } else if (entry.isFile()) {
      chownSync(join(folder, entry.name), user, user);
    }
  }
}

/** Packages under a folder, and the bytes of their files, each file once. */
function measure(folder) {
  const counted = new Set();
  const seen = new Set();
  let bytes = 0;
  const walk = (place) => {
    for (const entry of readdirSync(place, { withFileTypes: true })) {
      const path = join(place, entry.name);
      if (entry.isDirectory()) {
        walk(path);
      } else if (entry.isFile()) {
        const { ino, size } = lstatSync(path);
        bytes += seen.has(ino) ? 0 : size;
        seen.add(ino);
        if (/node_modules\/(@[^/]+\/)?[^/@.][^/]*\/package\.json$/.test(path)) {
          counted.add(realpathSync(path));
        }
      }
    }
  };
  walk(folder);
  return { packages: counted.size, megabytes: bytes / 1e6 };
}

async function runCase(registry, one) {
  const setting = makeSetting(registry, one);
  const started = performance.now();
  let installed;
  try {
    const place = await one.install(setting);
    installed = (performance.now() - started) / 1000;
    const size = place === undefined ? {} : measure(join(setting.home, place));
    const begun = performance.now();
    const note = await one.check?.(setting);
    return { name: one.name, seconds: installed, ...size, check: (performance.now() - begun) / 1000, note: note ?? "" };
  } catch (error) {
    return { name: one.name, seconds: installed, note: "", fault: error.message };
  } finally {
    if (!values.keep) {
      rmSync(setting.home, { recursive: true, force: true });
    }
  }
}

const platformFolder = readdirSync(packages)
  .map((name) => join(packages, name))
  .find((folder) => {
    const isMusl = process.platform === "linux" && process.report.getReport().header.glibcVersionRuntime === undefined;
    return folder === join(packages, `${process.platform}${isMusl ? "musl" : ""}-${process.arch}`);
  });
if (platformFolder === undefined || !existsSync(join(packages, "bitnet-cli"))) {
  console.error("error: build-packages/ does not have the packages of this system");
  console.error("hint: npm run build && npm run package");
  process.exit(1);
}

const registry = await startRegistry();
const rows = [];
try {
  publish(registry, platformFolder);
  publish(registry, join(packages, "bitnet-cli"));
  publishOthers(registry, basename(platformFolder));
  republish(registry, platformFolder);
  republish(registry, join(packages, "bitnet-cli"));
  for (const one of cases.filter(({ name }) => name.includes(values.only ?? ""))) {
    const row = await runCase(registry, one);
    rows.push(row);
    console.error(
      `${row.fault === undefined ? "ok    " : "FAILED"} ${row.name} ${row.note}${row.fault ? `\n${row.fault}` : ""}`,
    );
  }
} finally {
  registry.close();
  if (!values.keep) {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const number = (value, digits) => (value === undefined ? "" : value.toFixed(digits));
console.log("| way | result | install, s | packages | MB | first run, s | |\n|---|---|--:|--:|--:|--:|---|");
for (const { name, fault, seconds, packages: count, megabytes, check, note } of rows) {
  const cells = [
    name,
    fault ? "fails" : "works",
    number(seconds, 1),
    count ?? "",
    number(megabytes, 1),
    number(check, 2),
    note,
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
process.exitCode = rows.some(({ fault }) => fault !== undefined) ? 1 : 0;
