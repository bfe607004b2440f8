// What is to be written, whatever it comes from, and what came of it.

import type { MetadataEntry } from "../gguf/gguf.js";
import type { NativeConvertTensor } from "../native/addon.js";

export interface PlannedTensor extends NativeConvertTensor {
  sourceType: string; // for the report
}

/** A model that is to be written: keys and tensors in the order of the file. */
export interface ModelPlan {
  /** Files or folders that the model is read from; none can be the output. */
  sources: readonly string[];
  metadata: MetadataEntry[];
  tensors: PlannedTensor[];
  warnings: string[];
}

export interface ConvertProgress {
  tensor: string;
  doneBytes: number; // of the output's tensor data; every byte counts twice, when written and when verified
  totalBytes: number;
}

export interface ConvertedTensor {
  name: string;
  type: string;
  sourceType: string;
  shape: number[]; // ne order: fastest dimension first
  bytes: number;
  /** Of a ternary tensor: the value of +1, and how many weights are -1, 0 and +1. */
  scale?: number;
  minus?: number;
  zero?: number;
  plus?: number;
  /** Of floats that were rounded to ternary weights: RMS of the change over RMS of the weights. */
  relativeError?: number;
}

/** A file that was written and read back: every tensor holds what its source says. */
export interface ConvertReport {
  outfile: string;
  bytes: number;
  seconds: number;
  tensors: ConvertedTensor[];
  typeHistogram: Record<string, number>;
  /** Of TL1 and TL2 with other tiles than bitnet.cpp's own: a kernel_config.ini that its converter and generators take. */
  kernelConfig?: string;
  ternary: { minus: number; zero: number; plus: number };
  warnings: string[];
}
