// A GGUF file's metadata and tensor list, read by the native core without copying the vocabulary.

import {
  loadAddon,
  type NativeGguf,
  type NativeMetadataEntry,
  type NativeMetadataValue,
  type NativeTensorInfo,
} from "../native/addon.js";
import { converting } from "../system/errors.js";

export type MetadataValue = NativeMetadataValue;
export type MetadataEntry = NativeMetadataEntry;
export type TensorInfo = NativeTensorInfo;

export class Gguf {
  readonly #native: NativeGguf;
  readonly path: string;
  readonly version: number;
  readonly fileSize: number; // bytes
  readonly dataOffset: number; // where tensor data begins

  constructor(native: NativeGguf) {
    this.#native = native;
    this.path = native.path;
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
    return Object.keys(this.metadata()).map((key) => [key, "copy", this.#native]);
  }

  tensors(): TensorInfo[] {
    return this.#native.tensors();
  }
}

/** Opens a GGUF file without loading its weights. */
export function openGguf(path: string): Gguf {
  return new Gguf(converting(() => loadAddon().openGguf(path)));
}
