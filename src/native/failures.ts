// Why there is no addon that can be loaded, and what to do about it: a line and a hint each.

import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { BitnetError, reasonOf } from "../system/errors.js";
import { installCommand, isClone, ownCommand, packageRoot, packageVersion, readManifest } from "../system/package.js";
import { binaryPlatform, glibcVersion, platformName, readHead, usesMusl } from "./platform.js";

/** An addon that is there: see AddonOrigin. */
interface Place {
  kind: "clone" | "package" | "local";
  path: string;
}

/** How to get another file in place of one that cannot be used. */
function renewal({ kind, path }: Place): string {
  switch (kind) {
    case "clone":
      return "build it again: npm run build:native -- --force";
    case "local":
      return `build it again: ${ownCommand("build-native --force")}`;
    case "package": {
      const name = `@bitnet-cli/${platformName()}`;
      return `delete ${dirname(path)} and install it again: ${installCommand(name, packageVersion())}`;
    }
  }
}

const buildHere = () => `build one here, which needs a C++ compiler and CMake: ${ownCommand("build-native")}`;

export function damaged(place: Place, what: string, cause?: unknown): BitnetError {
  const message = `the native part ${place.path} is damaged: ${what}`;
  return new BitnetError("BAD_FILE", message, { hint: renewal(place), cause });
}

/** What the file system says about it, or the parser of the package.json beside it. */
export function unreadable(place: Place, error: unknown): BitnetError {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (!["EACCES", "EPERM"].includes(code)) {
    return damaged(place, reasonOf(error), error);
  }
  const message = `cannot read the native part ${place.path}: ${reasonOf(error)}`;
  return new BitnetError("NOT_FOUND", message, { hint: "let this user read its folder and files", cause: error });
}

/** Why the system's loader refused a file: what it says depends on the system, and often names something else. */
export function explainRefusal(place: Place, cause: unknown): BitnetError {
  const said = cause instanceof Error ? (cause.message.split("\n")[0] ?? "") : String(cause);
  let made: string | undefined;
  try {
    made = binaryPlatform(readHead(place.path, 4096));
  } catch (error) {
    return unreadable(place, error);
  }
  const here = `${process.platform}-${process.arch}`;
  if (made === undefined) {
    return damaged(place, "it is no library of any system", cause);
  }
  if (made !== here) {
    const message = `the native part ${place.path} is for ${made}, and this is ${here}`;
    return new BitnetError("INTERNAL", message, { hint: renewal(place), cause });
  }
  return process.platform === "linux" ? explainLibc(place, said, cause) : refused(place, said, cause);
}

const refused = (place: Place, said: string, cause: unknown) =>
  new BitnetError("INTERNAL", `cannot load the native part ${place.path}: ${said}`, { hint: buildHere(), cause });

/** By the words of the loaders of glibc and musl. */
function explainLibc(place: Place, said: string, cause: unknown): BitnetError {
  const needed = /version [`'"]?GLIBC_([\d.]+)'? not found/.exec(said)?.[1];
  if (needed !== undefined) {
    const message = `the native part ${place.path} needs glibc ${needed}, and this system has ${glibcVersion()}`;
    return new BitnetError("UNSUPPORTED", message, { hint: buildHere(), cause });
  }
  const isMusl = usesMusl();
  if ((isMusl ? /\bld-linux|symbol not found/ : /\blibc\.(?:so|musl-\w+\.so\.1): /).test(said)) {
    const [file, own] = isMusl ? ["glibc", "musl"] : ["musl", "glibc"];
    const message = `the native part ${place.path} was built for ${file}, and this system has ${own}`;
    return new BitnetError("INTERNAL", message, { hint: renewal(place), cause });
  }
  return refused(place, said, cause);
}

/** Nothing is there that could be loaded: neither the package of that name nor `cloneAddon`. */
export function nothingFound(name: string, cloneAddon: string): BitnetError {
  const { version, optionalDependencies = {} } = readManifest(packageRoot);
  if (isClone()) {
    return new BitnetError("INTERNAL", `the native part is not built (looked for ${cloneAddon})`, {
      hint: "build it, which needs a C++ compiler and CMake: npm run build:native",
    });
  }
  if (!(name in optionalDependencies)) {
    const message = `there is no package of the native part for ${platformName()}`;
    return new BitnetError("UNSUPPORTED", message, { hint: buildHere() });
  }
  const others = otherPackages(dirname(name));
  if (others.includes(name)) {
    const message = `the package ${name} is damaged: it is there without its package.json`;
    return new BitnetError("BAD_FILE", message, {
      hint: `delete it and install it again: ${installCommand(name, version)}`,
    });
  }
  const why =
    others.length > 0
      ? `${others.join(", ")} ${others.length > 1 ? "are" : "is"} there, of another platform than this`
      : "optional packages were left out";
  return new BitnetError("INTERNAL", `the native part is missing: ${name} is not installed (${why})`, {
    hint: `install it: ${installCommand(name, version)}`,
  });
}

/** Packages of other platforms, which are there where node_modules was copied from another machine. */
function otherPackages(scope: string): string[] {
  const folders = createRequire(import.meta.url).resolve.paths(scope) ?? [];
  const names = folders.flatMap((modules) => {
    try {
      return readdirSync(join(modules, scope));
    } catch {
      return [];
    }
  });
  return [...new Set(names)].sort().map((name) => `${scope}/${name}`);
}
