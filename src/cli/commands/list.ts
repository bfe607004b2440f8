// bitnet list: the models on this machine.

import type { Command } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { listModels, type ModelFile } from "../../models/installed.js";
import { log, write, writeJson } from "../terminal/output.js";
import { formatBytes } from "../terminal/progress.js";

interface ListOptions {
  modelDir: string;
  json?: boolean;
}

export default function configureList(command: Command): void {
  command
    .option("--model-dir <dir>", "where setup-env puts models (also -md)", "models")
    .option("--json", "print a JSON array on stdout")
    .addHelpText("after", "\nExamples:\n  $ bitnet list\n  $ bitnet list -md /data/models --json")
    .action(async ({ modelDir, json }: ListOptions) => {
      const { cacheDir } = await readHubEnvironment();
      const models = await listModels({ modelDir, cacheDir });
      if (json) {
        writeJson(models);
        return;
      }
      if (models.length === 0) {
        log(`no models in ${modelDir} nor in ${cacheDir}; bitnet setup-env --help lists some to begin with`);
      }
      write(formatModels(models));
    });
}

/** One line per model, in columns. */
export function formatModels(models: readonly ModelFile[]): string {
  const rows = models.map(({ name, type, bytes, path }) => [name, type, formatBytes(bytes), path]);
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map(([name = "", type = "", size = "", path = ""]) => {
      const [nameWidth = 0, typeWidth = 0, sizeWidth = 0] = widths;
      return `${name.padEnd(nameWidth)}  ${type.padEnd(typeWidth)}  ${size.padStart(sizeWidth)}  ${path}\n`;
    })
    .join("");
}
