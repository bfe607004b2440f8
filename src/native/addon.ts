// The native addon, and its whole surface. Everything here is thin: the library's faces (model.ts, gguf.ts, tokenizer.ts) are
// what callers use. Types stand in a file for each subject, and are imported from here.
import type {
  NativeConversion,
  NativeConvertTensor,
  NativeFamily,
  NativeMetadataEntry,
  NativeModelSource,
} from "./conversion.js";
import type { NativeGguf, NativeTensorType, NativeTokenizer } from "./files.js";
import { type AddonOrigin, loadFirst } from "./locate.js";
import type {
  NativeKernelCase,
  NativeKernelTimes,
  NativeLimits,
  NativeLoadOptions,
  NativeModel,
  NativeTuningParameter,
  WeightLayout,
} from "./model.js";
import type { NativeGrammar, NativeKvShape, NativeSampling, NativeSamplingParameter } from "./session.js";
import type { NativeMemoryPlan, NativeTraining, NativeTrainOptions } from "./training.js";

export type * from "./conversion.js";
export type * from "./files.js";
export type * from "./model.js";
export type * from "./session.js";
export { cacheTypes, poolings } from "./session.js";
export type * from "./training.js";

/** What the processor says of itself; texts are empty where it says nothing, as on ARM. */
export interface NativeCpu {
  vendor: string;
  brand: string;
  hypervisor: string; // "KVMKVMKVM"
  features: { name: string; present: boolean }[]; // that kernels make use of
}

export interface NativeAddon {
  /** llama.cpp's syntax. Throws USAGE with line and column. */
  compileGrammar(gbnf: string, maxBytes?: number): NativeGrammar; // by default at most 256 KiB
  compileGrammarAsync(gbnf: string, maxBytes?: number): Promise<NativeGrammar>; // on a thread of its own
  /** Throws UNSUPPORTED if a type cannot hold its shape or no tiles fit it, naming the tensor. Reads no weights. */
  planConversion(request: {
    metadata: readonly NativeMetadataEntry[]; // in the order of the file, like the tensors
    tensors: readonly NativeConvertTensor[];
    threads?: number;
    kernelConfig?: string;
  }): NativeConversion;
  loadModel(path: string, options: NativeLoadOptions): Promise<NativeModel>;
  /** Reads the weights. Throws UNSUPPORTED, BAD_FILE, USAGE, NO_MEMORY. */
  openTraining(source: NativeModelSource, options: NativeTrainOptions): Promise<NativeTraining>;
  planTraining(source: NativeModelSource, options: NativeTrainOptions): NativeMemoryPlan; // allocates nothing
  /** Bytes of keys and values of a full context, as the engine keeps them. */
  kvBytes(shape: NativeKvShape): number;
  tensorTypes(): NativeTensorType[];
  /** Metadata and tensor list only; the tokenizer alone for `bitnet tokenize` on a vocabulary-only file. */
  openGguf(path: string, options?: { alone?: boolean }): NativeGguf; // alone: not the other parts of its model
  openTokenizer(path: string, options: { tokenizerPre?: string }): NativeTokenizer;
  families(): NativeFamily[];
  /** Kernels this build has, best first, and the features that this CPU or its operating system lacks for each. */
  kernels(): { name: string; supported: boolean; lacks: string[] }[];
  /** The layouts in which a supported kernel gives other bits than scalar: none, if all is right. */
  testKernel(name: string): WeightLayout[];
  describeCpu(): NativeCpu;
  /** What the addon was built with: "GCC 12.2.0", "Release". */
  buildInfo(): { compiler: string; build: string };
  /** Cores this process may use, without hyper-threads; only the fast ones on macOS and Windows. */
  physicalCores(): number;
  /** Whether this build is for another CPU than the machine's: translated by Rosetta, or by Windows on Arm. */
  isTranslated(): boolean;
  /** Read bandwidth with a buffer of `bytes` and int8 peak of a kernel; takes about 2 * `seconds`. */
  measureLimits(options: { kernel?: string; threads: number; bytes: number; seconds: number }): Promise<NativeLimits>;
  tuningParameters(): NativeTuningParameter[];
  samplingParameters(): NativeSamplingParameter[];
  /** Throws USAGE, naming it, for a value that is out of its row's bounds or of another kind. */
  checkSampling(options: NativeSampling): void;
  /** Times a ternary product on random weights, after a check against scalar (INTERNAL if it differs). */
  timeKernel(options: NativeKernelCase): Promise<NativeKernelTimes>;
}

// Errors thrown or rejected by the addon are Error objects with a string `code` of errors.ts.

let loaded: { origin: AddonOrigin; addon: NativeAddon } | undefined;

function openAddon(): { origin: AddonOrigin; addon: NativeAddon } {
  if (loaded === undefined) {
    const { origin, exports } = loadFirst();
    loaded = { origin, addon: exports as NativeAddon };
  }
  return loaded;
}

/** The addon, loaded at the first call. Throws what is wrong with the installation, and what to do. */
export function loadAddon(): NativeAddon {
  return openAddon().addon;
}

/** Where the addon that loadAddon() gives comes from; throws as it does. */
export function addonOrigin(): AddonOrigin {
  return openAddon().origin;
}
