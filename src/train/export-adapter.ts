// A trained adapter as files: a folder as PEFT has it, which `--lora` takes, with adapter.gguf beside it. Both are read back
// and compared with what was trained before anything appears in the folder.

import { readdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { openAdapter } from "../adapter/open.js";
import { moduleName } from "../adapter/peft.js";
import { needsOrder, writeAdapter } from "../adapter/write.js";
import { readWritten, type WrittenAdapter } from "../adapter/written.js";
import { fromBf16, toBf16 } from "../checkpoint/floats.js";
import { copyTokenizerFiles } from "../checkpoint/side-files.js";
import { convertCheckpoint } from "../convert/convert.js";
import { loadModel, type Model } from "../engine/model.js";
import { at } from "../system/at.js";
import { BitnetError, convertingAsync, toBitnetError } from "../system/errors.js";
import { fillFolder } from "../system/fill-folder.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { type AdapterCard, formatAdapterCard } from "./adapter-card.js";
import type { AdapterShape, Trainable } from "./core/trainable.js";
import { adapterOf } from "./values.js";

/** What an adapter was trained beside. */
export interface AdapterBaseModel {
  /** A GGUF file, or the folder of a checkpoint, whose tokenizer goes along. The adapter is tried on it. */
  path: string;
  /** What `base_model_name_or_path` says. Default: the path. */
  name?: string;
  /** Default: `Model.baseHash()` of it. */
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
  return await convertingAsync(() =>
    fillFolder(folder, async (partial) => {
      const { model, warnings } = await openBase(base.path, join(partial, scratchName));
      try {
        const adapter = readTrained(trainable, options, base.hash ?? model?.baseHash());
        await writeAdapter(partial, adapter, { form: "peft", dtype, readme: formatAdapterCard(adapter, card) });
        const gguf = join(partial, ggufName);
        await writeAdapter(gguf, adapter, { form: "gguf", base: { architecture, headDim } });
        for (const path of [partial, gguf]) {
          await compare(path, adapter, headDim);
        }
        const warned = model === undefined ? [] : await tryOn(model, [partial, gguf]);
        model?.close();
        await rm(join(partial, scratchName), { force: true });
        if ((await stat(base.path)).isDirectory()) {
          await copyTokenizerFiles(base.path, partial);
        }
        return await describe(folder, partial, adapter, [...warnings, ...warned]);
      } finally {
        model?.close();
      }
    }),
  );
}

const scratchName = "base.gguf"; // of a checkpoint, while it is needed

/** The base as inference has it. One that cannot be converted costs nobody an adapter: it is only not tried. */
async function openBase(path: string, scratch: string): Promise<{ model?: Model; warnings: string[] }> {
  const options = { inPlace: true, threads: 1 };
  if ((await stat(path)).isFile()) {
    return { model: await loadModel(path, options), warnings: [] };
  }
  try {
    await convertCheckpoint({ source: path, outfile: scratch, outtype: "i2_s" });
    return { model: await loadModel(scratch, options), warnings: [] };
  } catch (error) {
    return { warnings: [`the adapter was not tried on its base: ${toBitnetError(error).message}`] };
  }
}

function readTrained(
  trainable: Trainable,
  { base, shape, dtype }: ExportAdapterOptions,
  baseHash: string | undefined,
): WrittenAdapter {
  const round = (values: Float32Array) => (dtype === "bf16" ? fromBf16(toBf16(values)) : values);
  return adapterOf(trainable, shape, { baseName: base.name ?? base.path, baseHash }, round);
}

/** Loads the files on their base; returns what that warns of. */
async function tryOn(model: Model, paths: readonly string[]): Promise<string[]> {
  const warnings = new Set<string>();
  for (const path of paths) {
    const loaded = await model.loadAdapter(path);
    loaded.close();
    for (const warning of loaded.warnings) {
      warnings.add(warning);
    }
  }
  return [...warnings];
}

const sameScale = 1e-6; // relative: a GGUF file has alpha in f32

/** Throws INTERNAL if a file does not hold what was written. */
async function compare(path: string, { matrices, origin }: WrittenAdapter, headDim: number): Promise<void> {
  const file = await openAdapter(path);
  const read = (await readWritten(file, needsOrder(file.architecture) ? headDim : 0)).matrices;
  const same = (one: Float32Array, other: Float32Array) => one.every((value, i) => value === other[i]);
  for (const [i, { layer, name, a, b, rank, rows, cols, alpha }] of matrices.entries()) {
    const found = read[i];
    const scale = alpha / (origin.rslora ? Math.sqrt(rank) : rank);
    const isSame =
      found?.layer === layer &&
      found.name === name &&
      found.rank === rank &&
      found.a.length === rank * cols &&
      found.b.length === rows * rank &&
      same(found.a, a) &&
      same(found.b, b) &&
      Math.abs(at(file.matrices, i).scale / scale - 1) <= sameScale;
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
