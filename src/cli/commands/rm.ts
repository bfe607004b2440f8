// bitnet rm: delete models that bitnet list shows.

import type { Command } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { findModels, listModels, type ModelFile, removeModels } from "../../models/installed.js";
import { closest } from "../../system/closest.js";
import { BitnetError } from "../../system/errors.js";
import { shortenHome } from "../../system/folders.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { folderRows, outputRows, withHelp } from "../options.js";
import { confirm } from "../terminal/ask.js";
import { formatBytes } from "../terminal/format.js";
import { interruptSignal, log, writeJson } from "../terminal/output.js";

const groups = {
  folder: groupOf("Place", folderRows),
  output: groupOf("Output", {
    cache: { flags: "--cache", help: "delete what the cache of the hub holds of these models, too" },
    yes: { flags: "-y, --yes", help: "do not ask" },
    json: withHelp(outputRows.json, "print what was deleted as one JSON object on stdout"),
  }),
};

export default function configureRm(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("<models...>", "names or paths as bitnet list shows them, also NAME:TYPE")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet rm BitNet-b1.58-2B-4T
  $ bitnet rm BitNet-b1.58-2B-4T:i2_s --cache
  $ bitnet rm models/mine/ggml-model-tl2.gguf --yes`,
    )
    .action((models: string[]) => remove(models, read()));
}

async function remove(names: readonly string[], { folder, output }: GroupValues<typeof groups>): Promise<void> {
  const { modelDir } = folder;
  const { cacheDir } = await readHubEnvironment();
  const all = await listModels({ modelDir, cacheDir });
  const named = [...new Set(names.flatMap((name) => findNamed(all, name)))];
  const cached = listCached(all, named);
  const models = output.cache ? [...named, ...cached] : named;
  const files = models.flatMap((model) => model.files);
  for (const file of files) {
    log(shortenHome(file));
  }
  if (!output.yes && !(await confirmDeletion(models, files.length))) {
    throw new BitnetError("USAGE", "nothing was deleted");
  }
  const freed = await removeModels(models, { modelDir, cacheDir });
  log(`deleted ${countFiles(files.length)}, ${formatBytes(freed)} freed`);
  const keptBytes = output.cache ? 0 : cached.reduce((sum, { bytes }) => sum + bytes, 0);
  if (keptBytes > 0) {
    const again = `bitnet rm ${[...new Set(cached.map(({ name }) => name))].join(" ")}`;
    log(`the cache of the hub still holds ${formatBytes(keptBytes)} of it; to delete that, too: ${again}`);
  }
  if (output.json) {
    writeJson({ deleted: files, freedBytes: freed, cachedBytes: keptBytes });
  }
}

function findNamed(all: readonly ModelFile[], name: string): ModelFile[] {
  const models = findModels(all, name);
  if (models.length === 0) {
    const meant = closest(
      name,
      all.map((model) => model.name),
    );
    throw new BitnetError("NOT_FOUND", `no model is called ${name}`, {
      hint: meant === undefined ? "bitnet list shows what there is" : `did you mean ${meant}?`,
    });
  }
  return models;
}

/** What the cache has of these models: the same bytes under another name, or what they were made of. */
function listCached(all: readonly ModelFile[], named: readonly ModelFile[]): ModelFile[] {
  const identities = new Set(named.map(({ identity }) => identity));
  const commits = new Set(named.map(({ commit }) => commit));
  const isOfThese = (model: ModelFile) =>
    identities.has(model.identity) || (model.kind === "checkpoint" && commits.has(model.commit));
  return all.filter((model) => model.where === "cache" && !named.includes(model) && isOfThese(model));
}

function countFiles(count: number): string {
  return count === 1 ? "1 file" : `${count} files`;
}

async function confirmDeletion(models: readonly ModelFile[], count: number): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new BitnetError("USAGE", "there is no terminal to ask for a confirmation", { hint: "add --yes to delete" });
  }
  const size = formatBytes(models.reduce((sum, { bytes }) => sum + bytes, 0));
  return confirm(`Delete ${count === 1 ? "this file" : `these ${count} files`} (${size})?`, interruptSignal());
}
