// bitnet build-native: builds the addon of an installed package, for package managers that run no install scripts.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, constants, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { addonName, buildFolders, loadAddon } from "../../native/addon.js";
import { BitnetError, throwIfAborted } from "../../system/errors.js";
import { packageRoot } from "../../system/package.js";
import { withoutControls } from "../terminal/format.js";
import { interruptSignal, note, write } from "../terminal/output.js";
import { createSteps } from "../terminal/steps.js";

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
  const steps = await createSteps();
  steps.begin({
    doing: "Building the native part (about a minute)",
    done: "Built the native part",
  });
  const { status, log } = await runBuild(folder);
  if (status !== 0) {
    steps.fail();
    throwIfAborted(interruptSignal());
    process.stderr.write(withoutControls(log.replace(/\r\n?/g, "\n")));
    throw new BitnetError("INTERNAL", "the native part was not built; the reason is above");
  }
  steps.succeed();
  write(`${join(folder, "Release", addonName)}\n`);
}

const longestLog = 2 ** 20; // characters; its end tells what failed

/** What compilers say is shown only where they fail. */
async function runBuild(folder: string): Promise<{ status: number | null; log: string }> {
  const script = join(packageRoot, "scripts", "build-native.mjs");
  const child = spawn(process.execPath, [script, "--out", folder], { stdio: ["ignore", "pipe", "pipe"] });
  interruptSignal(); // Ctrl-C reaches the compilers, too; what they leave is built on by the next run
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-longestLog);
    });
  }
  const [status] = (await once(child, "close")) as [number | null];
  return { status, log };
}

async function findWritable([inPackage = "", ...others]: string[]): Promise<string> {
  const [inCache = inPackage] = others;
  const isWritable = await access(dirname(inPackage), constants.W_OK).then(
    () => true,
    () => false,
  );
  return isWritable ? inPackage : inCache;
}
