// The roofline: what a pass would take if the machine did nothing but read its weights or multiply them.

import { loadAddon, type NativeModelCost } from "../native/addon.js";
import { availableMemory } from "../native/machine.js";
import { convertingAsync } from "../system/errors.js";

/** Measured in the same run, with the kernels and threads that the results are for. */
export interface Limits {
  kernel: string;
  threads: number;
  readBandwidth: number; // bytes per second
  int8Peak: number; // operations per second
}

export interface Work {
  bytes: number; // read from memory
  operations: number; // in the ternary matrices
}

const wantedBytes = 2 ** 30; // beyond all caches of today's machines
const measureSeconds = 0.5;

export async function measureLimits(kernel: string, threads: number, seconds = measureSeconds): Promise<Limits> {
  const bytes = Math.floor(Math.max(2 ** 20, Math.min(wantedBytes, availableMemory() / 4)));
  const limits = await convertingAsync(() => loadAddon().measureLimits({ kernel, threads, bytes, seconds }));
  return { kernel, threads, ...limits };
}

/** The higher of both: what else runs on the machine only makes a limit look lower. */
export function higherLimits(a: Limits, b: Limits): Limits {
  return {
    ...a,
    readBandwidth: Math.max(a.readBandwidth, b.readBandwidth),
    int8Peak: Math.max(a.int8Peak, b.int8Peak),
  };
}

export interface PassShape {
  prompt: number;
  generate: number;
  depth: number;
}

/** The work of each part of a pass that cannot overlap with the others: batches of the prompt, decoded tokens. */
export function listWork(cost: NativeModelCost, { prompt, generate, depth }: PassShape): Work[] {
  const parts: Work[] = [];
  for (let first = 0; first < prompt; first += cost.batchTokens) {
    const tokens = Math.min(cost.batchTokens, prompt - first);
    const isLast = first + tokens === prompt;
    parts.push({
      bytes: cost.weightBytes + (isLast ? cost.headBytes : 0) + (depth + first + tokens) * cost.kvBytes,
      operations: tokens * cost.ternaryOperations,
    });
  }
  for (let i = 0; i < generate; i++) {
    parts.push({
      bytes: cost.weightBytes + cost.headBytes + (depth + prompt + i + 1) * cost.kvBytes,
      operations: cost.ternaryOperations,
    });
  }
  return parts;
}

export function totalWork(parts: readonly Work[]): Work {
  return parts.reduce(
    (sum, part) => ({ bytes: sum.bytes + part.bytes, operations: sum.operations + part.operations }),
    { bytes: 0, operations: 0 },
  );
}

export type Bound = "memory" | "compute";

/** The least time in seconds that these parts can take one after the other, and what holds most of it up. */
export function limitOf(parts: readonly Work[], limits: Limits): { seconds: number; bound: Bound } {
  const seconds = { memory: 0, compute: 0 };
  for (const { bytes, operations } of parts) {
    const memory = bytes / limits.readBandwidth;
    const compute = operations / limits.int8Peak;
    seconds[memory >= compute ? "memory" : "compute"] += Math.max(memory, compute);
  }
  return { seconds: seconds.memory + seconds.compute, bound: seconds.memory >= seconds.compute ? "memory" : "compute" };
}
