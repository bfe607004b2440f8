// What the border to C++ says of conversions: families of models, planned tensors and where their numbers come from.

import type { NativeGguf } from "./files.js";

/** How many rows or columns a tensor has: "query" is heads times head size, "keyValue" the same for keys and values. */
export type NativeExtent = "one" | "hidden" | "ffn" | "query" | "keyValue" | "head";

/** One tensor of every layer, blk.N.NAME.weight; a linear one may have a bias beside it. */
export interface NativeLayerTensor {
  name: string;
  role: "norm" | "linear";
  /** Of a norm: where it stands; see native/model/family.h. */
  norm?: "pre" | "sub" | "qk" | "post" | "input";
  rows: NativeExtent;
  cols: NativeExtent;
  optional: boolean;
  rotated: boolean; // by RoPE: the order of its rows follows from ropePairs
}

/** What the models of one architecture have in common: a row of native/model/family.cpp. */
export interface NativeFamily {
  architecture: string; // "bitnet-b1.58"
  activation: "silu" | "relu2" | "gelu_tanh";
  ropePairs: "halves" | "neighbours"; // which elements of a head are rotated together
  ownHead: boolean; // a model may have an output tensor of its own
  pooled: boolean; // a model may be one of text embeddings
  ternary: boolean; // every model is
  tensors: NativeLayerTensor[]; // in the order in which files are written
}

/** A key of a GGUF file that is to be written: its type and value. A key whose value is undefined is left out. */
export type NativeMetadataEntry = readonly [key: string, ...NativeMetadataContent];
type NativeMetadataContent =
  | [type: "u32" | "f32", value: number | undefined]
  | [type: "bool", value: boolean | undefined]
  | [type: "string", value: string | undefined]
  | [type: "i32s" | "f32s", value: readonly number[] | undefined]
  | [type: "strings", value: readonly string[] | undefined]
  | [type: "copy", from: NativeGguf, index: number]; // the key at this place there, bit by bit

export interface NativeConvertSource {
  kind: "tensor" | "hf-packed" | "random";
  type?: string; // "tensor": how its bytes lie
  file?: string; // path of the file that holds it; not of "random"
  offset?: number; // of its data in that file
  bytes?: number;
  i2sLayout?: string; // "canonical"
  factor?: number; // multiplies the scale of ternary sources; of the other kinds, is the scale
  seed?: number; // "random"; mean and deviation of floats
  mean?: number;
  deviation?: number;
}

export interface NativeConvertTensor {
  name: string;
  shape: number[]; // ne order: fastest dimension first
  type: string; // of the output
  source: NativeConvertSource;
  ternary: boolean; // floats are ternarized, whatever the output type
  declared: boolean; // ... even if that rounds them
  ropeHeads: number; // > 0: rows go from NEOX to NORM order within so many heads
  add: number; // to every float
}

export type NativeConvertResult = { ternary: false } | NativeTernaryResult;

export interface NativeTernaryResult {
  ternary: true;
  rounded: boolean; // floats that were not ternary already
  scale: number; // of the file: what +1 stands for
  minus: number; // weights of -1; likewise the next two
  zero: number;
  plus: number;
  relativeError: number; // RMS(w - code * scale) / RMS(w)
}

/** How TL1 or TL2 cuts a matrix of rows x cols, in bitnet.cpp's names. */
export interface NativeTileSizes {
  type: string; // "TL2"
  rows: number;
  cols: number;
  BM: number; // rows of a tile
  BK: number; // columns of a tile
  bm: number; // rows of a part of it
}

/** A planned conversion: every size and offset is known, nothing is written yet. */
export interface NativeConversion {
  readonly fileBytes: number; // of the whole output
  readonly tensorBytes: number[]; // of the data of each tensor
  readonly tiles: NativeTileSizes[]; // of every shape that becomes TL1 or TL2
  readonly hasOwnTiles: boolean; // they are not all bitnet.cpp's own, and the file says them
  /** Writes the file, flushes, reads it back and compares; what is written of it when it fails, stays. */
  run(outfile: string): Promise<NativeConvertResult[]>; // one per tensor
  progress(): { tensor: number; doneBytes: number }; // every byte counts twice: written, verified
  abort(): void; // run() rejects with ABORTED
}

/** What a model is made of: keys and tensors with their sources, as a conversion takes them. */
export interface NativeModelSource {
  metadata: readonly NativeMetadataEntry[];
  tensors: readonly NativeConvertTensor[];
  kernelConfig?: string; // of sources of type TL1 or TL2
}
