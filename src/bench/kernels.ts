// The ternary kernels alone, on random weights: every one is checked against scalar before it is timed.

import { loadAddon, type WeightLayout } from "../native/addon.js";
import { availableMemory } from "../native/machine.js";
import { convertingAsync, throwIfAborted } from "../system/errors.js";
import { type Bound, higherLimits, type Limits, limitOf, measureLimits } from "./limits.js";
import { type Summary, summarize } from "./stats.js";

export interface Shape {
  rows: number;
  cols: number;
}

/** Matrices of public models and of bitnet.cpp's test_gemm_kernel.sh ("gemm"), [rows, columns]. */
export const shapeSets: Readonly<Record<string, readonly (readonly [number, number])[]>> = {
  gemm: [
    [2048, 2048],
    [8192, 2048],
    [2048, 8192],
  ],
  "2B": [
    [640, 2560],
    [2560, 2560],
    [6912, 2560],
    [2560, 6912],
  ],
  "3B": [
    [3200, 3200],
    [8640, 3200],
    [3200, 8640],
  ],
  "8B": [
    [1024, 4096],
    [4096, 4096],
    [14336, 4096],
    [4096, 14336],
  ],
};

export interface KernelPlan {
  kernels: string[];
  layouts: WeightLayout[];
  shapes: Shape[];
  batches: number[];
  threads: number[];
  repetitions: number;
  /** Multiply the same weights again and again instead of copies that come from memory. */
  cached: boolean;
  seconds?: number; // of one repetition, about
  signal?: AbortSignal;
  onProgress?: (progress: { done: number; total: number; what: string }) => void;
}

export interface KernelResult extends Shape {
  kernel: string;
  layout: WeightLayout;
  tokens: number;
  threads: number;
  seconds: Summary & { samples: number[] }; // of one product
  bytes: number; // of the weights
  operations: number;
  /** Of the median. */
  limit?: { percent: number; bound: Bound };
}

export interface KernelReport {
  cached: boolean;
  results: KernelResult[];
  limits: Limits[];
}

const copiesBytes = 2 ** 28; // beyond the caches of most machines

export async function benchKernels(plan: KernelPlan): Promise<KernelReport> {
  const report: KernelReport = { cached: plan.cached, results: [], limits: [] };
  const cases = plan.layouts.flatMap((layout) =>
    plan.shapes.flatMap((shape) => plan.batches.map((tokens) => ({ layout, shape, tokens }))),
  );
  const total = plan.kernels.length * plan.threads.length * cases.length;
  const progress = (what: string) => plan.onProgress?.({ done: report.results.length, total, what });
  for (const threads of plan.threads) {
    for (const kernel of plan.kernels) {
      const measure = () => {
        progress(`limits of ${kernel}`);
        throwIfAborted(plan.signal);
        return measureLimits(kernel, threads);
      };
      const before = await measure();
      for (const { layout, shape, tokens } of cases) {
        progress(`${kernel}, ${layout}, ${shape.rows}x${shape.cols}, batch ${tokens}`);
        throwIfAborted(plan.signal);
        report.results.push(await timeKernel(plan, { kernel, threads, layout, ...shape, tokens }));
      }
      // The machine may have been busy with something else at first.
      report.limits.push(higherLimits(before, await measure()));
    }
    shareBandwidth(report.limits.filter((limits) => limits.threads === threads));
  }
  for (const result of report.results) {
    addLimit(result, report);
  }
  return report;
}

/** Memory is as fast for every kernel. */
function shareBandwidth(limits: readonly Limits[]): void {
  const readBandwidth = Math.max(...limits.map((entry) => entry.readBandwidth));
  for (const entry of limits) {
    entry.readBandwidth = readBandwidth;
  }
}

function addLimit(result: KernelResult, { limits, cached }: KernelReport): void {
  const own = limits.find(({ kernel, threads }) => kernel === result.kernel && threads === result.threads);
  if (own !== undefined) {
    const work = { bytes: cached ? 0 : result.bytes, operations: result.operations };
    const { seconds, bound } = limitOf([work], own);
    result.limit = { percent: (100 * seconds) / result.seconds.median, bound };
  }
}

type Case = Pick<KernelResult, "kernel" | "threads" | "layout" | "rows" | "cols" | "tokens">;

async function timeKernel(plan: KernelPlan, test: Case): Promise<KernelResult> {
  const bytes = plan.cached ? 0 : Math.floor(Math.min(copiesBytes, availableMemory() / 4));
  const { repetitions, seconds = 0.02 } = plan;
  const times = await convertingAsync(() => loadAddon().timeKernel({ ...test, bytes, repetitions, seconds }));
  return {
    ...test,
    seconds: { ...summarize(times.seconds), samples: times.seconds },
    bytes: times.weightBytes,
    operations: times.operations,
  };
}
