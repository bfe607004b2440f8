// bitnet rm: delete models that bitnet list shows.

import type { Command } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { findModels, listModels, type ModelFile, removeModels } from "../../models/installed.js";
import { closest } from "../../system/closest.js";
import { BitnetError } from "../../system/errors.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { folderRows, outputRows, withHelp } from "../options.js";
import { confirm } from "../terminal/ask.js";
import { formatBytes } from "../terminal/format.js";
import { interruptSignal, log, writeJson } from "../terminal/output.js";

const groups = {
  folder: groupOf("Place", folderRows),
  output: groupOf("Output", {
    yes: { flags: "-y, --yes", help: "do not ask" },
    json: withHelp(outputRows.json, "print what was deleted as one JSON object on stdout"),
  }),
};

export default function configureRm(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("<model>", "name or path as bitnet list shows it")
    .addHelpText(
      "after",
      "\nExamples:\n  $ bitnet rm BitNet-b1.58-2B-4T\n  $ bitnet rm models/mine/ggml-model-tl2.gguf --yes",
    )
    .action((model: string) => removeModel(model, read()));
}

async function removeModel(text: string, { folder, output }: GroupValues<typeof groups>): Promise<void> {
  const { modelDir } = folder;
  const { cacheDir } = await readHubEnvironment();
  const all = await listModels({ modelDir, cacheDir });
  const models = findModels(all, text);
  if (models.length === 0) {
    const meant = closest(
      text,
      all.map(({ name }) => name),
    );
    throw new BitnetError("NOT_FOUND", `no model is called ${text}`, {
      hint: meant === undefined ? "bitnet list shows what there is" : `did you mean ${meant}?`,
    });
  }
  const files = models.flatMap((model) => model.files);
  for (const file of files) {
    log(file);
  }
  if (!output.yes && !(await confirmDeletion(models, files.length))) {
    throw new BitnetError("USAGE", "nothing was deleted");
  }
  const freed = await removeModels(models, { modelDir, cacheDir });
  log(`deleted ${files.length} files, ${formatBytes(freed)} freed`);
  if (output.json) {
    writeJson({ deleted: files, freedBytes: freed });
  }
}

async function confirmDeletion(models: readonly ModelFile[], count: number): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new BitnetError("USAGE", "there is no terminal to ask for a confirmation", { hint: "add --yes to delete" });
  }
  const size = formatBytes(models.reduce((sum, { bytes }) => sum + bytes, 0));
  return confirm(`Delete these ${count} files (${size})?`, interruptSignal());
}
