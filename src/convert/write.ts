// A planned model -> a GGUF file: written as x.partial by the native core, verified, checked as `run` would open it, renamed.

import { existsSync } from "node:fs";
import { realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { openGguf } from "../gguf/gguf.js";
import { loadAddon, type NativeConversion, type NativeConvertResult } from "../native/addon.js";
import { at } from "../system/at.js";
import { BitnetError, throwIfAborted, withContext } from "../system/errors.js";
import { findTarget, requireSpace, writeThenRename } from "../system/files.js";
import { writeKernelConfig } from "./kernel-config.js";
import type { ConvertedTensor, ConvertProgress, ConvertReport, ModelPlan } from "./plan.js";

export interface WriteOptions {
  outfile: string;
  kernelConfig?: string;
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (progress: ConvertProgress) => void;
}

const progressIntervalMs = 100;

/** Writes the model; whatever goes wrong, nothing stays under `outfile` or beside it. */
export async function writeModel(plan: ModelPlan, options: WriteOptions): Promise<ConvertReport> {
  const started = performance.now();
  const { outfile, kernelConfig, threads, signal } = options;
  throwIfAborted(signal);
  await checkTarget(outfile, plan.sources);
  const { metadata, tensors } = plan;
  const conversion = loadAddon().planConversion({ metadata, tensors, kernelConfig, threads });
  await requireSpace(dirname(resolve(outfile)), conversion.fileBytes);
  const results = await writeThenRename(outfile, async (partial) => {
    const written = await runConversion(conversion, partial, plan, options);
    openGguf(partial).checkModel();
    throwIfAborted(signal);
    return written;
  });
  const seconds = (performance.now() - started) / 1000;
  const written = report(plan, conversion, results, outfile, seconds);
  // The file itself says its tiles; the programs of bitnet.cpp look for them beside it.
  return conversion.hasOwnTiles
    ? { ...written, kernelConfig: await writeKernelConfig(outfile, conversion.tiles) }
    : written;
}

async function checkTarget(outfile: string, sources: readonly string[]): Promise<void> {
  const target = await findTarget(outfile).catch((error: unknown) => {
    throw withContext(`cannot write a model to ${outfile}`, error);
  });
  const folder = await realpath(dirname(resolve(outfile))).catch(() => undefined);
  for (const source of sources) {
    const from = await realpath(source);
    if (from === resolve(target)) {
      throw new BitnetError("USAGE", `${outfile} is both the source and the output`);
    }
    // A checkpoint's files: its weights, its tokenizer, its config.json.
    if (folder === from && existsSync(outfile) && !/\.gguf$/i.test(outfile)) {
      throw new BitnetError("USAGE", `${outfile} is a file of the source`, { hint: "name a file that ends in .gguf" });
    }
  }
}

async function runConversion(
  conversion: NativeConversion,
  partial: string,
  { tensors }: ModelPlan,
  { signal, onProgress }: WriteOptions,
): Promise<NativeConvertResult[]> {
  const totalBytes = 2 * conversion.tensorBytes.reduce((sum, n) => sum + n, 0);
  const showProgress = () => {
    const { tensor, doneBytes } = conversion.progress();
    onProgress?.({ tensor: tensors[tensor]?.name ?? "", doneBytes, totalBytes }); // "": a file without tensors
  };
  const timer = setInterval(showProgress, progressIntervalMs);
  const abort = () => conversion.abort();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    const results = await conversion.run(partial);
    showProgress();
    return results;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener("abort", abort);
  }
}

function report(
  plan: ModelPlan,
  conversion: NativeConversion,
  results: NativeConvertResult[],
  outfile: string,
  seconds: number,
): ConvertReport {
  const typeHistogram: Record<string, number> = {};
  const ternary = { minus: 0, zero: 0, plus: 0 };
  const tensors = plan.tensors.map(({ name, type, sourceType, shape }, i): ConvertedTensor => {
    typeHistogram[type] = (typeHistogram[type] ?? 0) + 1;
    const tensor = { name, type, sourceType, shape, bytes: at(conversion.tensorBytes, i) };
    const result = at(results, i);
    if (!result.ternary) {
      return tensor;
    }
    const { scale, minus, zero, plus, rounded, relativeError } = result;
    ternary.minus += minus;
    ternary.zero += zero;
    ternary.plus += plus;
    return { ...tensor, scale, minus, zero, plus, ...(rounded && { relativeError }) };
  });
  return { outfile, bytes: conversion.fileBytes, seconds, tensors, typeHistogram, ternary, warnings: plan.warnings };
}
