// bitnet list: the models on this machine.

import type { Command } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { listModels } from "../../models/installed.js";
import { modelsFolders } from "../../system/folders.js";
import { addOptions, groupOf } from "../option-rows.js";
import { folderRows, outputRows, withHelp } from "../options.js";
import { formatBytes, formatColumns } from "../terminal/format.js";
import { log, write, writeJson } from "../terminal/output.js";

const groups = {
  folder: groupOf("Place", folderRows),
  output: groupOf("Output", { json: withHelp(outputRows.json, "print a JSON array on stdout") }),
};

export default function configureList(command: Command): void {
  const read = addOptions(command, groups);
  command
    .addHelpText("after", "\nExamples:\n  $ bitnet list\n  $ bitnet list -md /data/models --json")
    .action(async () => {
      const { folder, output } = read();
      const { modelDir } = folder;
      const { cacheDir } = await readHubEnvironment();
      const models = await listModels({ modelDir, cacheDir });
      if (output.json) {
        writeJson(models);
        return;
      }
      if (models.length === 0) {
        log(
          `no models in ${modelDir ?? modelsFolders().join(", ")} nor in ${cacheDir ?? "a cache"}; bitnet setup-env --help lists some to begin with`,
        );
      }
      const rows = models.map(({ name, type, bytes, path }) => [name, type, formatBytes(bytes), path]);
      write(
        formatColumns(rows, { numeric: [2] })
          .map((line) => `${line}\n`)
          .join(""),
      );
    });
}
