// Options that bitnet embed and its subcommands share: which model, and how it embeds.

import { hasInputNorms } from "../embed/embedder.js";
import { choosePrefix, promptsOf } from "../embed/prompts.js";
import { loadModel, type Model } from "../engine/model.js";
import { poolings } from "../native/addon.js";
import { BitnetError } from "../system/errors.js";
import { applyAdapters, type loraRows } from "./lora-rows.js";
import { locateModel } from "./model-argument.js";
import type { RowValues } from "./option-rows.js";
import { hubRows, modelRows, withHelp } from "./options.js";
import { integerFrom } from "./parsers.js";
import { note } from "./terminal/output.js";

const largestNorm = 1000;
const largestDimension = 2 ** 20;

export const embedModelRows = {
  path: withHelp(modelRows.path, "the model: a GGUF file, a name of bitnet list, owner/name"),
  ...hubRows,
  threads: modelRows.threads,
  kernel: modelRows.kernel,
  tokenizerPre: modelRows.tokenizerPre,
  inPlace: modelRows.inPlace,
} as const;

/** What of a text's tokens its vector is. The keys are those of EmbedSettings. */
export const vectorRows = {
  pooling: {
    flags: "--pooling <type>",
    help: "what of its tokens the vector of a text is: mean, cls (the first), last, or none for all (default: the file's)",
    choices: poolings,
  },
  dimensions: {
    flags: "--dimensions <n>",
    help: "cut vectors to so many numbers, before they are normalized (default: all)",
    parse: integerFrom(1, largestDimension),
  },
  truncate: { flags: "--truncate", help: "cut texts that are longer than the context in the place of refusing them" },
  parseSpecial: {
    flags: "--no-parse-special",
    help: "names of control tokens in texts are text",
  },
} as const;

export const normalizeRow = {
  flags: "--embd-normalize <n>",
  help: "-1: not at all, 0: largest is 32760, 1: taxicab, 2: Euclidean, p: p-norm",
  parse: integerFrom(-1, largestNorm),
  standard: 2,
} as const;

export const promptRows = {
  promptName: { flags: "--prompt-name <name>", help: "put this prompt of the file before each text" },
  prefix: { flags: "--prefix <text>", help: "put this text before each text" },
  instruction: {
    flags: "--instruction <text>",
    help: 'put "Instruct: TEXT", a new line and "Query:" before each text: for queries, not for documents',
  },
} as const;

export interface EmbedModelValues {
  model: RowValues<typeof embedModelRows>;
  lora: RowValues<typeof loraRows>;
  quiet?: boolean;
  signal: AbortSignal;
}

/** The file of the model that is named; there is no bundled one that embeds. */
export async function locateEmbedder(
  { path, hubModel, hubFile }: RowValues<typeof embedModelRows>,
  quiet: boolean | undefined,
): Promise<string> {
  const located = await locateModel(path ?? hubModel, { quiet, file: hubFile, use: "embed" });
  if (located === undefined) {
    throw new BitnetError("USAGE", "expected a model that embeds texts", {
      hint: "give one with -m FILE; bitnet setup-env --help names some that can be downloaded",
    });
  }
  return located;
}

export async function loadEmbedder(
  path: string,
  { model: values, lora, quiet, signal }: EmbedModelValues,
): Promise<Model> {
  const { path: _, hubModel: _model, hubFile: _file, ...load } = values;
  const model = await loadModel(path, { ...load, signal });
  for (const warning of quiet ? [] : model.info.warnings) {
    note(warning);
  }
  try {
    await applyAdapters(model, lora, { quiet, signal });
  } catch (error) {
    model.close();
    throw error;
  }
  return model;
}

/** The text before each input, of the model's file or as it was typed. */
export function prefixOf(model: Model, choice: RowValues<typeof promptRows>): string {
  return choosePrefix(choice, promptsOf(model.gguf.metadata()));
}

/** Which vector of a text was taken, where that is not settled. */
export function notePooling(model: Model, pooling: string, asked: string | undefined): void {
  const names = model.gguf.tensors().map(({ name }) => name);
  if (asked === undefined && hasInputNorms(names)) {
    note(
      `the pooling is ${pooling}, as the file says; the makers of models with these norms name last in their guide: ` +
        "--pooling takes either, bitnet embed sts tells which is better",
    );
  }
}
