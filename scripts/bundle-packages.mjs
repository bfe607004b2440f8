// Other people's packages as the published package has them: what of them is bundled into files of our own, and what
// has to lie beside it. See "The published package" in docs/architecture.md.

import { readdirSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import { rolldown } from "rolldown";
import ts from "typescript";

/**
 * The imports of a script or a declaration: where each name stands, and what is taken of it; "*" where that cannot be
 * told. Those of types alone are there, too, in declarations.
 */
export function importsOf(path, text) {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found = [];
  const add = (literal, names) => {
    found.push({ name: literal.text, start: literal.getStart(source), end: literal.end, names });
  };
  const visit = (node) => {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, importedNames(node.importClause));
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      add(node.moduleSpecifier, ["*"]);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      if (ts.isStringLiteralLike(argument)) {
        add(argument, ["*"]);
      }
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, ["*"]);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function importedNames(clause) {
  const names = clause?.name === undefined ? [] : ["default"];
  const bindings = clause?.namedBindings;
  if (bindings === undefined) {
    return names;
  }
  return ts.isNamespaceImport(bindings)
    ? ["*"]
    : [...names, ...bindings.elements.map((one) => (one.propertyName ?? one.name).text)];
}

/**
 * Bundles packages: one script for each specifier of `wanted` (a map of it to the names that are imported), and what
 * these share. Returns the files {name, text} and the folders of the packages that are in them. They stand alone: what a
 * package requires is in them, too, or this fails.
 */
export async function bundlePackages(root, wanted) {
  const entries = new Map();
  for (const [specifier, names] of wanted) {
    entries.set(fileOf(specifier), { specifier, names: await exportsOf(specifier, names) });
  }
  const files = new Set();
  const bundle = await rolldown({
    cwd: root,
    input: Object.fromEntries([...entries.keys()].map((file) => [file, join(root, `${file}.mjs`)])),
    platform: "node",
    plugins: [entryPlugin(root, entries), fileListPlugin(files)],
    onLog(_, { code, message }) {
      if (code === "UNRESOLVED_IMPORT") {
        throw new Error(message);
      }
    },
  });
  const { output } = await bundle.generate({
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "shared-[hash].js",
    minify: { compress: true, mangle: { keepNames: true }, codegen: true },
    comments: { legal: false, annotation: false, jsdoc: false }, // the licences lie beside it, whole
  });
  await bundle.close();
  const folders = new Set([...files].map((file) => packageFolder(file)).filter((folder) => folder !== undefined));
  return { files: output.map(({ fileName, code }) => ({ name: fileName, text: code })), folders: [...folders] };
}

/** The name of the script that stands for a package: "@a/b/c.js" is "a-b-c". */
export function fileOf(specifier) {
  return specifier
    .replace(/^@/, "")
    .replace(/\.js$/, "")
    .replaceAll(/[^\w-]+/g, "-");
}

/** What Node would give for "*": of a CommonJS package, the names that its lexer finds. */
async function exportsOf(specifier, names) {
  if (!names.has("*")) {
    return [...names];
  }
  return Object.keys(await import(specifier)).filter((name) => /^[A-Za-z_$][\w$]*$/.test(name));
}

/** Entries that hand on names: a CommonJS package as an entry itself would have a default alone. */
function entryPlugin(root, entries) {
  const idOf = (file) => join(root, `${file}.mjs`); // .mjs: imports as Node does them
  const texts = new Map(
    [...entries].map(([file, { specifier, names }]) => [
      idOf(file),
      `export { ${names.join(", ")} } from "${specifier}";`,
    ]),
  );
  return {
    name: "entries",
    resolveId: (id) => (texts.has(id) ? id : undefined),
    load: (id) => texts.get(id),
  };
}

function fileListPlugin(files) {
  return {
    name: "file-list",
    buildEnd() {
      for (const id of this.getModuleIds()) {
        files.add(id);
      }
    },
  };
}

/** The files of packages that a script, or `import` of a package, loads. */
export async function filesLoadedBy(root, entry) {
  const files = new Set();
  const bundle = await rolldown({
    cwd: root,
    input: entry,
    platform: "node",
    treeshake: false,
    external: /\.css$/,
    plugins: [fileListPlugin(files)],
  });
  await bundle.generate({ format: "esm" });
  await bundle.close();
  return [...files].filter((file) => packageFolder(file) !== undefined);
}

/** The folder of the package that a file belongs to; undefined if it is none of node_modules. */
export function packageFolder(file) {
  const at = file.lastIndexOf(`${sep}node_modules${sep}`);
  if (at < 0) {
    return undefined;
  }
  const start = at + `${sep}node_modules${sep}`.length;
  const parts = file.slice(start).split(sep);
  return join(file.slice(0, start), ...parts.slice(0, parts[0].startsWith("@") ? 2 : 1));
}

/** A package's name, version and licence, and the text of its licence file. */
export function describePackage(folder) {
  const { name, version, license, repository } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
  return {
    name,
    version,
    license: typeof license === "string" ? license : (license?.type ?? "see its text"),
    address: typeof repository === "string" ? repository : repository?.url,
    text: file === undefined ? undefined : readFileSync(join(folder, file), "utf8"),
  };
}
