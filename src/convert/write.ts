// A planned model -> a GGUF file: written as x.partial by the native core, verified, flushed, renamed.

import { open, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { alignUp, byteLength, encodeHead, type MetadataEntry, type TensorEntry, writeParts } from "../gguf/writer.js";
import {
  loadAddon,
  type NativeConvertJob,
  type NativeConvertResult,
  type NativeConvertSource,
} from "../native/addon.js";
import { BitnetError, convertingAsync, reasonOf, throwIfAborted } from "../system/errors.js";
import { findTarget } from "../system/files.js";

export interface PlannedTensor {
  name: string;
  shape: number[]; // ne order: fastest dimension first
  type: string;
  sourceType: string;
  source: NativeConvertSource;
  /** Absolute path of the file the source lies in; undefined for random tensors. */
  file?: string;
  ternary: boolean;
  declared: boolean;
  ropeHeads: number;
  add: number;
}

export interface ModelPlan {
  metadata: MetadataEntry[];
  tensors: PlannedTensor[];
  warnings: string[];
}

export interface WriteOptions {
  outfile: string;
  kernelConfig?: string;
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (progress: ConvertProgress) => void;
  /** The file's vocabulary must load, too. Default: false. */
  checkTokenizer?: boolean;
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

export interface ConvertReport {
  outfile: string;
  bytes: number;
  seconds: number;
  tensors: ConvertedTensor[];
  typeHistogram: Record<string, number>;
  ternary: { minus: number; zero: number; plus: number };
  /** The file was read back and every tensor holds what its source says. */
  verified: boolean;
  warnings: string[];
}

const progressIntervalMs = 100;

/** Writes the model; whatever goes wrong, nothing stays under `outfile` or beside it. */
export async function writeModel(plan: ModelPlan, options: WriteOptions): Promise<ConvertReport> {
  const started = performance.now();
  throwIfAborted(options.signal);
  await findTarget(options.outfile).catch((error) => {
    throw new BitnetError("USAGE", `cannot write a model to ${options.outfile}: ${reasonOf(error)}`, { cause: error });
  });
  const layout = layOut(plan, options.kernelConfig);
  await checkFreeSpace(options.outfile, layout.outBytes);
  const partial = `${options.outfile}.partial`;
  try {
    const results = await convertingAsync(async () => {
      await writeHead(partial, layout.head);
      return runConversion(plan, layout, partial, options);
    });
    throwIfAborted(options.signal);
    await rename(partial, options.outfile);
    await flushDirectory(dirname(resolve(options.outfile)));
    return report(plan, layout, results, options.outfile, (performance.now() - started) / 1000);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
}

interface Layout {
  head: Uint8Array[];
  jobs: (NativeConvertJob & { offset: number })[];
  files: string[];
  bytes: number[]; // per tensor
  outBytes: number;
}

function layOut(plan: ModelPlan, kernelConfig: string | undefined): Layout {
  const files = [...new Set(plan.tensors.flatMap((tensor) => tensor.file ?? []))];
  const jobs = plan.tensors.map((tensor): NativeConvertJob => {
    const { name, type, ternary, declared, ropeHeads, add } = tensor;
    const elements = tensor.shape.reduce((product, n) => product * n, 1);
    // A vector is one row; where its elements are to be reordered, each is a row of its own.
    const cols = tensor.shape.length === 1 && ropeHeads > 0 ? 1 : (tensor.shape[0] ?? 1);
    const source = { ...tensor.source, file: tensor.file === undefined ? 0 : files.indexOf(tensor.file) };
    return { name, type, ternary, declared, ropeHeads, add, rows: elements / cols, cols, source };
  });
  const sizes = loadAddon().planTensors(jobs, kernelConfig);
  const entries: TensorEntry[] = [];
  let offset = 0;
  for (const [i, { name, shape }] of plan.tensors.entries()) {
    entries.push({ name, shape, typeId: sizes[i]?.typeId ?? 0, offset });
    offset = alignUp(offset + (sizes[i]?.bytes ?? 0));
  }
  const head = encodeHead(plan.metadata, entries);
  const dataStart = byteLength(head);
  return {
    head,
    jobs: jobs.map((job, i) => ({ ...job, offset: dataStart + (entries[i]?.offset ?? 0) })),
    files,
    bytes: sizes.map((size) => size.bytes),
    outBytes: dataStart + offset,
  };
}

async function checkFreeSpace(outfile: string, bytes: number): Promise<void> {
  const directory = dirname(resolve(outfile));
  await convertingAsync(async () => {
    if (!(await stat(directory)).isDirectory()) {
      throw new BitnetError("NOT_FOUND", `${directory} is not a directory`);
    }
  });
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize < bytes) {
    throw new BitnetError(
      "BAD_FILE",
      `${directory}: the file needs ${formatMB(bytes)}, but only ${formatMB(bavail * bsize)} are free`,
    );
  }
}

function formatMB(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

async function writeHead(path: string, head: Uint8Array[]): Promise<void> {
  const file = await open(path, "w");
  try {
    await writeParts(file, head);
  } finally {
    await file.close();
  }
}

async function runConversion(
  plan: ModelPlan,
  layout: Layout,
  outfile: string,
  options: WriteOptions,
): Promise<NativeConvertResult[]> {
  const { jobs, files, outBytes } = layout;
  const { threads, kernelConfig, checkTokenizer, signal, onProgress } = options;
  const conversion = loadAddon().startConversion({
    files,
    outfile,
    outBytes,
    jobs,
    checkTokenizer,
    threads,
    kernelConfig,
  });
  const totalBytes = 2 * layout.bytes.reduce((sum, n) => sum + n, 0);
  const timer = setInterval(() => {
    const { tensor, doneBytes } = conversion.progress();
    onProgress?.({ tensor: plan.tensors[tensor]?.name ?? "", doneBytes, totalBytes });
  }, progressIntervalMs);
  const abort = () => conversion.abort();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const results = await conversion.done;
    onProgress?.({ tensor: plan.tensors.at(-1)?.name ?? "", doneBytes: totalBytes, totalBytes });
    return results;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** The new name is on the disk only when the directory is; some systems cannot do that. */
async function flushDirectory(path: string): Promise<void> {
  const directory = await open(path, "r").catch(() => undefined);
  await directory?.sync().catch(() => {});
  await directory?.close();
}

function report(
  plan: ModelPlan,
  layout: Layout,
  results: NativeConvertResult[],
  outfile: string,
  seconds: number,
): ConvertReport {
  const typeHistogram: Record<string, number> = {};
  const ternary = { minus: 0, zero: 0, plus: 0 };
  const tensors = plan.tensors.map(({ name, type, sourceType, shape }, i): ConvertedTensor => {
    typeHistogram[type] = (typeHistogram[type] ?? 0) + 1;
    const {
      minus = 0,
      zero = 0,
      plus = 0,
      scale,
      rounded,
      relativeError,
      ternary: isTernary,
    } = results[i] ?? { ternary: false };
    ternary.minus += minus;
    ternary.zero += zero;
    ternary.plus += plus;
    const tensor = { name, type, sourceType, shape, bytes: layout.bytes[i] ?? 0 };
    return isTernary ? { ...tensor, scale, minus, zero, plus, ...(rounded && { relativeError }) } : tensor;
  });
  const { warnings } = plan;
  return { outfile, bytes: layout.outBytes, seconds, tensors, typeHistogram, ternary, verified: true, warnings };
}
