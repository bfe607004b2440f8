// The model that a training begins with: its weights as a source of the core, its tokenizer and its chat format.

import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { chooseFormat } from "../chat/choose-format.js";
import type { ChatFormat } from "../chat/format.js";
import { openCheckpoint } from "../checkpoint/checkpoint.js";
import { listTokenizerFiles } from "../checkpoint/side-files.js";
import { convertCheckpoint } from "../convert/convert.js";
import { openTokenizer, type Tokenizer } from "../engine/tokenizer.js";
import { openGguf } from "../gguf/gguf.js";
import { convertingAsync } from "../system/errors.js";
import { requireFile } from "../system/files.js";
import { hashFiles } from "../system/hash-files.js";
import type { TrainableSource } from "./core/trainable.js";

export interface BaseOptions {
  /** A built-in chat format or a Jinja file. Default: the model's own template. */
  chatTemplate?: string;
  tokenizerPre?: string;
  /** Of a TL1 or TL2 file that does not say its tiles: kernel_config.ini. */
  kernelConfig?: string;
  signal?: AbortSignal;
}

export interface TrainingText {
  tokenizer: Tokenizer;
  format: ChatFormat;
  /** Trained length in tokens. */
  contextLength: number;
}

export interface Base extends TrainingText {
  name: string;
  source: Exclude<TrainableSource, { config: string }>;
  /** SHA-256 of what it is made of. */
  hashes: { base: string; tokenizer: string };
}

/** `path`: a GGUF file, or a folder with a Hugging Face checkpoint. Throws NOT_FOUND, BAD_FILE, UNSUPPORTED. */
export async function openBase(path: string, options: BaseOptions = {}): Promise<Base> {
  const isFolder = (await convertingAsync(() => stat(path))).isDirectory();
  const name = basename(resolve(path));
  if (isFolder) {
    const { tensors } = await openCheckpoint(path);
    const files = [...new Set([...tensors.values()].map(({ file }) => file))].sort();
    const base = await hashFiles([join(path, "config.json"), ...files], options.signal);
    const hashes = { base, tokenizer: await hashTokenizer(path, options.signal) };
    return { name, source: { checkpoint: path }, hashes, ...(await readText(path, options)) };
  }
  await requireFile(path);
  const base = await hashFiles([path], options.signal);
  const { kernelConfig } = options;
  return {
    name,
    source: { gguf: path, kernelConfig },
    hashes: { base, tokenizer: base },
    ...(await readGguf(path, options)),
  };
}

/** SHA-256 of the files of the tokenizer in a folder. */
export async function hashTokenizer(folder: string, signal?: AbortSignal): Promise<string> {
  return await hashFiles(
    (await listTokenizerFiles(folder)).map((name) => join(folder, name)),
    signal,
  );
}

/** Tokenizer and chat format of a checkpoint's folder, by way of a GGUF file of the vocabulary alone. */
export async function readText(folder: string, options: BaseOptions): Promise<TrainingText> {
  const scratch = await mkdtemp(join(tmpdir(), "bitnet-vocabulary-"));
  try {
    const outfile = join(scratch, "vocabulary.gguf");
    const { tokenizerPre, signal } = options;
    await convertCheckpoint({ source: folder, outfile, outtype: "f32", vocabOnly: true, tokenizerPre, signal });
    return await readGguf(outfile, options);
  } finally {
    await rm(scratch, { recursive: true, force: true }).catch(() => {}); // Windows keeps files that are mapped
  }
}

async function readGguf(path: string, { tokenizerPre, chatTemplate }: BaseOptions): Promise<TrainingText> {
  const metadata = openGguf(path).metadata();
  const tokenizer = openTokenizer(path, { tokenizerPre });
  const template = metadata["tokenizer.chat_template"];
  const info = { chatTemplate: typeof template === "string" ? template : null };
  const length = metadata[`${String(metadata["general.architecture"])}.context_length`];
  return {
    tokenizer,
    format: await chooseFormat({ info, tokenizer }, chatTemplate),
    contextLength: typeof length === "number" ? length : Number.POSITIVE_INFINITY,
  };
}
