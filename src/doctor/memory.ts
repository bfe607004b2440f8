// Memory: what there is, what this process may take, and whether the model fits.

import { totalmem } from "node:os";
import { openGguf } from "../gguf/gguf.js";
import { availableMemory } from "../native/machine.js";
import { type MemoryPlan, planMemory } from "../serve/plan.js";
import { readCgroup } from "./cgroup.js";
import { type Advice, type Context, type Finding, findingOf, gigabytes } from "./check.js";
import { fieldOf, type SystemFiles } from "./system-files.js";

export interface MemoryFacts {
  totalBytes: number;
  /** What can be taken without swapping; the limit of the cgroup counts. null: not told. */
  availableBytes: number | null;
  cgroupLimitBytes: number | null;
  cgroupUsedBytes: number | null;
  swapBytes: number | null;
  swapUsedBytes: number | null;
  pageBytes: number | null;
  /** Transparent huge pages: "always", "madvise", "never". */
  hugePages: string | null;
  /** null where the file describes no model, or there is no native part. */
  model: ModelMemory | null;
}

export interface ModelMemory {
  weightBytes: number;
  /** Of a step, of the tokenizer and of the program itself. */
  fixedBytes: number;
  /** Keys and values of one context of so many tokens. */
  contextSize: number;
  cacheBytes: number;
  totalBytes: number;
  fits: boolean;
}

const usualContext = 2048; // of a session without a size

export function checkMemory(context: Context): Finding<MemoryFacts> {
  const { files } = context;
  const group = readCgroup(files);
  const info = files.read("/proc/meminfo");
  const limit = group?.memoryLimit ?? null;
  const room = limit === null ? Number.POSITIVE_INFINITY : Math.max(0, limit - (group?.memoryUsed ?? 0));
  const swap = kibibytes(info, "SwapTotal");
  const available = Math.min(availableMemory() || Number.POSITIVE_INFINITY, room); // 0 where /proc is missing
  const facts: MemoryFacts = {
    totalBytes: totalmem(),
    availableBytes: Number.isFinite(available) ? available : null,
    cgroupLimitBytes: limit !== null && limit < totalmem() ? limit : null,
    cgroupUsedBytes: group?.memoryUsed ?? null,
    swapBytes: swap,
    swapUsedBytes: swap === null ? null : swap - (kibibytes(info, "SwapFree") ?? 0),
    pageBytes: readPageSize(files),
    hugePages: /\[(\w+)\]/.exec(files.read("/sys/kernel/mm/transparent_hugepage/enabled") ?? "")?.[1] ?? null,
    model: null,
  };
  facts.model = planModel(context, facts);
  return findingOf(facts, [...adviseFit(facts), ...adviseSystem(facts, context.platform)]);
}

function kibibytes(info: string | undefined, name: string): number | null {
  const match = /^(\d+) kB$/.exec(fieldOf(info, name) ?? "");
  return match === null ? null : Number(match[1]) * 1024;
}

/** Of the vector that the kernel hands to every program: pairs of words, of which 6 is the size of a page. */
function readPageSize(files: SystemFiles): number | null {
  const vector = files.readBytes("/proc/self/auxv");
  for (let at = 0; vector !== undefined && at + 16 <= vector.length; at += 16) {
    if (vector.readBigUInt64LE(at) === 6n) {
      return Number(vector.readBigUInt64LE(at + 8));
    }
  }
  return null;
}

function planModel({ native, model }: Context, { availableBytes }: MemoryFacts): ModelMemory | null {
  if (native instanceof Error) {
    return null;
  }
  let plan: MemoryPlan;
  try {
    const gguf = openGguf(model);
    const trained = planMemory(gguf, { memoryBytes: Number.MAX_SAFE_INTEGER, parallel: 1 }).trainedContext;
    const contextSize = Math.min(usualContext, trained);
    plan = planMemory(gguf, { memoryBytes: Number.MAX_SAFE_INTEGER, contextSize, parallel: 1 });
  } catch {
    return null; // the check of the model says why
  }
  const { weightBytes, fixedBytes, chosen } = plan;
  return chosen === undefined
    ? null
    : {
        ...{ weightBytes, fixedBytes, contextSize: chosen.contextSize, cacheBytes: chosen.cacheBytes },
        ...{ totalBytes: chosen.totalBytes, fits: availableBytes === null || chosen.totalBytes <= availableBytes },
      };
}

function adviseFit({ model, totalBytes, availableBytes, cgroupLimitBytes, swapBytes }: MemoryFacts): Advice[] {
  if (model === null || model.fits || availableBytes === null) {
    return [];
  }
  const most = Math.min(totalBytes, cgroupLimitBytes ?? totalBytes);
  const what = `the model takes ${gigabytes(model.totalBytes)} with ${model.contextSize} tokens of context, and ${gigabytes(availableBytes)} are free`;
  const next = "bitnet plan -m MODEL shows what fits: a smaller -c, --cache-type q8, a smaller head";
  if (model.totalBytes > most + (swapBytes ?? 0)) {
    return [{ status: "problem", what: `${what}, of ${gigabytes(most)}`, next }];
  }
  return [
    { status: "warning", what, next: model.totalBytes > most ? next : "end other programs, or use a smaller -c" },
  ];
}

function adviseSystem({ hugePages, swapUsedBytes, swapBytes }: MemoryFacts, platform: NodeJS.Platform): Advice[] {
  const advice: Advice[] = [];
  if (hugePages === "never" && platform === "linux") {
    advice.push({
      status: "note",
      what: "transparent huge pages are off: large weights stay in pages of the file, which are slower to read",
      next: "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
    });
  }
  if (swapBytes !== null && swapUsedBytes !== null && swapUsedBytes > 0.5 * swapBytes && swapBytes > 0) {
    advice.push({
      status: "note",
      what: `${gigabytes(swapUsedBytes)} of ${gigabytes(swapBytes)} of swap are in use: memory has been short`,
    });
  }
  return advice;
}
