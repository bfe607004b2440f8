// What an addon is built from: the hash of its sources tells whether a package of the native part belongs to a clone.
// `node scripts/native-sources.mjs` prints it.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const isSource = (name) => /\.(cpp|h|inl|inc)$/.test(name);

/** SHA-256 of every file in `root` that decides what the addon does, the same on every system. */
export function hashSources(root) {
  const names = readdirSync(join(root, "native"), { recursive: true, encoding: "utf8" }).filter(isSource);
  const paths = [...names.map((name) => `native/${name.replaceAll("\\", "/")}`), "CMakeLists.txt"].sort();
  const hash = createHash("sha256");
  for (const path of paths) {
    const text = readFileSync(join(root, path), "latin1").replaceAll("\r\n", "\n"); // Git may write these on Windows
    hash.update(`${path} ${text.length}\n`).update(text, "latin1");
  }
  return hash.digest("hex");
}

const toolNames = ["cmake-js", "node-addon-api"];

/**
 * What the package.json of the published package says in `bitnet`, as what a clone knows is not there: the hash of its
 * sources, and the versions of what `bitnet build-native` builds with.
 */
export function nativeFacts(root) {
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const tools = toolNames.map((name) => [name, packages[`node_modules/${name}`].version]);
  return { sources: hashSources(root), tools: Object.fromEntries(tools) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(hashSources(fileURLToPath(new URL("..", import.meta.url))));
}
