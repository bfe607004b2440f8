// Checks who may import whom in src/ and native/: a folder is a layer, and imports go down. `node check-layers.mjs [ROOT]`.
//
// Both sides have a table of floors, the highest first. A file belongs to the longest path of the table that is its own
// or that it lies under; it may import what stands on a lower floor and what belongs to the same path. Rules about one
// file follow the tables. Circles of folders are found by their arrow upwards and named as circles too, circles of files
// within a folder as such.

import { existsSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { CPP, sourceFiles } from "./source-files.mjs";

const TERMINAL_PACKAGES = new Set(["chalk", "commander", "cli-progress", "ora"]);
const HOSTS = /^<(napi|node_api|uv|v8)\.h>$/;
const INTRINSICS = /^<(\w*mmintrin|x86intrin|arm_\w+|wasm_simd128)\.h>$/;

const TYPESCRIPT = {
  folder: "src",
  files: /\.tsx?$/,
  floors: [
    ["cli/main.ts"],
    ["cli/program.ts"],
    ["cli/commands"],
    ["cli"],
    ["cli/terminal", "index.ts"],
    ["doctor"],
    ["serve/server.ts"],
    ["serve/api"],
    ["serve", "bench", "eval", "embed", "train", "models", "ui"],
    ["train/tokenizer"],
    ["train/data"],
    ["train/core"],
    ["batch"],
    ["ui/view"],
    ["ui/app"],
    ["ui/chats", "ui/server", "ui/text"],
    ["convert", "chat"],
    ["engine"],
    ["adapter"],
    ["checkpoint", "hub"],
    ["gguf", "grammar"],
    ["native"],
    ["plot"],
    ["system"],
  ],
  importsOf: (text) => ts.preProcessFile(text, true, true).importedFiles.map((file) => file.fileName),
  resolve(from, name) {
    if (!name.startsWith(".") || name.endsWith(".css")) {
      return undefined;
    }
    const file = posix.join(posix.dirname(from), name).replace(/\.js$/, ".ts");
    return existsSync(posix.join(root, `${file}x`)) ? `${file}x` : file;
  },
  fileRules: [onlyTerminalPackagesInCli, commandsStandAlone, faceOnlyReexports, pageStandsAlone],
};

const CPLUSPLUS = {
  folder: "native",
  files: CPP,
  floors: [
    ["node", "wasm"],
    ["measure", "train"],
    ["run"],
    ["model", "convert"],
    ["tokenizer", "grammar"],
    ["kernels", "gguf"],
    ["formats"],
    ["base"],
  ],
  importsOf: (text) => [...text.matchAll(/^[ \t]*#[ \t]*include[ \t]*(<[^>]+>|"[^"]+")/gm)].map(([, name]) => name),
  resolve: (_from, name) =>
    name.startsWith('"') && CPP.test(name.slice(1, -1)) ? `native/${name.slice(1, -1)}` : undefined,
  fileRules: [
    onlyFacesKnowTheirHost,
    onlyInstructionSetsHaveIntrinsics,
    sharedTextHasNoHeaders,
    instructionSetsExportOneTable,
  ],
};

// Rules that look at one file {path, text, inside: files of its side that it imports, outside: names of anything else}
// and return what is wrong with it.

function onlyTerminalPackagesInCli({ path, outside }) {
  return outside
    .filter((name) => TERMINAL_PACKAGES.has(name) && !path.startsWith("src/cli/"))
    .map((name) => `imports ${name}, which only src/cli/ may: a library neither prints nor reads arguments`);
}

function commandsStandAlone({ path, inside }) {
  const isCommand = (name) => name.startsWith("src/cli/commands/");
  return inside
    .filter((to) => isCommand(path) && isCommand(to))
    .map((to) => `imports ${to}: commands do not know each other; what they share belongs to src/cli/`);
}

function faceOnlyReexports({ path, text, inside }) {
  const users = inside.includes("src/index.ts")
    ? ["imports src/index.ts, the face of the library; import the file that has the thing"]
    : [];
  if (path !== "src/index.ts") {
    return users;
  }
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  return source.statements
    .filter((statement) => !ts.isExportDeclaration(statement) || statement.moduleSpecifier === undefined)
    .map((statement) => `has "${statement.getText().split("\n")[0]}", but only re-exports`);
}

function pageStandsAlone({ path, inside }) {
  const isPage = (name) => name.startsWith("src/ui/");
  return inside
    .filter((to) => isPage(path) !== isPage(to))
    .map((to) => `imports ${to}: the web page runs in browsers and knows the server by its interface alone`);
}

function onlyFacesKnowTheirHost({ path, outside }) {
  return outside
    .filter((name) => HOSTS.test(name) && !path.startsWith("native/node/"))
    .map((name) => `includes ${name}, which only native/node/ may`);
}

/** The file of an instruction set is a .cpp of kernels/ that makes a table of kernels. */
const isInstructionSet = ({ path, inside }) => path.endsWith(".cpp") && inside.includes("native/kernels/table.inl");

function onlyInstructionSetsHaveIntrinsics(file) {
  return file.outside
    .filter((name) => INTRINSICS.test(name) && !isInstructionSet(file))
    .map((name) => `includes ${name}, which only files of instruction sets may (those with kernels/table.inl)`);
}

function sharedTextHasNoHeaders({ path, inside, outside }) {
  return [...inside, ...outside]
    .filter((name) => path.endsWith(".inl") && !name.endsWith(".inl"))
    .map((name) => `includes ${name} inside the namespace that it is pasted into: the .cpp includes headers`);
}

/** Code outside the unnamed namespace might replace that of files with other flags, and run on CPUs without them. */
function instructionSetsExportOneTable(file) {
  if (!isInstructionSet(file)) {
    return [];
  }
  const exported = file.text
    .replace(/^namespace \{\n[\s\S]*?^\} {2}\/\/ namespace\n/m, "")
    .split("\n")
    .filter((line) => /^\w/.test(line) && line !== "namespace bitnet {");
  return exported.length === 1 && /^extern constinit const Kernels k\w+ =/.test(exported[0])
    ? []
    : [`has to export one "extern constinit const Kernels" and nothing else, not "${exported.join('", "')}"`];
}

function readSide(root, side) {
  return sourceFiles(root, side.folder, side.files).map((path) => {
    const text = readFileSync(posix.join(root, path), "utf8");
    const imports = [...new Set(side.importsOf(text))].map((name) => ({ name, to: side.resolve(path, name) }));
    const inside = imports.flatMap(({ to }) => to ?? []);
    return { path, text, inside, outside: imports.filter(({ to }) => to === undefined).map(({ name }) => name) };
  });
}

/** The path of the table that a file belongs to, and how many floors are above it. */
function roomOf(side, path) {
  const rooms = side.floors.flatMap((floor, above) => floor.map((name) => ({ name: `${side.folder}/${name}`, above })));
  return rooms
    .filter(({ name }) => path === name || path.startsWith(`${name}/`))
    .sort((a, b) => b.name.length - a.name.length)[0];
}

function placeProblems(side, { path, inside }, paths) {
  const mine = roomOf(side, path);
  if (mine === undefined) {
    return ["lies on no floor: name its folder in scripts/check-layers.mjs and in docs/architecture.md"];
  }
  return inside.flatMap((to) => {
    const its = roomOf(side, to);
    if (!paths.has(to)) {
      return [`imports ${to}, which does not exist`];
    }
    if (its === undefined || its.name === mine.name || its.above > mine.above) {
      return [];
    }
    return [`imports ${to}, but ${its.name} stands ${its.above < mine.above ? "above" : "beside"} ${mine.name}`];
  });
}

/** The nodes of a circle of a graph (node -> nodes), or undefined. */
function findCircle(graph) {
  const done = new Set();
  const visit = (node, trail) => {
    if (done.has(node)) {
      return undefined;
    }
    if (trail.includes(node)) {
      return trail.slice(trail.indexOf(node));
    }
    for (const next of graph.get(node) ?? []) {
      const circle = visit(next, [...trail, node]);
      if (circle) {
        return circle;
      }
    }
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const circle = visit(node, []);
    if (circle) {
      return circle;
    }
  }
  return undefined;
}

function circleProblems(side, files) {
  const ofFiles = new Map(files.map(({ path, inside }) => [path, inside]));
  const ofFolders = new Map();
  for (const { path, inside } of files) {
    const room = roomOf(side, path)?.name;
    const others = inside.map((to) => roomOf(side, to)?.name).filter((name) => name !== undefined && name !== room);
    ofFolders.set(room, new Set([...(ofFolders.get(room) ?? []), ...others]));
  }
  return Object.entries({ folders: ofFolders, files: ofFiles }).flatMap(([what, graph]) => {
    const circle = findCircle(graph);
    return circle ? [`a circle of ${what}: ${[...circle, circle[0]].join(" -> ")}`] : [];
  });
}

function checkSide(side, files) {
  const paths = new Set(files.map(({ path }) => path));
  const problems = files.flatMap((file) =>
    [placeProblems(side, file, paths), ...side.fileRules.map((rule) => rule(file))]
      .flat()
      .map((problem) => `${file.path} ${problem}`),
  );
  return [...problems, ...circleProblems(side, files)];
}

const root = process.argv[2] ?? fileURLToPath(new URL("..", import.meta.url));
const problems = [TYPESCRIPT, CPLUSPLUS].flatMap((side) => checkSide(side, readSide(root, side)));
for (const problem of problems) {
  console.error(problem);
}
if (problems.length > 0) {
  console.error(`violations of the layers (docs/architecture.md): ${problems.length}`);
  process.exitCode = 1;
}
