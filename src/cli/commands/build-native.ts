// bitnet build-native: builds the addon here, for platforms that have no package of it and for systems that cannot load it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { loadAddon } from "../../native/addon.js";
import { cloneAddon, localAddon } from "../../native/locate.js";
import { BitnetError, throwIfAborted } from "../../system/errors.js";
import { isClone, packageRoot } from "../../system/package.js";
import { withoutControls } from "../terminal/format.js";
import { interruptSignal, note, write } from "../terminal/output.js";
import { createSteps } from "../terminal/steps.js";

export default function configureBuildNative(command: Command): void {
  command
    .addHelpText(
      "after",
      `
It needs g++ 12 or clang 14, or newer, and CMake 3.18 or newer, and takes about a minute. For a package, npm gets what
it builds with (cmake-js and node-addon-api) into the user's cache, where what it builds is kept, too.`,
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
  const path = isClone() ? cloneAddon : localAddon();
  if (path === undefined) {
    throw new BitnetError("NOT_FOUND", "this user has no home folder to keep the native part in", {
      hint: "set XDG_CACHE_HOME to a folder that can be written to",
    });
  }
  const steps = await createSteps();
  steps.begin({
    doing: "Building the native part (about a minute)",
    done: "Built the native part",
  });
  const { status, log } = await runBuild(isClone() ? ["--force"] : ["--into", dirname(path)]);
  if (status !== 0) {
    steps.fail();
    throwIfAborted(interruptSignal());
    process.stderr.write(withoutControls(log.replace(/\r\n?/g, "\n")));
    throw new BitnetError("INTERNAL", "the native part was not built; the reason is above");
  }
  steps.succeed();
  write(`${path}\n`);
}

const longestLog = 2 ** 20; // characters; its end tells what failed

/** What compilers say is shown only where they fail. */
async function runBuild(args: string[]): Promise<{ status: number | null; log: string }> {
  const script = join(packageRoot, "scripts", "build-native.mjs");
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  interruptSignal(); // Ctrl-C reaches the compilers, too; the script removes what they leave
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-longestLog);
    });
  }
  const [status] = (await once(child, "close")) as [number | null];
  return { status, log };
}
