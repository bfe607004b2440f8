// bitnet build-native: builds the addon of an installed package, for package managers that run no install scripts.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { addonName, buildFolders, loadAddon } from "../../native/addon.js";
import { BitnetError } from "../../system/errors.js";
import { packageRoot } from "../../system/package.js";
import { note, write } from "../terminal/output.js";

export default function configureBuildNative(command: Command): void {
  command
    .addHelpText(
      "after",
      `
It needs g++ 12 or clang 14, or newer, and CMake 3.18 or newer, and takes about a minute. What it builds goes into the
package, or into the user's cache if the package belongs to somebody else.`,
    )
    .option("--force", "build it even if there is one that can be loaded")
    .action(buildNative);
}

function isLoadable(): boolean {
  try {
    loadAddon();
    return true;
  } catch {
    return false;
  }
}

async function buildNative({ force = false }: { force?: boolean }): Promise<void> {
  if (!force && isLoadable()) {
    note("the native part is there and can be loaded; --force builds it again");
    return;
  }
  const folder = await findWritable(buildFolders());
  await rm(join(folder, "Release", addonName), { force: true }); // a damaged one would seem up to date
  const script = join(packageRoot, "scripts", "build-native.mjs");
  // Its stdout is cmake's talk; ours is the path alone.
  const child = spawn(process.execPath, [script, "--out", folder], { stdio: ["ignore", 2, 2] });
  const [status] = (await once(child, "exit")) as [number | null];
  if (status !== 0) {
    throw new BitnetError("INTERNAL", "the native part was not built; the reason is above");
  }
  write(`${join(folder, "Release", addonName)}\n`);
}

async function findWritable([inPackage = "", ...others]: string[]): Promise<string> {
  const [inCache = inPackage] = others;
  const isWritable = await access(dirname(inPackage), constants.W_OK).then(
    () => true,
    () => false,
  );
  return isWritable ? inPackage : inCache;
}
