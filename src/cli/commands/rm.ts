// bitnet rm: delete models that bitnet list shows.

import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { findModels, listModels, type ModelFile, removeModels } from "../../models/installed.js";
import { closest } from "../../system/closest.js";
import { BitnetError } from "../../system/errors.js";
import { interruptSignal, log, writeJson } from "../terminal/output.js";
import { formatBytes } from "../terminal/progress.js";

interface RmOptions {
  modelDir: string;
  yes?: boolean;
  json?: boolean;
}

export default function configureRm(command: Command): void {
  command
    .argument("<model>", "name or path as bitnet list shows it")
    .option("--model-dir <dir>", "where setup-env puts models (also -md)", "models")
    .option("-y, --yes", "do not ask")
    .option("--json", "print what was deleted as one JSON object on stdout")
    .addHelpText(
      "after",
      "\nExamples:\n  $ bitnet rm BitNet-b1.58-2B-4T\n  $ bitnet rm models/mine/ggml-model-tl2.gguf --yes",
    )
    .action(removeModel);
}

async function removeModel(text: string, { modelDir, yes, json }: RmOptions): Promise<void> {
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
  if (!yes && !(await confirm(models, files.length))) {
    throw new BitnetError("USAGE", "nothing was deleted");
  }
  const freed = await removeModels(models, { modelDir, cacheDir });
  log(`deleted ${files.length} files, ${formatBytes(freed)} freed`);
  if (json) {
    writeJson({ deleted: files, freedBytes: freed });
  }
}

async function confirm(models: readonly ModelFile[], count: number): Promise<boolean> {
  if (!process.stdin.isTTY) {
    throw new BitnetError("USAGE", "there is no terminal to ask for a confirmation", { hint: "add --yes to delete" });
  }
  const size = formatBytes(models.reduce((sum, { bytes }) => sum + bytes, 0));
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`Delete these ${count} files (${size})? [y/N] `, {
      signal: interruptSignal(),
    });
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}
