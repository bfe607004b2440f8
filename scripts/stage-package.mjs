// Writes the package that is published: build-packages/bitnet-cli/. `node scripts/stage-package.mjs`, after
// `npm run build`; part of `npm run package`. "The published package" in docs/architecture.md says why it is so.
//
// What of the repository's package.json changes: the platform packages are optional dependencies, other people's packages
// but for `keptPackages` are bundled, and there is nothing to run at an installation.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { bundlePackages, fileOf, filesLoadedBy, importsOf, packageFolder } from "./bundle-packages.mjs";
import { nativeFacts } from "./native-sources.mjs";
import { platforms } from "./platforms.mjs";

export const root = fileURLToPath(new URL("..", import.meta.url));
const usualFolder = join(root, "build-packages", "bitnet-cli");

/** Dependencies of the published package, which lie in its node_modules; the rest becomes scripts of its own. */
export const keptPackages = ["@huggingface/hub", "chalk", "cli-progress", "commander", "ora"];
/** Of these, what is there only as far as Node loads it: a tenth of 7 MB. */
const prunedPackages = ["@huggingface/hub"];
const bundledFolder = "dist/bundled";

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
/** Of a clone alone is what it built. */
const copied = [...manifest.files.filter((path) => !/^!?(dist|build)/.test(path)), "LICENSE"];
const isOptional = (name) => manifest.peerDependenciesMeta?.[name]?.optional === true;

/** Writes the package to a folder, which is made anew. */
export async function stagePackage(staged = usualFolder) {
  rmSync(staged, { recursive: true, force: true });
  for (const path of copied) {
    cpSync(join(root, path), join(staged, path), { recursive: true });
  }
  cpSync(join(root, "dist", "ui"), join(staged, "dist", "ui"), { recursive: true });
  await stageScripts(staged);
  stageDeclarations(staged);
  await stageKept(staged);
  write(staged, "README.md", withAddresses(readFileSync(join(root, "README.md"), "utf8")));
  write(staged, "package.json", `${JSON.stringify(stagedManifest(), null, 2)}\n`);
}

function write(staged, path, text) {
  mkdirSync(dirname(join(staged, path)), { recursive: true });
  writeFileSync(join(staged, path), text);
}

/** The scripts that tsc wrote, each as it is but for the names of packages that are bundled. */
async function stageScripts(staged) {
  const { scripts, files } = await bundleScripts();
  for (const { path, text, imports } of scripts) {
    write(staged, path, withBundled(path, text, imports));
  }
  for (const path of commonJsEntries()) {
    cpSync(join(root, path), join(staged, path));
  }
  for (const { name, text } of files) {
    write(staged, `${bundledFolder}/${name}`, text);
  }
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
  return { scripts, ...(await bundlePackages(root, wanted)) };
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

function commonJsEntries() {
  return Object.values(manifest.exports)
    .flatMap((target) => (target.require === undefined ? [] : Object.values(target.require)))
    .map((path) => path.replace(/^\.\//, ""));
}

/** The declarations that the entries lead to. */
function stageDeclarations(staged) {
  const left = Object.values(manifest.exports)
    .map((target) => target.import?.types?.replace(/^\.\//, ""))
    .filter((path) => path !== undefined);
  const seen = new Set(left);
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    const text = withoutMap(readFileSync(join(root, path), "utf8"));
    write(staged, path, text);
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

/** The kept packages and all that they depend on; of the pruned ones description, licence and what Node loads. */
async function stageKept(staged) {
  const pruned = new Set();
  for (const file of (await Promise.all(prunedPackages.map((name) => filesLoadedBy(root, name)))).flat()) {
    pruned.add(packageFolder(file));
    cpSync(file, join(staged, relative(root, file)));
  }
  const folders = neededFolders(keptPackages.map((name) => join(root, "node_modules", name)));
  const typesOnly = neededFolders(prunedPackages.map((name) => join(root, "node_modules", name)));
  for (const folder of folders) {
    const isPruned = pruned.has(folder) || typesOnly.includes(folder);
    for (const name of readdirSync(folder).filter((entry) => entry !== "node_modules")) {
      if (!isPruned || /^(package\.json$|licen[cs]e)/i.test(name)) {
        cpSync(join(folder, name), join(staged, relative(root, folder), name), { recursive: true });
      }
    }
  }
}

/** These packages and everything that they depend on, found as Node finds it. */
function neededFolders(start) {
  const folders = new Set(start);
  for (const folder of folders) {
    const { dependencies = {} } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    for (const name of Object.keys(dependencies)) {
      folders.add(folderOf(name, folder));
    }
  }
  return [...folders];
}

function folderOf(name, from) {
  for (let place = from; `${place}/`.length >= root.length; place = dirname(place)) {
    const folder = join(place, "node_modules", name);
    if (existsSync(folder)) {
      return folder;
    }
  }
  throw new Error(`${name}, which ${relative(root, from)} needs, is not installed`);
}

function stagedManifest() {
  const { scripts: _, devDependencies: __, files: ___, dependencies, ...rest } = manifest; // cmake-js reads `binary`
  return {
    ...rest,
    bitnet: nativeFacts(root),
    dependencies: Object.fromEntries(keptPackages.map((name) => [name, dependencies[name]])),
    bundleDependencies: keptPackages,
    optionalDependencies: Object.fromEntries(platforms.map(({ name }) => [`@bitnet-cli/${name}`, manifest.version])),
  };
}

/** A package's page is elsewhere: links to files of the repository become addresses. */
function withAddresses(text) {
  const page = manifest.homepage.replace(/#.*$/, "");
  return text.replaceAll(/\]\((?!https?:|#)([^)]+)\)/g, `](${page}/blob/v${manifest.version}/$1)`);
}

/** build-packages/bitnet-cli-VERSION.tgz */
function pack() {
  const isWindows = process.platform === "win32"; // where npm is a batch file
  const args = ["pack", "--silent", "--ignore-scripts", "--pack-destination", dirname(usualFolder)];
  const { status, stderr } = spawnSync("npm", args, { cwd: usualFolder, encoding: "utf8", shell: isWindows });
  if (status !== 0) {
    throw new Error(`npm pack ended with ${status}: ${stderr}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await stagePackage();
  pack();
  console.error(`wrote ${relative(root, usualFolder)} and its package, bitnet-cli-${manifest.version}.tgz`);
}
