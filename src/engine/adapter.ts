// Adapters of a loaded model: what their file says is checked against the model, then the core reads their matrices.

import { createHash } from "node:crypto";
import type { AdapterFile, AdapterMatrix } from "../adapter/adapter.js";
import { openAdapter } from "../adapter/open.js";
import { adapterName } from "../adapter/peft.js";
import { findFamily } from "../gguf/families.js";
import type { NativeAdapter, NativeAdapterUse, NativeExtent, NativeModel, NativeModelInfo } from "../native/addon.js";
import { BitnetError, convertingAsync, throwIfAborted, withContext } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";

export interface AdapterOptions {
  /** How much of the adapter is added where a session does not say. Default: 1. */
  scale?: number;
  /** What it is called in lists. Default: the name of its folder or file. */
  name?: string;
  /**
   * What is added is multiplied by the scale of each matrix: right for adapters that were trained with a program that
   * applies a separate scale last, as llama.cpp's graph of BitNet did before March 2026. Default: false.
   */
  scaledByWeights?: boolean;
  signal?: AbortSignal;
}

const adapterOptions: OptionNames<AdapterOptions> = { scale: true, name: true, scaledByWeights: true, signal: true };

/** An adapter, or how much of it. */
export type AdapterUse = Adapter | { adapter: Adapter; scale?: number };

/** The most that a session may have. */
export const maxAdapters = 32;
const maxScale = 1e6;

/** A low-rank adapter (LoRA) in memory, for the sessions of the model that loaded it. */
export class Adapter {
  readonly #native: NativeAdapter;
  readonly path: string;
  readonly name: string;
  /** How much of it is added where a session does not say. */
  readonly scale: number;
  /** Of its matrices and their scales, not of its file: 16 hexadecimal digits. */
  readonly hash: string;
  readonly parameters: number;
  readonly bytes: number; // in memory
  readonly type: string; // of its numbers there: "F32", "F16" or "BF16"
  readonly ranks: readonly number[]; // of its matrices, each once
  /** What its file says and cannot mean, or what speaks against this model: a sentence each. */
  readonly warnings: readonly string[];

  constructor(native: NativeAdapter, file: AdapterFile, options: AdapterOptions, warnings: readonly string[]) {
    this.#native = native;
    this.path = file.path;
    this.name = options.name ?? adapterName(file.path);
    this.scale = options.scale ?? 1;
    this.hash = native.hash;
    this.parameters = native.parameters;
    this.bytes = native.bytes;
    this.type = native.type;
    this.ranks = [...new Set(file.matrices.map(({ rank }) => rank))];
    this.warnings = warnings;
  }

  /** For the core. */
  use(scale: number): NativeAdapterUse {
    return { adapter: this.#native, scale };
  }

  /** Lets it go, once no session has it. May be called again. */
  close(): void {
    this.#native.close();
  }
}

/** An adapter that is to be loaded. */
export interface AdapterSource extends Pick<AdapterOptions, "scale" | "scaledByWeights"> {
  path: string;
}

export async function loadAdapter(native: NativeModel, path: string, options: AdapterOptions): Promise<Adapter> {
  checkOptionNames("loadAdapter", options, adapterOptions);
  const { scale = 1, scaledByWeights, signal } = options;
  checkScale(scale);
  throwIfAborted(signal);
  const file = await openAdapter(path);
  const matrices = file.matrices.map((matrix) => {
    checkShape(file, matrix, native.info);
    return { ...matrix, ropeHeads: file.form === "peft" ? ropeHeadsOf(native.info, matrix) : 0 };
  });
  if (file.architecture !== undefined && file.architecture !== native.info.architecture) {
    throw new BitnetError(
      "USAGE",
      `${path}: an adapter of a ${file.architecture} model; this one is ${native.info.architecture}`,
    );
  }
  const warnings = [...file.warnings, ...baseWarnings(file, native)];
  throwIfAborted(signal);
  const adapter = await convertingAsync(() => native.loadAdapter(matrices, { scaledByWeights })).catch(
    (error: unknown) => {
      throw withContext(path, error);
    },
  );
  return new Adapter(adapter, file, options, warnings);
}

function baseWarnings({ path, origin }: AdapterFile, native: NativeModel): string[] {
  const { baseHash, baseName } = origin;
  if (baseHash === undefined || baseHash === native.baseHash()) {
    return [];
  }
  const of = baseName === undefined ? "another model" : `another model (${baseName})`;
  return [`${path}: the adapter was made for ${of} of the same shape; what it gives here may be nonsense`];
}

/** Throws USAGE for an adapter of another model. */
function checkShape({ path }: AdapterFile, { layer, name, a, b }: AdapterMatrix, info: NativeModelInfo): void {
  if (layer >= info.blockCount) {
    throw new BitnetError("USAGE", `${path}: ${a.name} is of layer ${layer}; this model has ${info.blockCount} layers`);
  }
  const row = findFamily(info.architecture)?.tensors.find((tensor) => tensor.name === name);
  if (row === undefined) {
    throw new BitnetError("USAGE", `${path}: ${a.name}: ${info.architecture} models have no matrix ${name}`);
  }
  const [rows, cols] = [sizeOf(info, row.rows), sizeOf(info, row.cols)];
  if (b.rows !== rows || a.cols !== cols) {
    throw new BitnetError(
      "USAGE",
      `${path}: ${a.name} is for a matrix of ${b.rows} x ${a.cols}; that of this model is ${rows} x ${cols}`,
    );
  }
}

function sizeOf(info: NativeModelInfo, extent: NativeExtent): number {
  return {
    one: 1,
    hidden: info.embeddingLength,
    ffn: info.feedForwardLength,
    query: info.headCount * info.headDim,
    keyValue: info.headCountKv * info.headDim,
    head: info.headDim,
  }[extent];
}

/** Heads whose rows the model's file has in another order than PEFT's; 0: none. */
export function ropeHeadsOf(
  info: Pick<NativeModelInfo, "architecture" | "headDim">,
  { name, b }: AdapterMatrix,
): number {
  const family = findFamily(info.architecture);
  const rotated = family?.tensors.some((tensor) => tensor.name === name && tensor.rotated) === true;
  return rotated && family?.ropePairs === "neighbours" ? b.rows / info.headDim : 0;
}

export function checkScale(scale: unknown): asserts scale is number {
  if (typeof scale !== "number" || !(Math.abs(scale) <= maxScale)) {
    throw new BitnetError(
      "USAGE",
      `the scale of an adapter: a number up to ${maxScale} expected, got ${String(scale)}`,
    );
  }
}

/** What a session asks for, as the core takes it. */
export function toNativeUses(uses: readonly AdapterUse[]): NativeAdapterUse[] {
  if (!Array.isArray(uses) || uses.length > maxAdapters) {
    throw new BitnetError("USAGE", `adapters: a list of at most ${maxAdapters} expected`);
  }
  return uses.map((entry: AdapterUse) => {
    const { adapter, scale } = entry instanceof Adapter ? { adapter: entry, scale: entry.scale } : entry;
    if (!(adapter instanceof Adapter)) {
      throw new BitnetError("USAGE", "adapters: what loadAdapter gave is expected");
    }
    const factor = scale ?? adapter.scale;
    checkScale(factor);
    return adapter.use(factor);
  });
}

/** The fingerprint of a model together with adapters, in whatever order; of none of them the model's own. */
export function withAdapters(fingerprint: string, uses: readonly AdapterUse[]): string {
  const parts = uses
    .map((use) => (use instanceof Adapter ? { adapter: use, scale: use.scale } : use))
    .map(({ adapter, scale = adapter.scale }) => ({ hash: adapter.hash, scale }))
    .filter(({ scale }) => scale !== 0)
    .map(({ hash, scale }) => `${hash} ${scale}`)
    .sort();
  if (parts.length === 0) {
    return fingerprint;
  }
  return createHash("sha256")
    .update([fingerprint, ...parts].join("\n"))
    .digest("hex")
    .slice(0, fingerprint.length);
}
