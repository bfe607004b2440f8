// Writes for each entry of the package what `require()` and TypeScript in CommonJS need beside it: NAME.cjs and NAME.d.cts.
// `node scripts/write-commonjs.mjs`, after tsc; part of `npm run build:ts`.
//
// The modules are ESM and stay so: the .cjs file hands over the one instance that import would give. Its declarations
// name the types of the .d.ts file instead of repeating them, so that both ways have the same types.

import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const { exports, name } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const entries = Object.entries(exports)
  .filter(([, target]) => target.import?.types !== undefined)
  .map(([path, target]) => ({
    specifier: path.replace(/^\./, name),
    file: fileURLToPath(new URL(`../${target.import.types}`, import.meta.url)),
  }));

const program = ts.createProgram(
  entries.map(({ file }) => file),
  {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
  },
);
for (const { specifier, file } of entries) {
  const stem = file.replace(/\.d\.ts$/, "");
  writeFileSync(`${stem}.cjs`, script(specifier, `./${basename(stem)}.js`));
  writeFileSync(`${stem}.d.cts`, declarations(file, `./${basename(stem)}.js`));
}

/** Before 20.19 and 22.12 Node cannot require() a module. */
function script(specifier, module) {
  return `"use strict";

try {
  module.exports = require("${module}");
} catch (cause) {
  if (cause.code !== "ERR_REQUIRE_ESM") {
    throw cause;
  }
  const node = process.versions.node;
  throw new Error(
    \`Node \${node} cannot require() "${specifier}": use await import("${specifier}"), or Node 20.19, 22.12 or newer\`,
    { cause },
  );
}
`;
}

function declarations(file, module) {
  const checker = program.getTypeChecker();
  const source = program.getSourceFile(file);
  const from = `import("${module}", { with: { "resolution-mode": "import" } })`;
  const types = checker
    .getExportsOfModule(checker.getSymbolAtLocation(source))
    .map((symbol) => ({ name: symbol.name, target: resolved(checker, symbol) }))
    .filter(({ target }) => (target.flags & ts.SymbolFlags.Type) !== 0)
    .map(({ name, target }) => typeAlias(name, target, from));
  return `declare const entry: typeof ${from};\ndeclare namespace entry {\n${types.join("")}}\nexport = entry;\n`;
}

function resolved(checker, symbol) {
  return (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
}

function typeAlias(name, target, from) {
  const parameters = target.declarations.find((one) => one.typeParameters !== undefined)?.typeParameters ?? [];
  if (parameters.some((one) => one.constraint !== undefined || one.default !== undefined)) {
    throw new Error(`the type ${name} has parameters with bounds or defaults, which ${import.meta.url} cannot repeat`);
  }
  const list = parameters.length === 0 ? "" : `<${parameters.map((one) => one.name.text).join(", ")}>`;
  return `  export type ${name}${list} = ${from}.${name}${list};\n`;
}
