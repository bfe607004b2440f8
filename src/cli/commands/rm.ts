// bitnet rm: delete models that bitnet list shows.

import type { Command } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { findModels, listModels, type ModelFile, removeModels } from "../../models/installed.js";
import { findReferenced } from "../../models/resolve.js";
import { closest } from "../../system/closest.js";
import { countOf } from "../../system/counts.js";
import { BitnetError } from "../../system/errors.js";
import { shortenHome } from "../../system/folders.js";
import { UsageError } from "../command.js";
import { asUsage } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { folderRows, outputRows, withHelp } from "../options.js";
import { confirm } from "../terminal/ask.js";
import { formatBytes } from "../terminal/format.js";
import { interruptSignal, logLine, writeJson } from "../terminal/output.js";

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
    .argument("<models...>", "names or paths as bitnet list shows them, NAME:TYPE, 2b, owner/name[@revision][:type]")
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
  const named = [...new Set((await Promise.all(names.map((name) => findNamed(all, name)))).flat())];
  const cached = listCached(all, named);
  const models = output.cache ? [...named, ...cached] : named;
  const files = models.flatMap((model) => model.files);
  for (const file of files) {
    logLine(shortenHome(file));
  }
  if (!output.yes && !(await confirmDeletion(models, files.length))) {
    throw new BitnetError("USAGE", "nothing was deleted");
  }
  const freed = await removeModels(models, { modelDir, cacheDir });
  logLine(`deleted ${countOf(files.length, "file")}, ${formatBytes(freed)} freed`);
  const keptBytes = tellKept(all, models, output.cache ? [] : cached);
  if (output.json) {
    writeJson({ deleted: files, freedBytes: freed, cachedBytes: keptBytes });
  }
}

/** Says where else the bytes of what was deleted are. Returns how many are in the cache for nobody else. */
function tellKept(all: readonly ModelFile[], deleted: readonly ModelFile[], cached: readonly ModelFile[]): number {
  const identities = new Set(deleted.map(({ identity }) => identity));
  const others = all.filter(
    (model) => model.where === "models" && !deleted.includes(model) && identities.has(model.identity),
  );
  const isOfOthers = (model: ModelFile) => others.some(({ identity }) => identity === model.identity);
  const idle = cached.filter((model) => !isOfOthers(model));
  const keptBytes = idle.reduce((sum, { bytes }) => sum + bytes, 0);
  if (others.length > 0) {
    logLine(`the same bytes are still there as ${uniqueNames(others)}`);
  }
  if (keptBytes > 0) {
    const again = `bitnet rm ${uniqueNames(idle)}`;
    logLine(`the cache of the hub still holds ${formatBytes(keptBytes)} of it; to delete that, too: ${again}`);
  }
  return keptBytes;
}

function uniqueNames(models: readonly ModelFile[]): string {
  return [...new Set(models.map(({ name }) => name))].join(" ");
}

async function findNamed(all: readonly ModelFile[], name: string): Promise<ModelFile[]> {
  const listed = findModels(all, name);
  const models = listed.length > 0 ? listed : await asUsage(() => findReferenced(all, name));
  if (models.length === 0) {
    const meant = closest(
      name,
      all.map((model) => model.name),
    );
    throw new BitnetError("NOT_FOUND", `no model is called ${name}`, {
      hint: meant === undefined ? "bitnet list shows what there is" : `did you mean ${meant}?`,
    });
  }
  const owners = new Set(models.map((model) => model.name.toLowerCase()));
  if (owners.size > 1) {
    throw new UsageError(`${name} is the name of several models`, `name one: ${uniqueNames(models)}`);
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

async function confirmDeletion(models: readonly ModelFile[], count: number): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new BitnetError("USAGE", "there is no terminal to ask for a confirmation", { hint: "add --yes to delete" });
  }
  const size = formatBytes(models.reduce((sum, { bytes }) => sum + bytes, 0));
  return confirm(`Delete ${count === 1 ? "this file" : `these ${count} files`} (${size})?`, interruptSignal());
}
