// A model that was trained whole, as files: `master`, which training goes on from, and its ternary weights, `packed` for
// Hugging Face's classes and as a GGUF file. All of them are read back before anything appears, and have the same ternary
// weights: those that the training computed with.

import { open, readdir, rm, stat, writeFile } from "node:fs/promises";
import { basename, join, relative, resolve } from "node:path";
import { openCheckpoint, readJson } from "../checkpoint/checkpoint.js";
import { encodeFloats, readFloats } from "../checkpoint/floats.js";
import { checkpointNameOf, scaleSuffix } from "../checkpoint/names.js";
import type { CheckpointTensor } from "../checkpoint/safetensors.js";
import { copyTokenizerFiles } from "../checkpoint/side-files.js";
import { bytesOf, type WrittenTensor, writeSafetensors } from "../checkpoint/write-safetensors.js";
import { convertCheckpoint } from "../convert/convert.js";
import { planCheckpoint } from "../convert/plan-checkpoint.js";
import { parseTypes } from "../convert/types.js";
import { loadModel } from "../engine/model.js";
import { at } from "../system/at.js";
import { BitnetError, convertingAsync, throwIfAborted } from "../system/errors.js";
import { makeFolder } from "../system/files.js";
import { fillFolder } from "../system/fill-folder.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import type { ParameterInfo } from "./core/trainable.js";
import { countChanges, countCodes, roundMaster, type TernaryCounts, type TernaryMatrix, ternarize } from "./ternary.js";

/** In what forms a model is written. */
export type ModelForm = "master" | "packed" | "gguf";

/** Float weights by the names of checkpoints: a Trainable of mode "full", or whatever else has them. */
export interface MasterWeights {
  readonly parameters: readonly Pick<ParameterInfo, "name" | "shape">[];
  /** Asked for once each, one after the other. */
  read(name: string): Float32Array | Promise<Float32Array>;
  /** The ternary weights that a pass uses: what is written is compared with them. */
  matrices?(): readonly (TernaryCounts & { name: string; scale: number })[];
}

export interface ExportModelOptions {
  /** Folder with config.json and the files of the tokenizer. */
  source: string;
  /** Default: all three. */
  forms?: readonly ModelForm[];
  /** general.name in the GGUF file. Default: the name of the folder. */
  name?: string;
  signal?: AbortSignal;
}

/** A matrix that was made ternary. */
export interface ExportedMatrix extends TernaryCounts {
  name: string;
  scale: number;
}

/** What was written and found to be the same model in all its forms. */
export interface ModelExport {
  folder: string;
  master?: string; // a folder
  packed?: string; // a folder
  gguf?: string;
  files: { path: string; bytes: number }[];
  matrices: ExportedMatrix[];
  /** Weights of the master that are one step of bf16 from the nearest number, so that their ternary weights stay. */
  nudged: number;
}

const exportOptions: OptionNames<ExportModelOptions> = { source: true, forms: true, name: true, signal: true };

/**
 * Writes `folder`/master, `folder`/packed and `folder`/model.gguf of the weights as they are now; what else is in the folder
 * stays. A training may go on afterwards. `packed` and `model.gguf` are made of the float weights, not of the rounded
 * master. Throws USAGE for weights that are none of a model, BAD_FILE for numbers that are not finite; the folder is as
 * before then.
 */
export async function exportModel(
  folder: string,
  weights: MasterWeights,
  options: ExportModelOptions,
): Promise<ModelExport> {
  checkOptionNames("exportModel", options, exportOptions);
  return await convertingAsync(() =>
    fillFolder(folder, (partial) => writeForms(partial, { ...options, weights, folder })),
  );
}

/** The same into a folder that is to become `folder`, which is how the files are called. */
export async function writeForms(
  partial: string,
  { weights, folder, source, signal, ...options }: ExportModelOptions & { weights: MasterWeights; folder: string },
): Promise<ModelExport> {
  const { forms = ["master", "packed", "gguf"], name = basename(resolve(folder)) } = options;
  const writer = new ModelWriter(weights, source, partial, signal);
  const matrices = await writer.writeFloats();
  const nudged = forms.includes("master") ? await writer.writeMaster() : 0;
  if (forms.includes("packed")) {
    await writer.writePacked();
  }
  if (forms.includes("gguf")) {
    await writer.writeGguf(name, matrices);
  }
  await writer.removeFloats();
  const place = (form: ModelForm) => (forms.includes(form) ? join(folder, formNames[form]) : undefined);
  const places = { master: place("master"), packed: place("packed"), gguf: place("gguf") };
  return { folder, ...places, files: await listFiles(partial, folder), matrices, nudged };
}

const floatsName = "floats"; // while the others are made
/** What each form is called in its folder. */
export const formNames: Record<ModelForm, string> = { master: "master", packed: "packed", gguf: "model.gguf" };

/** Writes the forms, each from the float weights. */
class ModelWriter {
  readonly #weights: MasterWeights;
  readonly #source: string;
  readonly #folder: string;
  readonly #signal: AbortSignal | undefined;
  #floats: ReadonlyMap<string, CheckpointTensor> = new Map();

  constructor(weights: MasterWeights, source: string, folder: string, signal?: AbortSignal) {
    this.#weights = weights;
    this.#source = source;
    this.#folder = folder;
    this.#signal = signal;
  }

  /** A checkpoint of the float weights, which all forms are made of. Returns the ternary weights that they have. */
  async writeFloats(): Promise<ExportedMatrix[]> {
    const known = new Map(this.#weights.matrices?.().map((matrix) => [matrix.name, matrix]));
    const measured: ExportedMatrix[] = [];
    const folder = await this.#begin(floatsName, "online");
    const measure = (parameter: Parameter, values: Float32Array) => {
      checkFinite(parameter.name, values);
      if (isMatrix(parameter)) {
        const { scale, codes } = ternarize(values, colsOf(parameter));
        const matrix = { name: parameter.name, scale, ...countCodes(codes) };
        checkSame(`the training's ${parameter.name}`, matrix, known.get(parameter.name) ?? matrix);
        measured.push(matrix);
      }
    };
    await this.#writeTensors(folder, (parameter) => [
      {
        ...nameAndShape(parameter),
        dtype: "F32",
        data: async () => {
          throwIfAborted(this.#signal);
          const values = await this.#weights.read(parameter.name);
          measure(parameter, values);
          return bytesOf(values);
        },
      },
    ]);
    if (measured.length === 0) {
      throw new BitnetError("USAGE", "exportModel: the weights have no matrices; exportAdapter writes adapters");
    }
    this.#floats = (await openCheckpoint(folder)).tensors;
    return measured;
  }

  async removeFloats(): Promise<void> {
    await rm(join(this.#folder, floatsName), { recursive: true });
  }

  /** Returns how many weights are not the nearest number of bf16. */
  async writeMaster(): Promise<number> {
    let nudged = 0;
    const folder = await this.#begin("master", "online");
    await this.#writeTensors(folder, (parameter) => [
      {
        ...nameAndShape(parameter),
        dtype: "BF16",
        data: async () => {
          const values = await this.#read(parameter.name);
          if (!isMatrix(parameter)) {
            return encodeFloats(values, "bf16");
          }
          const rounded = roundMaster(values, colsOf(parameter));
          nudged += rounded.nudged;
          return new Uint8Array(rounded.halves.buffer);
        },
      },
    ]);
    await this.#compare(folder, async (tensor, cols) => ternarize(await readFloats(tensor), cols).codes);
    return nudged;
  }

  async writePacked(): Promise<void> {
    const folder = await this.#begin("packed", "offline");
    await this.#writeTensors(folder, (parameter) => {
      if (!isMatrix(parameter)) {
        const data = async () => encodeFloats(await this.#read(parameter.name), "bf16");
        return [{ ...nameAndShape(parameter), dtype: "BF16", data }];
      }
      const [rows, cols] = [at(parameter.shape, 0), colsOf(parameter)];
      if (rows % codesPerByte !== 0) {
        throw new BitnetError("UNSUPPORTED", `${parameter.name}: ${rows} rows cannot be packed four to a byte`);
      }
      let scale = 0; // of the matrix that was asked for last: its scale is the next tensor
      return [
        {
          name: parameter.name,
          shape: [rows / codesPerByte, cols],
          dtype: "U8",
          data: async () => {
            const matrix = await this.#ternarize(parameter);
            scale = matrix.scale;
            return packCodes(matrix.codes);
          },
        },
        {
          name: parameter.name + scaleSuffix,
          shape: [1],
          dtype: "F32",
          data: () => encodeFloats(Float32Array.of(scale), "f32"),
        },
      ];
    });
    await this.#compare(folder, async (tensor) => unpackCodes(await readBytes(tensor)));
  }

  /** By a conversion, which reads back what it has written and compares it code by code. */
  async writeGguf(modelName: string, matrices: readonly ExportedMatrix[]): Promise<void> {
    const outfile = join(this.#folder, formNames.gguf);
    const source = join(this.#folder, floatsName);
    const options = { source, outfile, outtype: "i2_s", modelName, signal: this.#signal };
    const { tensors } = await convertCheckpoint(options);
    const written = new Map(tensors.map(({ name, ...tensor }) => [checkpointNameOf(name), tensor]));
    for (const matrix of matrices) {
      const { scale = 0, minus = 0, zero = 0, plus = 0 } = written.get(matrix.name) ?? {};
      checkSame(formNames.gguf, { name: matrix.name, scale, minus, zero, plus }, matrix);
    }
    const model = await loadModel(outfile, { inPlace: true, threads: 1 });
    model.close();
  }

  /** A folder with the configuration and the tokenizer. */
  async #begin(name: string, mode: "online" | "offline"): Promise<string> {
    const folder = join(this.#folder, name);
    await makeFolder(folder);
    await copyTokenizerFiles(this.#source, folder);
    const config = describeConfig(await readJson(join(this.#source, "config.json")), this.#weights, mode);
    await writeFile(join(folder, "config.json"), `${JSON.stringify(config, null, 2)}\n`);
    return folder;
  }

  async #writeTensors(folder: string, list: (parameter: Parameter) => WrittenTensor[]): Promise<void> {
    await writeSafetensors(join(folder, "model.safetensors"), this.#weights.parameters.flatMap(list));
  }

  /** Opens the checkpoint as a conversion does, and compares its ternary weights one by one. */
  async #compare(
    folder: string,
    codesOf: (tensor: CheckpointTensor, cols: number) => Promise<Uint8Array>,
  ): Promise<void> {
    const types = parseTypes({ outtype: "i2_s" });
    await planCheckpoint({ source: folder, outfile: "", outtype: "i2_s" }, types);
    const { tensors } = await openCheckpoint(folder);
    for (const parameter of this.#weights.parameters.filter(isMatrix)) {
      const tensor = tensors.get(parameter.name);
      const { codes } = await this.#ternarize(parameter);
      const changes = tensor && countChanges(codes, await codesOf(tensor, colsOf(parameter)));
      if (changes !== 0) {
        throw new BitnetError("INTERNAL", `${basename(folder)}: ${parameter.name}: ${changes} weights are others`);
      }
    }
  }

  async #ternarize(parameter: Parameter): Promise<TernaryMatrix> {
    return ternarize(await this.#read(parameter.name), colsOf(parameter));
  }

  async #read(name: string): Promise<Float32Array> {
    throwIfAborted(this.#signal);
    const tensor = this.#floats.get(name);
    if (tensor === undefined) {
      throw new BitnetError("INTERNAL", `no weights are named ${name}`);
    }
    return await readFloats(tensor);
  }
}

type Parameter = MasterWeights["parameters"][number];

const codesPerByte = 4;

/** Whether it is made ternary: all else has no row in the table of matrices. */
function isMatrix({ name }: Parameter): boolean {
  return name.endsWith("_proj.weight");
}

function colsOf({ shape }: Parameter): number {
  return at(shape, shape.length - 1);
}

function nameAndShape({ name, shape }: Parameter): Pick<WrittenTensor, "name" | "shape"> {
  return { name, shape };
}

function checkFinite(name: string, values: Float32Array): void {
  const i = values.findIndex((value) => !Number.isFinite(value));
  if (i >= 0) {
    throw new BitnetError("BAD_FILE", `${name}: number ${i} is ${values[i]}`, {
      hint: "the training has gone wrong; take an earlier checkpoint",
    });
  }
}

/** Throws INTERNAL if two counts of a matrix differ. */
function checkSame(what: string, found: ExportedMatrix, wanted: ExportedMatrix): void {
  for (const key of ["scale", "minus", "zero", "plus"] as const) {
    if (found[key] !== wanted[key]) {
      throw new BitnetError("INTERNAL", `${what}: ${key} is ${found[key]}, but ${wanted[key]} of ${wanted.name}`);
    }
  }
}

/** Row i + n rows / 4 of a matrix is in bits 2n and 2n + 1 of row i. */
function packCodes(codes: Uint8Array): Uint8Array {
  const quarter = codes.length / codesPerByte;
  const bytes = new Uint8Array(quarter);
  for (let i = 0; i < codes.length; i++) {
    const place = i % quarter;
    bytes[place] = (bytes[place] ?? 0) | ((codes[i] ?? 0) << (2 * Math.floor(i / quarter)));
  }
  return bytes;
}

function unpackCodes(bytes: Uint8Array): Uint8Array {
  const codes = new Uint8Array(codesPerByte * bytes.length);
  for (let i = 0; i < codes.length; i++) {
    codes[i] = ((bytes[i % bytes.length] ?? 0) >> (2 * Math.floor(i / bytes.length))) & 3;
  }
  return codes;
}

async function readBytes({ file, offset, bytes }: CheckpointTensor): Promise<Uint8Array> {
  const handle = await open(file);
  try {
    const buffer = new Uint8Array(bytes);
    await handle.read(buffer, 0, bytes, offset);
    return buffer;
  } finally {
    await handle.close();
  }
}

/** The source's config.json with what the weights are. The head is the embedding unless there is one. */
function describeConfig(
  config: Record<string, unknown>,
  { parameters }: MasterWeights,
  mode: "online" | "offline",
): Record<string, unknown> {
  const { torch_dtype: _, dtype: __, quantization_config: ___, ...rest } = config;
  return {
    ...rest,
    tie_word_embeddings: !parameters.some(({ name }) => name === "lm_head.weight"),
    torch_dtype: "bfloat16",
    quantization_config: { quant_method: "bitnet", linear_class: "autobitlinear", quantization_mode: mode },
  };
}

/** What is in `folder`, named as if it were in `shown`. */
export async function listFiles(folder: string, shown: string): Promise<ModelExport["files"]> {
  const files: ModelExport["files"] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      const path = join(entry.parentPath, entry.name);
      files.push({ path: join(shown, relative(folder, path)), bytes: (await stat(path)).size });
    }
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}
