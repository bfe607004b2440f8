// Where this package lies and what it is called.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { BitnetError } from "./errors.js";

export const packageRoot = fileURLToPath(new URL("../..", import.meta.url));

/** What is read of package.json, of this package and of those of its native part. */
export interface Manifest {
  name?: string;
  version: string;
  optionalDependencies?: Readonly<Record<string, string>>;
  /** `sources`: SHA-256 of the native sources; `bytes`: size of the addon, in the packages that have one. */
  bitnet?: { readonly sources?: string; readonly bytes?: number };
}

/** Throws what the file system or the JSON parser throws. */
export function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

const packageName = "bitnet-cli";

/** That of this package. Throws UNSUPPORTED where this file is in somebody's bundle: what it looks for is not beside it. */
export function ownManifest(): Manifest {
  let problem: string;
  try {
    const manifest = readManifest(packageRoot);
    if (manifest.name === packageName) {
      return manifest;
    }
    problem = `the package.json that it finds is of ${manifest.name ?? "another package"}`;
  } catch (error) {
    problem = `it cannot read its package.json: ${(error as Error).message}`;
  }
  throw new BitnetError("UNSUPPORTED", `${packageName} does not run as a part of a bundle; ${problem}`, {
    hint: `leave it out: external: ["${packageName}"]`,
  });
}

export function packageVersion(): string {
  return ownManifest().version;
}

/** A clone of the repository has what a package leaves out. */
export function isClone(): boolean {
  return existsSync(join(packageRoot, "tsconfig.json"));
}

type Manager = "npm" | "pnpm" | "yarn" | "bun";

/** The one that runs this program, or that installed it as far as its folders tell. */
function packageManager(): Manager {
  const running = /^(?:npm|pnpm|yarn|bun)(?=\/)/.exec(process.env.npm_config_user_agent ?? "")?.[0];
  const folders: [string, Manager][] = [
    [".pnpm", "pnpm"],
    [".yarn", "yarn"],
    [".bun", "bun"],
  ];
  const installed = folders.find(([name]) => packageRoot.includes(`${sep}${name}${sep}`))?.[1];
  return (running as Manager | undefined) ?? installed ?? "npm";
}

/** A command that installs `name` at `version` beside this package, as it must be typed. */
export function installCommand(name: string, version: string): string {
  const verbs = { npm: "npm install", pnpm: "pnpm add", yarn: "yarn add", bun: "bun add" };
  const modules = dirname(packageRoot.endsWith(sep) ? packageRoot.slice(0, -1) : packageRoot);
  // Packages of a project have its package.json beside them, global ones have none.
  const isGlobal = modules.endsWith(`${sep}node_modules`) && !existsSync(join(dirname(modules), "package.json"));
  const manager = packageManager();
  return `${verbs[manager]} ${isGlobal && manager !== "yarn" ? "--global " : ""}${name}@${version}`;
}

/** A command of this program, as it must be typed: that of a project's own packages is not in PATH. */
export function ownCommand(args: string): string {
  const agent = process.env.npm_config_user_agent;
  const runners = { npm: "npx ", pnpm: "pnpm exec ", yarn: "yarn ", bun: "bunx " };
  return `${agent === undefined ? "" : runners[packageManager()]}bitnet ${args}`;
}
