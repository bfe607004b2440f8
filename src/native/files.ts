// What the border to C++ says of files and their vocabularies: GGUF files, types of tensors, tokenizers.

export interface NativeTensorInfo {
  name: string;
  type: string;
  shape: number[]; // ne order: fastest dimension first
  offset: number; // bytes from the start of the file
  bytes: number;
  part?: number; // of a model in several files: the one that it lies in, from 1
}

/**
 * `badRows`: with an impossible code, or a scale or value that is not finite; they do not count elsewhere. `constantRows`:
 * of -1 or of +1 alone, of floats: of 0 alone.
 */
export type NativeTensorStatistics = { readable: boolean; badRows: number; constantRows: number } & (
  | { ternary: true; minus: number; zero: number; plus: number; leastScale: number; mostScale: number }
  | { ternary: false; least: number; most: number; rms: number }
);

/** What is known of a tensor type, in the order in which lists show them. */
export interface NativeTensorType {
  name: string; // "I2_S"
  id: number; // in GGUF files
  blockElements: number; // the columns of a row are a multiple of it
  blockBytes: number; // 0 where a tensor is more than its blocks
  ternary: boolean; // holds ternary matrices
  readable: boolean; // as floats: can be an embedding, a head, a vector or a dense matrix
  writable: boolean; // as such
  fileType?: number; // can be the type of all matrices of a model: its general.file_type then
  substitute?: string; // what an embedding becomes instead if its rows are not whole blocks
}

/** A metadata value: scalars as they are (64-bit integers beyond 2^53 as bigint), arrays summarized. */
export type NativeMetadataValue = string | number | bigint | boolean | { arrayOf: string; length: number };

export interface NativeGguf {
  readonly path: string;
  readonly paths: readonly string[]; // of all parts of a model in several files; else the path alone
  readonly version: number;
  readonly fileSize: number; // of all parts
  readonly dataOffset: number; // in the first part
  metadata(): Record<string, NativeMetadataValue>; // in file order
  metadataKeys(): string[]; // in file order; bytes that are no UTF-8 as U+FFFD, here as in every name and text
  /** Elements [start, start + count) of an array value, clamped to its length. */
  metadataArray(key: string, start: number, count: number): (string | number | bigint | boolean)[];
  tensors(): NativeTensorInfo[];
  /** What the weights of the tensor at this place in tensors() are like; reads all of it, on other threads. */
  examineTensor(index: number): Promise<NativeTensorStatistics>;
  /** Bytes of the file that lie in memory; undefined where the OS does not tell. Linux calls files of others wholly there. */
  residentBytes(): number | undefined;
  /** Throws what loading it would, weights aside; a family that is only written and a vocabulary alone are right. */
  checkModel(options: { tokenizerPre?: string }): void;
}

export interface NativeTokenizerInfo {
  model: string; // "gpt2" | "llama"
  pre: string;
  vocabSize: number;
  bos: number; // -1 if none; likewise below
  eos: number;
  eot: number;
  pad: number;
  unk: number;
  addBos: boolean;
  addEos: boolean;
  eog: number[]; // every end-of-generation token
  warnings: string[]; // what the file says of its tokens and cannot mean: a sentence each
}

export interface NativeTokenizer {
  readonly info: NativeTokenizerInfo;
  encode(text: string | Uint8Array, addSpecial: boolean, parseSpecial: boolean): Int32Array;
  /** The same on another thread. */
  encodeAsync(text: string | Uint8Array, addSpecial: boolean, parseSpecial: boolean): Promise<Int32Array>;
  decode(ids: Int32Array, special: boolean): string; // invalid UTF-8 as U+FFFD
  piece(id: number, special: boolean): string; // one token's bytes as text; parts of characters as U+FFFD
  bytes(id: number): Uint8Array; // of one token, control tokens as their names
  token(id: number): string; // the vocabulary entry itself
  createDecoder(special: boolean): NativeDecoder;
}

export interface NativeDecoder {
  push(id: number): string; // only whole characters; "" while one is unfinished
  flush(): string;
}
