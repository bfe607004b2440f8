// bitnet list: the models on this machine.

import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { listModels, longNameOf, type ModelFile } from "../../models/installed.js";
import { countOf } from "../../system/counts.js";
import { localModelsFolder, modelsFolders, shortenHome } from "../../system/folders.js";
import { addOptions, groupOf } from "../option-rows.js";
import { folderRows, outputRows, withHelp } from "../options.js";
import { formatBytes } from "../terminal/format.js";
import { colorsOf, columnsOf, logLine, write, writeJson } from "../terminal/output.js";
import { type Column, formatTable } from "../terminal/table.js";

const groups = {
  folder: groupOf("Place", folderRows),
  output: groupOf("Output", {
    paths: { flags: "--paths", help: "show the path of each model" },
    json: withHelp(outputRows.json, "print a JSON array on stdout"),
  }),
};

export default function configureList(command: Command): void {
  const read = addOptions(command, groups);
  command
    .addHelpText(
      "after",
      `
What stands under NAME is what other commands take: bitnet run NAME. Where one name has several types, NAME:TYPE.

Examples:
  $ bitnet list
  $ bitnet list --paths
  $ bitnet list -md /data/models --json`,
    )
    .action(async () => {
      const { folder, output } = read();
      const { modelDir } = folder;
      const { cacheDir } = await readHubEnvironment();
      const models = await listModels({ modelDir, cacheDir });
      if (output.json) {
        writeJson(models);
      } else if (models.length === 0) {
        const folders = modelDir === undefined ? modelsFolders() : [resolve(modelDir)];
        logLine(`No models in ${folders.map(showFolder).join(", ")}, nor in the cache of the hub.`);
        logLine("bitnet run 2b downloads one (1.2 GB); bitnet pull --help lists others.");
      } else {
        write(formatList(models, output.paths ?? false));
      }
    });
}

function formatList(models: readonly ModelFile[], showPaths: boolean): string {
  const { bold, dim } = colorsOf(process.stdout);
  const columns: Column[] = [
    { header: "NAME", whole: true }, // what other commands take
    { header: "TYPE" },
    { header: "SIZE", numeric: true },
    { header: "MODIFIED", numeric: true, optional: true },
    { header: showPaths ? "PATH" : "WHERE", style: dim, optional: true },
  ];
  const rows = models.map((model) => [
    isOnlyOne(models, model) ? model.name : longNameOf(model),
    model.type,
    formatBytes(model.bytes),
    model.modified.slice(0, 10),
    showPaths ? shortenHome(model.path) : placeOf(model),
  ]);
  const width = showPaths ? undefined : columnsOf(process.stdout); // a path that is cut is none
  const lines = formatTable({ columns, rows, width, headerStyle: bold });
  return [...lines, "", dim(describeTotal(models)), ""].join("\n");
}

/** Whether name and type tell the model from the others of its place. */
function isOnlyOne(models: readonly ModelFile[], { name, type, where }: ModelFile): boolean {
  return models.filter((other) => other.name === name && other.type === type && other.where === where).length < 2;
}

function placeOf({ where, path, name }: ModelFile): string {
  if (where === "cache") {
    return "cache of the hub";
  }
  const folder = dirname(path);
  const isOwnFolder = folder.endsWith(name) && !/\.gguf$/i.test(folder);
  return showFolder(isOwnFolder ? dirname(folder) : folder);
}

/** "models/" of the current folder as people write it, others from the home folder on. */
function showFolder(folder: string): string {
  return resolve(folder) === resolve(localModelsFolder) ? `./${localModelsFolder}` : shortenHome(resolve(folder));
}

/** Files with several names count once. */
function describeTotal(models: readonly ModelFile[]): string {
  const files = new Map(models.map(({ identity, bytes }) => [identity, bytes]));
  const bytes = [...files.values()].reduce((sum, size) => sum + size, 0);
  const shared = models.length - files.size;
  const count = countOf(models.length, "model");
  const sharing = shared === 1 ? "1 shares its bytes with another" : `${shared} share their bytes with others`;
  return `${count}, ${formatBytes(bytes)}${shared > 0 ? ` (${sharing})` : ""}`;
}
