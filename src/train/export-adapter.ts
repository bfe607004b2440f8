// A trained adapter as files: a folder as PEFT has it, which `--lora` takes, with adapter.gguf beside it. Both are read back
// and compared with what was trained before anything appears in the folder.

import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { openAdapter } from "../adapter/open.js";
import { moduleName } from "../adapter/peft.js";
import { needsOrder, writeAdapter } from "../adapter/write.js";
import { readWritten, type WrittenAdapter } from "../adapter/written.js";
import { fromBf16, toBf16 } from "../checkpoint/floats.js";
import { copyTokenizerFiles } from "../checkpoint/side-files.js";
import { loadModel, type Model } from "../engine/model.js";
import { at } from "../system/at.js";
import { BitnetError, convertingAsync } from "../system/errors.js";
import { fillFolder } from "../system/fill-folder.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { type AdapterCard, formatAdapterCard } from "./adapter-card.js";
import type { AdapterShape, Trainable } from "./core/trainable.js";
import { adapterOf } from "./values.js";

/** What an adapter was trained beside. */
export interface AdapterBaseModel {
  /** A GGUF file, which the adapter is tried on, or the folder of a checkpoint, whose tokenizer goes along. */
  path: string;
  /** What `base_model_name_or_path` says. Default: the path. */
  name?: string;
  /** `Model.baseHash()`. Default: that of a GGUF file; of a checkpoint none is written. */
  hash?: string;
}

export interface ExportAdapterOptions {
  base: AdapterBaseModel;
  /** As the training had it. */
  shape: AdapterShape;
  /** How numbers are written. adapter.gguf has the same numbers, as f32. Default: "f32". */
  dtype?: "f32" | "bf16";
  /** Options and results for README.md. */
  card?: AdapterCard;
}

/** What was written and found to be what was trained. */
export interface AdapterExport {
  folder: string; // for --lora
  gguf: string; // the same for llama.cpp
  files: { path: string; bytes: number }[];
  parameters: number;
  /** What loading it on its base has warned of. */
  warnings: string[];
}

const exportOptions: OptionNames<ExportAdapterOptions> = { base: true, shape: true, dtype: true, card: true };

const ggufName = "adapter.gguf";

/**
 * Writes the adapter as it is now into `folder`, which is made if it is not there; what else is in it stays. The training
 * may go on afterwards. Throws BAD_FILE for numbers that are not finite, USAGE for a training that has no adapter; the
 * folder is as before then.
 */
export async function exportAdapter(
  folder: string,
  trainable: Trainable,
  options: ExportAdapterOptions,
): Promise<AdapterExport> {
  checkOptionNames("exportAdapter", options, exportOptions);
  const { base, dtype = "f32", card } = options;
  const { architecture, headDim } = trainable.info;
  if (trainable.info.mode !== "lora") {
    throw new BitnetError("USAGE", "exportAdapter: the training has no adapter; exportModel writes all weights");
  }
  return await convertingAsync(async () => {
    const isGguf = (await stat(base.path)).isFile();
    const model = isGguf ? await loadModel(base.path, { inPlace: true, threads: 1 }) : undefined;
    try {
      const hash = base.hash ?? model?.baseHash();
      const adapter = readTrained(trainable, options, hash);
      return await fillFolder(folder, async (partial) => {
        const readme = formatAdapterCard(adapter, card);
        await writeAdapter(partial, adapter, { form: "peft", dtype, readme });
        const gguf = join(partial, ggufName);
        await writeAdapter(gguf, adapter, { form: "gguf", base: { architecture, headDim } });
        for (const path of [partial, gguf]) {
          await compare(path, adapter, headDim);
        }
        const warnings = model === undefined ? [] : await tryOn(model, [partial, gguf]);
        if (!isGguf) {
          await copyTokenizerFiles(base.path, partial);
        }
        return await describe(folder, partial, adapter, warnings);
      });
    } finally {
      model?.close();
    }
  });
}

function readTrained(
  trainable: Trainable,
  { base, shape, dtype }: ExportAdapterOptions,
  baseHash: string | undefined,
): WrittenAdapter {
  const round = (values: Float32Array) => (dtype === "bf16" ? fromBf16(toBf16(values)) : values);
  return adapterOf(trainable, shape, { baseName: base.name ?? base.path, baseHash }, round);
}

/** Loads the files on their base; returns what that warns of. The core takes one for the same as the other, or this throws. */
async function tryOn(model: Model, paths: readonly string[]): Promise<string[]> {
  const [first, second] = [await model.loadAdapter(at(paths, 0)), await model.loadAdapter(at(paths, 1))];
  try {
    if (first.hash !== second.hash) {
      throw new BitnetError("INTERNAL", `${ggufName} is another adapter than that of the folder`);
    }
    return [...new Set([...first.warnings, ...second.warnings])];
  } finally {
    first.close();
    second.close();
  }
}

/** Throws INTERNAL if a file does not hold what was written. */
async function compare(path: string, { matrices }: WrittenAdapter, headDim: number): Promise<void> {
  const file = await openAdapter(path);
  const read = (await readWritten(file, needsOrder(file.architecture) ? headDim : 0)).matrices;
  const same = (one: Float32Array, other: Float32Array) => one.every((value, i) => value === other[i]);
  for (const [i, { layer, name, a, b, rank, rows, cols }] of matrices.entries()) {
    const found = read[i];
    const isSame =
      found?.layer === layer &&
      found.name === name &&
      found.rank === rank &&
      found.a.length === rank * cols &&
      found.b.length === rows * rank &&
      same(found.a, a) &&
      same(found.b, b);
    if (!isSame || read.length !== matrices.length) {
      throw new BitnetError("INTERNAL", `${basename(path)}: ${moduleName(layer, name)} is not what was trained`);
    }
  }
}

async function describe(
  folder: string,
  partial: string,
  adapter: WrittenAdapter,
  warnings: string[],
): Promise<AdapterExport> {
  const files: AdapterExport["files"] = [];
  for (const name of (await readdir(partial)).sort()) {
    files.push({ path: join(folder, name), bytes: (await stat(join(partial, name))).size });
  }
  const parameters = adapter.matrices.reduce((sum, { rank, rows, cols }) => sum + rank * (rows + cols), 0);
  return { folder, gguf: join(folder, ggufName), files, parameters, warnings };
}
