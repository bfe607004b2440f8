// Where the addon lies: built in a clone, in the package of this platform, or built by `bitnet build-native`, in this
// order. What is there and cannot be used is passed over, and told only if nothing can be.

import { existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { BitnetError } from "../system/errors.js";
import { cacheFolder } from "../system/folders.js";
import { installCommand, ownManifest, packageRoot, packageVersion, readManifest } from "../system/package.js";
import { damaged, explainRefusal, nothingFound, unreadable } from "./failures.js";
import { leastBytes, platformName, readHead } from "./platform.js";

export interface AddonOrigin {
  /** Built in a clone, from the package of this platform, or built by `bitnet build-native`. */
  kind: "clone" | "package" | "local";
  path: string;
  /** Of this program, for which it was made. */
  version: string;
}

const addonName = "bitnet.node";
const require = createRequire(import.meta.url);

/** What a build in a clone makes. */
export const cloneAddon = join(packageRoot, "build", "Release", addonName);

/** What `bitnet build-native` makes of the sources of this package; undefined for a user without a cache. */
export function localAddon(): string | undefined {
  const { version, bitnet } = ownManifest();
  const cache = cacheFolder();
  const sources = bitnet?.sources?.slice(0, 16) ?? "unnamed";
  return cache && join(cache, "native", `${version}-${sources}-${platformName()}`, addonName);
}

/** Loads the first addon that can be loaded; if there is none, throws what is wrong with the first that was there. */
export function loadFirst(): { origin: AddonOrigin; exports: unknown } {
  let problem: unknown;
  for (const find of [findInClone, findPackage, findLocal]) {
    try {
      const origin = find();
      if (origin !== undefined) {
        return { origin, exports: load(origin) };
      }
    } catch (error) {
      problem ??= error;
    }
  }
  throw problem ?? nothingFound(packageOf(platformName()), cloneAddon);
}

function load(origin: AddonOrigin): unknown {
  try {
    return require(origin.path);
  } catch (cause) {
    throw explainRefusal(origin, cause);
  }
}

function findInClone(): AddonOrigin | undefined {
  if (!existsSync(cloneAddon)) {
    return undefined;
  }
  const origin = { kind: "clone", path: cloneAddon, version: packageVersion() } as const;
  const size = sizeOf(origin);
  const least = leastBytes(readHead(cloneAddon, 64));
  if (size < least) {
    throw damaged(origin, `it has ${size} bytes and says that it has ${least}`);
  }
  return origin;
}

/** The package of the native part for a platform. */
const packageOf = (platform: string) => `@bitnet-cli/${platform}`;

function findPackage(): AddonOrigin | undefined {
  const name = packageOf(platformName());
  const { version, bitnet } = ownManifest();
  const folder = packageFolder(name);
  if (folder === undefined) {
    return undefined;
  }
  const origin = { kind: "package", path: join(folder, addonName), version } as const;
  const found = checkFolder(origin);
  const hint = `install the one that belongs to it: ${installCommand(name, version)}`;
  if (found.version !== version) {
    throw new BitnetError("INTERNAL", `${name} is of version ${found.version}, but bitnet-cli is ${version}`, { hint });
  }
  if (bitnet?.sources !== undefined && bitnet.sources !== found.bitnet?.sources) {
    const message = `${name} ${version} was built from other sources than this bitnet-cli ${version}`;
    throw new BitnetError("INTERNAL", message, { hint });
  }
  return origin;
}

function packageFolder(name: string): string | undefined {
  try {
    return dirname(require.resolve(`${name}/package.json`));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND") {
      return undefined;
    }
    const { message } = cause as Error; // a package.json that is none
    throw new BitnetError("BAD_FILE", `the package ${name} is damaged: ${message.split("\n")[0]}`, {
      hint: `delete it and install it again: ${installCommand(name, packageVersion())}`,
      cause,
    });
  }
}

function findLocal(): AddonOrigin | undefined {
  const path = localAddon();
  if (path === undefined || !existsSync(dirname(path))) {
    return undefined;
  }
  const origin = { kind: "local", path, version: packageVersion() } as const;
  checkFolder(origin);
  return origin;
}

/** Throws if it is anything but a file: to read a pipe may never end. */
function sizeOf(origin: AddonOrigin): number {
  const info = statSync(origin.path);
  if (!info.isFile()) {
    throw damaged(origin, "it is not a regular file");
  }
  return info.size;
}

/** What stands beside the addon. A file that ends too early must not be mapped: reading what it lacks ends the process. */
function checkFolder(origin: AddonOrigin): { version: string; bitnet?: { sources?: string; bytes?: number } } {
  try {
    const manifest = readManifest(dirname(origin.path));
    const size = sizeOf(origin);
    const { bytes = size } = manifest.bitnet ?? {};
    if (size !== bytes) {
      throw damaged(origin, `it has ${size} bytes instead of ${bytes}`);
    }
    return manifest;
  } catch (error) {
    throw error instanceof BitnetError ? error : unreadable(origin, error);
  }
}
