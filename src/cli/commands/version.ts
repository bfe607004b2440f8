// bitnet version: which program this is, and with --verbose what it runs on: the first lines of a report about a fault.

import { resolve } from "node:path";
import type { Command } from "commander";
import { applyTuning, findTuningFile } from "../../engine/tuning.js";
import { addonOrigin, loadAddon } from "../../native/addon.js";
import { describeMachine } from "../../native/machine.js";
import { toBitnetError } from "../../system/errors.js";
import { cacheFolder, configFolder, modelsFolders, stateFolder } from "../../system/folders.js";
import { packageRoot, packageVersion } from "../../system/package.js";
import { addOptions, groupOf } from "../option-rows.js";
import { outputRows, withHelp } from "../options.js";
import { formatBytes, withoutControls, wrapWords } from "../terminal/format.js";
import { columnsOf, write, writeJson } from "../terminal/output.js";

const groups = {
  output: groupOf("Output", { json: withHelp(outputRows.json, "print all of it as one JSON object") }),
};

export default function configureVersion(command: Command): void {
  const read = addOptions(command, groups);
  command
    .addHelpText("after", "\nExamples:\n  $ bitnet version --verbose\n  $ bitnet --version --verbose")
    .action(async () => {
      const { json } = read().output;
      if (!json && !command.getOptionValue("verbose")) {
        write(`${packageVersion()}\n`);
        return;
      }
      const about = { version: packageVersion(), ...(await describeNative()), ...describeHost() };
      if (json) {
        writeJson(about);
      } else {
        write(formatAbout(about));
      }
    });
}

/** What the native part is, or why there is none. */
async function describeNative(): Promise<Record<string, unknown>> {
  try {
    const { compiler, build } = loadAddon().buildInfo();
    const { cpu, cores, processors, memoryBytes } = describeMachine();
    const kernels = loadAddon()
      .kernels()
      .flatMap(({ name, supported }) => (supported ? [name] : []));
    const { options } = await applyTuning({});
    return {
      kernel: process.env.BITNET_KERNEL || (options.kernel ?? kernels[0]),
      kernels,
      cpu,
      cores,
      processors,
      memoryBytes,
      addon: addonOrigin().path,
      build,
      compiler,
    };
  } catch (error) {
    const { message, hint } = toBitnetError(error);
    return { addon: null, problem: hint === undefined ? message : `${message}; ${hint}` };
  }
}

function describeHost(): Record<string, unknown> {
  return {
    node: process.version,
    napi: process.versions.napi,
    platform: `${process.platform}-${process.arch}`,
    package: resolve(packageRoot),
    models: modelsFolders(),
    config: configFolder() ?? null,
    cache: cacheFolder() ?? null,
    state: stateFolder() ?? null,
    tuning: findTuningFile() ?? null,
  };
}

function formatAbout(about: Record<string, unknown>): string {
  const rows = Object.entries(about).map(([name, value]) =>
    name === "memoryBytes"
      ? ["memory", formatBytes(Number(value))]
      : [name, Array.isArray(value) ? value.join(", ") : String(value ?? "none")],
  );
  const widest = Math.max(...rows.map(([name = ""]) => name.length)) + 2;
  const room = (columnsOf(process.stdout) ?? Number.POSITIVE_INFINITY) - widest;
  const lines = rows.map(([name = "", text = ""]) => {
    const below = `\n${" ".repeat(widest)}`;
    return name.padEnd(widest) + wrapWords(withoutControls(text), room).join(below);
  });
  return `${lines.join("\n")}\n`;
}
