// bitnet cp: a new name for a model.

import type { Command } from "commander";
import { copyModel } from "../../models/copy.js";
import { asUsage, locateModel, modelHelp } from "../model-argument.js";
import { addOptions, groupOf } from "../option-rows.js";
import { folderRows, outputRows, withHelp } from "../options.js";
import { log, write, writeJson } from "../terminal/output.js";

const groups = {
  folder: groupOf("Place", folderRows),
  output: groupOf("Output", { json: withHelp(outputRows.json, "print the result as one JSON object on stdout") }),
};

export default function configureCp(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("<model>", modelHelp)
    .argument("<name>", "the new name, of letters, digits and . _ -")
    .addHelpText(
      "after",
      `
On one disk the new name takes no space: both are names of the same file.

Examples:
  $ bitnet cp BitNet-b1.58-2B-4T helper
  $ bitnet run helper`,
    )
    .action(async (model: string, name: string) => {
      const { folder, output } = read();
      const source = await locateModel(model);
      const copy = await asUsage(() => copyModel(source, name, folder));
      if (output.json) {
        writeJson(copy);
      } else {
        log(copy.shared ? "a second name of the same file; it takes no space" : "a copy, as it lies on another disk");
        write(`${copy.path}\n`);
      }
    });
}
