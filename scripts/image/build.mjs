// Builds deploy/docker/Dockerfile where no container engine is: stages are folders, RUN runs in bubblewrap. As root:
//   node scripts/image/build.mjs --bases DIR --out DIR [--build-arg NAME=VALUE]...
// DIR of --bases comes from make-bases.sh. Writes OUT/root, the file system, and OUT/image.json, what the image says.

import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const repository = fileURLToPath(new URL("../..", import.meta.url));
/** Which folder stands for an image. */
const baseFolders = [
  [/^node:/, "node"],
  [/^debian:/, "debian"],
  [/distroless\/cc-/, "distroless"],
];

const { values } = parseArgs({
  options: {
    bases: { type: "string" },
    out: { type: "string" },
    "build-arg": { type: "string", multiple: true, default: [] },
  },
});
if (values.bases === undefined || values.out === undefined) {
  throw new Error("usage: build.mjs --bases DIR --out DIR [--build-arg NAME=VALUE]...");
}
const bases = resolve(values.bases);
const out = resolve(values.out);
const buildArgs = Object.fromEntries(values["build-arg"].map((text) => text.split(/=(.*)/s, 2)));

/** Lines as instructions: comments are gone, continued lines joined. */
function readInstructions(text) {
  return text
    .replace(/^\s*#.*\n/gm, "")
    .replaceAll("\\\n", " ")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, name, rest] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
      if (name === undefined) {
        throw new Error(`cannot read this instruction: ${line}`);
      }
      return { name, rest };
    });
}

function substitute(text, variables) {
  return text.replace(/\$\{(\w+)\}|\$(\w+)/g, (_, long, short) => variables[long ?? short] ?? "");
}

const globals = {};

/** The stages: their base, their name, their instructions. Arguments before the first FROM go to `globals`. */
function readStages(text) {
  const stages = [];
  for (const { name, rest } of readInstructions(text)) {
    if (name === "FROM") {
      const [from, as, alias] = substitute(rest, globals).split(/\s+/);
      stages.push({ from, name: as?.toUpperCase() === "AS" ? alias : `stage-${stages.length}`, instructions: [] });
    } else if (stages.length > 0) {
      stages.at(-1).instructions.push({ name, rest });
    } else if (name === "ARG") {
      const [key, value = ""] = rest.split(/=(.*)/s, 2);
      globals[key] = buildArgs[key] ?? value;
    } else {
      throw new Error(`${name} before the first FROM`);
    }
  }
  return stages;
}

/** Fits a path that the pattern names, and what lies below it. */
function globPattern(text) {
  const parts = text.split("*").map((part) => part.replace(/[.+?^$()[\]{}|\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("[^/]*")}(/.*)?$`);
}

/** What .dockerignore lets into the context; the last pattern that fits decides, as in Docker. */
function copyContext(target) {
  const rules = readFileSync(join(repository, ".dockerignore"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      return { keeps: line.startsWith("!"), fits: globPattern(line.replace(/^!/, "")), text: line.slice(1) };
    });
  const isKept = (path) => rules.findLast(({ fits }) => fits.test(path))?.keeps ?? true;
  const mayHold = (path) => rules.some(({ keeps, text }) => keeps && text.startsWith(`${path}/`));
  const visit = (folder) => {
    for (const entry of readdirSync(join(repository, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() ? isKept(path) || mayHold(path) : false) {
        visit(path);
      } else if (!entry.isDirectory() && isKept(path)) {
        mkdirSync(join(target, folder), { recursive: true });
        cpSync(join(repository, path), join(target, path), { verbatimSymlinks: true });
      }
    }
  };
  visit("");
}

/** A RUN in its shell form; the network is that of this machine. */
function run(root, command, config) {
  const sandbox = ["--bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--unshare-ipc"];
  sandbox.push("--cap-add", "ALL", "--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf", "--clearenv");
  for (const [key, value] of Object.entries(config.env)) {
    sandbox.push("--setenv", key, value);
  }
  // Where a proxy stands between this machine and the world, its certificate goes along; in /dev nothing of it is kept.
  const certificates = process.env.NODE_EXTRA_CA_CERTS;
  if (certificates !== undefined) {
    sandbox.push(
      "--ro-bind",
      certificates,
      "/dev/certificates",
      "--setenv",
      "NODE_EXTRA_CA_CERTS",
      "/dev/certificates",
    );
  }
  sandbox.push("--setenv", "HOME", "/root", "--chdir", config.workdir, "/bin/sh", "-c", command);
  const { status } = spawnSync("bwrap", sandbox, { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) {
    throw new Error(`RUN ended with ${status}: ${command}`);
  }
}

function copy(stage, rest, context) {
  const words = rest.split(/\s+/);
  const flags = words.filter((word) => word.startsWith("--"));
  const option = (name) => flags.find((flag) => flag.startsWith(`--${name}=`))?.slice(name.length + 3);
  const paths = words.filter((word) => !word.startsWith("--"));
  const to = paths.pop();
  const from = option("from") === undefined ? context : build(option("from")).root;
  const target = join(stage.root, resolve(stage.config.workdir, to));
  const [uid, gid] = (option("chown") ?? "0:0").split(":").map(Number);
  const sources = paths.flatMap((path) => {
    const folder = join(from, dirname(path));
    const fits = globPattern(basename(path));
    const found =
      path === "."
        ? [from]
        : readdirSync(folder)
            .filter((name) => fits.test(name))
            .map((name) => join(folder, name));
    if (found.length === 0) {
      throw new Error(`COPY finds nothing: ${path}`);
    }
    return found;
  });
  for (const source of sources) {
    // The contents of a folder, or a file under its own name where the target is a folder.
    const isFolder = statSync(source).isDirectory();
    const place = isFolder || !(to.endsWith("/") || to === ".") ? target : join(target, basename(source));
    mkdirSync(isFolder ? place : dirname(place), { recursive: true });
    cpSync(source, place, { recursive: true, verbatimSymlinks: true });
    lchownSync(place, uid, gid);
  }
}

const exec = (rest) => JSON.parse(rest);
const perform = {
  RUN: (stage, rest) => run(stage.root, rest, stage.config),
  COPY: (stage, rest, context) => copy(stage, substitute(rest, variablesOf(stage)), context),
  ARG: (stage, rest) => {
    const [key, value = globals[key] ?? ""] = rest.split(/=(.*)/s, 2);
    stage.args[key] = buildArgs[key] ?? value;
  },
  ENV: (stage, rest) => Object.assign(stage.config.env, readPairs(substitute(rest, variablesOf(stage)))),
  LABEL: (stage, rest) => Object.assign(stage.config.labels, readPairs(substitute(rest, variablesOf(stage)))),
  WORKDIR: (stage, rest) => {
    stage.config.workdir = resolve(stage.config.workdir, rest);
    mkdirSync(join(stage.root, stage.config.workdir), { recursive: true });
  },
  USER: (stage, rest) => Object.assign(stage.config, { user: rest }),
  VOLUME: (stage, rest) => stage.config.volumes.push(rest),
  EXPOSE: (stage, rest) => stage.config.ports.push(...rest.split(/\s+/)),
  STOPSIGNAL: (stage, rest) => Object.assign(stage.config, { stopSignal: rest }),
  HEALTHCHECK: (stage, rest) => Object.assign(stage.config, { health: exec(rest.slice(rest.indexOf("CMD ") + 4)) }),
  ENTRYPOINT: (stage, rest) => Object.assign(stage.config, { entrypoint: exec(rest) }),
  CMD: (stage, rest) => Object.assign(stage.config, { cmd: exec(rest) }),
};

function variablesOf(stage) {
  return { ...stage.args, ...stage.config.env };
}

function readPairs(text) {
  return Object.fromEntries(
    [...text.matchAll(/(\S+?)=(?:"([^"]*)"|(\S*))/g)].map(([, key, quoted, plain]) => [key, quoted ?? plain]),
  );
}

const stages = readStages(readFileSync(join(repository, "deploy", "docker", "Dockerfile"), "utf8"));
const built = new Map();
const context = join(out, "context");

/** A stage and what it needs; those that nobody needs are left out, as BuildKit does it. */
function build(name) {
  const known = built.get(name);
  if (known !== undefined) {
    return known;
  }
  const plan = stages.find((stage) => stage.name === name);
  if (plan === undefined) {
    throw new Error(`no stage ${name}`);
  }
  const root = join(out, name);
  const isStage = stages.some((stage) => stage.name === plan.from);
  const parent = isStage ? build(plan.from) : { root: baseOf(plan.from), config: emptyConfig() };
  if (plan.instructions.length === 0) {
    built.set(name, parent);
    return parent; // another name for it
  }
  rmSync(root, { recursive: true, force: true });
  spawnSync("cp", ["-a", "--reflink=auto", parent.root, root], { stdio: "inherit" });
  const stage = { root, config: structuredClone(parent.config), args: {} };
  for (const { name: instruction, rest } of plan.instructions) {
    console.error(`${name}: ${instruction} ${rest.replace(/\s+/g, " ")}`);
    perform[instruction](stage, rest, context);
  }
  built.set(name, stage);
  return stage;
}

function emptyConfig() {
  const env = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
  return { env, labels: {}, workdir: "/", user: "0:0", volumes: [], ports: [], entrypoint: [], cmd: [] };
}

function baseOf(image) {
  const [, folder] = baseFolders.find(([pattern]) => pattern.test(image)) ?? [];
  if (folder === undefined || !existsSync(join(bases, folder))) {
    throw new Error(`no folder of ${bases} stands for ${image}`);
  }
  return join(bases, folder);
}

mkdirSync(out, { recursive: true });
rmSync(context, { recursive: true, force: true });
copyContext(context);
const image = build(stages.at(-1).name);
rmSync(join(out, "root"), { recursive: true, force: true });
spawnSync("mv", [image.root, join(out, "root")]);
writeFileSync(join(out, "image.json"), `${JSON.stringify(image.config, null, 2)}\n`);

const bytes = (folder) => Number(spawnSync("du", ["-sb", folder], { encoding: "utf8" }).stdout.split("\t")[0]);
const base = bytes(baseOf(stages.at(-1).from));
const megabytes = (count) => `${(count / 1e6).toFixed(1)} MB`;
const packed = spawnSync("sh", ["-c", 'tar c -C "$0" . | gzip -6 | wc -c', join(out, "root")], { encoding: "utf8" });
console.log(`context        ${megabytes(bytes(context))}`);
console.log(`base           ${megabytes(base)}`);
console.log(`image          ${megabytes(bytes(join(out, "root")))}, packed ${megabytes(Number(packed.stdout))}`);
for (const path of ["usr/local/bin/node", "app"]) {
  console.log(`  /${path.padEnd(20)} ${megabytes(bytes(join(out, "root", path)))}`);
}
