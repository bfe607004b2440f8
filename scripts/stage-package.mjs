// Writes the package that is published: build-packages/bitnet-cli/. `node scripts/stage-package.mjs`, after
// `npm run build`; part of `npm run package`. "The published package" in docs/architecture.md says why it is so.
//
// What of the repository's package.json changes: the platform packages are optional dependencies, other people's packages
// but for `keptPackages` are bundled, and there is nothing to run at an installation.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { bundlePackages, fileOf, filesLoadedBy, importsOf, packageFolder } from "./bundle-packages.mjs";
import { nativeFacts } from "./native-sources.mjs";
import { platforms } from "./platforms.mjs";

export const root = fileURLToPath(new URL("..", import.meta.url));
export const staged = join(root, "build-packages", "bitnet-cli");

/** Dependencies of the published package; the rest is bundled. */
export const keptPackages = ["@huggingface/hub", "chalk", "cli-progress", "commander", "ora"];
/** Of these, what lies in the package itself, without the nine tenths that Node does not load. */
const prunedPackages = ["@huggingface/hub"];
const bundledFolder = "dist/bundled";

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const copied = [...manifest.files.filter((path) => !path.startsWith("dist")), "LICENSE"];
const isOptional = (name) => manifest.peerDependenciesMeta?.[name]?.optional === true;

/** Stages the package; returns the folders of the packages that are bundled and of those that lie in it. */
export async function stagePackage() {
  rmSync(staged, { recursive: true, force: true });
  for (const path of copied) {
    cpSync(join(root, path), join(staged, path), { recursive: true });
  }
  cpSync(join(root, "dist", "ui"), join(staged, "dist", "ui"), { recursive: true });
  const bundled = await stageScripts();
  stageDeclarations();
  const pruned = await stagePruned();
  write("README.md", withAddresses(readFileSync(join(root, "README.md"), "utf8")));
  write("package.json", `${JSON.stringify(stagedManifest(), null, 2)}\n`);
  return { bundled, pruned };
}

function write(path, text) {
  mkdirSync(dirname(join(staged, path)), { recursive: true });
  writeFileSync(join(staged, path), text);
}

/** The scripts that tsc wrote, each as it is but for the names of packages that are bundled. */
async function stageScripts() {
  const { scripts, files, folders } = await bundleScripts();
  for (const { path, text, imports } of scripts) {
    write(path, withBundled(path, text, imports));
  }
  for (const path of commonJsEntries()) {
    cpSync(join(root, path), join(staged, path));
  }
  for (const { name, text } of files) {
    refuseUnknown(name, text);
    write(`${bundledFolder}/${name}`, text);
  }
  return folders;
}

/** The program's own scripts, the bundles that they need, and the folders of the packages that are in these. */
export async function bundleScripts() {
  const scripts = readdirSync(join(root, "src"), { recursive: true })
    .map((path) => path.replaceAll(sep, "/"))
    .filter((path) => /\.ts$/.test(path) && !path.startsWith("ui/"))
    .map((path) => `dist/${path.replace(/\.ts$/, ".js")}`)
    .map((path) => ({ path, text: withoutMap(readFileSync(join(root, path), "utf8")) }))
    .map((script) => ({ ...script, imports: importsOf(script.path, script.text) }));
  const wanted = new Map();
  for (const { name, names } of scripts.flatMap(({ imports }) => imports)) {
    if (isBundled(name)) {
      wanted.set(name, new Set([...(wanted.get(name) ?? []), ...names]));
    }
  }
  const isExternal = (id) => isKept(id) || isOptional(packageOf(id));
  return { scripts, ...(await bundlePackages(root, wanted, isExternal)) };
}

function withoutMap(text) {
  return text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
}

const packageOf = (specifier) => specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
const isKept = (specifier) => keptPackages.includes(packageOf(specifier));

function isBundled(specifier) {
  return !(/^(\.|node:)/.test(specifier) || isKept(specifier) || isOptional(packageOf(specifier)));
}

function withBundled(path, text, imports) {
  let result = text;
  for (const { name, start, end } of imports.filter((one) => isBundled(one.name)).reverse()) {
    const to = posix.relative(posix.dirname(path), `${bundledFolder}/${fileOf(name)}.js`);
    result = `${result.slice(0, start)}${JSON.stringify(to.startsWith(".") ? to : `./${to}`)}${result.slice(end)}`;
  }
  return result;
}

/** A bundle stands alone: what it would look for in node_modules is not there. */
function refuseUnknown(file, text) {
  const unknown = importsOf(file, text).filter(({ name }) => isBundled(name));
  if (unknown.length > 0) {
    throw new Error(
      `${bundledFolder}/${file} imports ${unknown.map(({ name }) => name).join(", ")}, which is not bundled`,
    );
  }
}

function commonJsEntries() {
  return Object.values(manifest.exports)
    .flatMap((target) => (target.require === undefined ? [] : Object.values(target.require)))
    .map((path) => path.replace(/^\.\//, ""));
}

/** The declarations that the entries lead to. */
function stageDeclarations() {
  const left = Object.values(manifest.exports)
    .map((target) => target.import?.types?.replace(/^\.\//, ""))
    .filter((path) => path !== undefined);
  const seen = new Set(left);
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    const text = withoutMap(readFileSync(join(root, path), "utf8"));
    write(path, text);
    for (const { name } of importsOf(path, text)) {
      if (isBundled(name)) {
        throw new Error(`${path} is a part of the library's types and imports ${name}, which is bundled`);
      }
      const next = posix.join(posix.dirname(path), name.replace(/\.js$/, ".d.ts"));
      if (name.startsWith(".") && !seen.has(next)) {
        seen.add(next);
        left.push(next);
      }
    }
  }
}

/** Packages that the package brings along: of each its description, its licence and the files that Node loads. */
async function stagePruned() {
  const folders = new Set();
  for (const name of prunedPackages) {
    for (const file of await filesLoadedBy(root, name)) {
      folders.add(packageFolder(file));
      cpSync(file, join(staged, relative(root, file)));
    }
  }
  addNeeded(folders);
  for (const folder of folders) {
    for (const name of readdirSync(folder).filter((entry) => /^(package\.json$|licen[cs]e)/i.test(entry))) {
      cpSync(join(folder, name), join(staged, relative(root, folder), name));
    }
  }
  return [...folders];
}

/** What they depend on and only have types of: a package manager would fetch it if it were not there. */
function addNeeded(folders) {
  for (const folder of folders) {
    const { dependencies = {} } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    for (const name of Object.keys(dependencies)) {
      const nested = join(folder, "node_modules", name);
      folders.add(existsSync(nested) ? nested : join(root, "node_modules", name));
    }
  }
}

function stagedManifest() {
  const { scripts: _, devDependencies: __, files: ___, dependencies, ...rest } = manifest; // cmake-js reads `binary`
  return {
    ...rest,
    bitnet: nativeFacts(root),
    dependencies: Object.fromEntries(keptPackages.map((name) => [name, dependencies[name]])),
    bundleDependencies: prunedPackages,
    optionalDependencies: Object.fromEntries(platforms.map(({ name }) => [`@bitnet-cli/${name}`, manifest.version])),
  };
}

/** A package's page is elsewhere: links to files of the repository become addresses. */
function withAddresses(text) {
  const page = manifest.homepage.replace(/#.*$/, "");
  return text.replaceAll(/\]\((?!https?:|#)([^)]+)\)/g, `](${page}/blob/v${manifest.version}/$1)`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await stagePackage();
  console.error(`staged ${relative(root, staged)}`);
}
