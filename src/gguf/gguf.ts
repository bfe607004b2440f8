// A GGUF file's metadata and tensor list, read by the native core without copying the vocabulary.

import {
  loadAddon,
  type NativeGguf,
  type NativeMetadataEntry,
  type NativeMetadataValue,
  type NativeTensorInfo,
  type NativeTensorStatistics,
} from "../native/addon.js";
import { converting, convertingAsync } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";

export type MetadataValue = NativeMetadataValue;
export type MetadataEntry = NativeMetadataEntry;
export type TensorInfo = NativeTensorInfo;
export type TensorStatistics = NativeTensorStatistics;

export interface CheckModelOptions {
  /** Pre-tokenizer to use instead of the one that the file names. */
  tokenizerPre?: string;
}

const checkModelOptions: OptionNames<CheckModelOptions> = { tokenizerPre: true };

/** Keys that say which part of a model a file is. */
export const splitKeys: readonly string[] = ["split.no", "split.count", "split.tensors.count"];

const openGgufOptions: OptionNames<OpenGgufOptions> = { alone: true };

export class Gguf {
  readonly #native: NativeGguf;
  readonly path: string;
  /** Of a model that is spread over several files, all of them in their order; else `path` alone. */
  readonly paths: readonly string[];
  readonly version: number;
  readonly fileSize: number; // bytes, of all parts
  readonly dataOffset: number; // where tensor data begins, in the first part

  constructor(native: NativeGguf) {
    this.#native = native;
    this.path = native.path;
    this.paths = native.paths;
    this.version = native.version;
    this.fileSize = native.fileSize;
    this.dataOffset = native.dataOffset;
  }

  /** Every key in file order. Arrays are summarized: read them with `metadataArray`. */
  metadata(): Record<string, MetadataValue> {
    return this.#native.metadata();
  }

  /** Elements [start, start + count) of an array value, clamped to its length. Default: all of it. */
  metadataArray(key: string, start = 0, count = Number.MAX_SAFE_INTEGER): (string | number | bigint | boolean)[] {
    return converting(() => this.#native.metadataArray(key, start, count));
  }

  /** Every key in file order, for a file that is to have them too. */
  metadataCopies(): MetadataEntry[] {
    return this.#native.metadataKeys().map((key, i) => [key, "copy", this.#native, i]);
  }

  tensors(): TensorInfo[] {
    return this.#native.tensors();
  }

  /** What the weights of the tensor at this place of tensors() are like. Reads all of it. */
  async examineTensor(index: number): Promise<TensorStatistics> {
    return await convertingAsync(() => this.#native.examineTensor(index));
  }

  /** Bytes of the file that lie in memory; undefined where the system does not tell. */
  residentBytes(): number | undefined {
    return this.#native.residentBytes();
  }

  /**
   * Throws what loading the model would throw, as far as keys, tokenizer and the list of tensors tell. A family that is
   * only written and a file with nothing but a vocabulary are right.
   */
  checkModel(options: CheckModelOptions = {}): void {
    checkOptionNames("checkModel", options, checkModelOptions);
    converting(() => this.#native.checkModel(options));
  }
}

export interface OpenGgufOptions {
  /** Opens a part of a model in several files by itself. Default: false, which opens them all, by the name of any. */
  alone?: boolean;
}

/** Opens a GGUF file without loading its weights. */
export function openGguf(path: string, options: OpenGgufOptions = {}): Gguf {
  checkOptionNames("openGguf", options, openGgufOptions);
  return new Gguf(converting(() => loadAddon().openGguf(path, options)));
}
