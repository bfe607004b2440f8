// Logits against the golden files: every case, with every kernel of this CPU, 1 and 2 threads, in one batch and token
// by token. test/fixtures/golden/README.md says how close is right.

import { describe, expect, test } from "vitest";
import { listKernels, loadModel, type Session } from "../../src/engine/model.js";
import { argmax, findFixture, readFixture, readFloats, relativeRms } from "../support/fixtures.js";

interface GoldenCase {
  model: string;
  ids: number[];
  logits: string;
  kind: "exact" | "bound";
  greedy?: number[];
  margins?: number[];
}

const exactBound = 5e-4;
const promptBound = 0.08;
const clearMargin = 0.5;

const cases = JSON.parse(readFixture("golden", "golden.json").toString()) as GoldenCase[];
const kernels = listKernels().filter((kernel) => kernel.supported);

interface Variant {
  file: string;
  kernelConfig?: string;
  /** How far the logits of one-token prompts may be from the golden ones; nothing else is compared then. */
  noise?: number;
}

// The same weights in other layouts must give the same logits. Where the embedding and the head are quantized too, or
// the weights are floats (whose activations stay floats), the difference is that of the format; a wrong layout gives
// 0.5 and more.
const variants: Record<string, Variant[]> = {
  "b158-small.gguf": [
    { file: "b158-tl1.gguf", kernelConfig: findFixture("golden", "tl1-kernel_config.ini") },
    { file: "b158-tl2.gguf", kernelConfig: findFixture("golden", "tl2-kernel_config.ini") },
    { file: "b158-f32.gguf", noise: 0.08 },
  ],
  "llama-small.gguf": [
    { file: "llama-TQ1_0.gguf" },
    { file: "llama-TQ2_0.gguf" },
    { file: "llama-TQ2_0-q8_0.gguf", noise: 0.06 },
    { file: "llama-TQ2_0-q6_k.gguf", noise: 0.08 },
    { file: "llama-TQ2_0-q5_0.gguf", noise: 0.12 },
    { file: "llama-TQ2_0-q4_0.gguf", noise: 0.22 },
    { file: "llama-f32.gguf", noise: 0.08 },
  ],
};

const models = [...new Set(cases.map((golden) => golden.model))].flatMap((original) =>
  [{ file: original }, ...(variants[original] ?? [])].map((variant) => ({ variant, original })),
);

/** The cases for a file, with those logits that are here. */
function findCases(original: string, variant: Variant): { golden: GoldenCase; expected: Float32Array }[] {
  const fitting = cases.filter(
    ({ model, kind }) => model === original && (variant.noise === undefined || kind === "exact"),
  );
  return fitting.flatMap((golden) => {
    const path = findFixture("golden", golden.logits);
    return path === undefined ? [] : [{ golden, expected: readFloats(path) }];
  });
}

describe.each(kernels)("with the $name kernels", ({ name: kernel }) => {
  describe.each([1, 2])("and %i threads", (threads) => {
    for (const { variant, original } of models) {
      const path = findFixture("golden", variant.file);
      const found = findCases(original, variant);
      test.skipIf(path === undefined || found.length === 0)(`${variant.file} gives the golden logits`, async () => {
        await using model = await loadModel(path ?? "", { kernel, threads, kernelConfig: variant.kernelConfig });
        expect(model.info.kernel).toBe(kernel);
        for (const { golden, expected } of found) {
          await using session = model.createSession({ contextSize: 128 });
          await using other = model.createSession({ contextSize: 128 });
          compare(await computeBatch(session, golden.ids), expected, golden, variant, "in one batch");
          compare(await computeOneByOne(other, golden.ids), expected, golden, variant, "token by token");
          if (variant.noise === undefined) {
            await compareContinuation(session, golden);
          }
        }
      });
    }
  });
});

async function computeBatch(session: Session, ids: number[]): Promise<Float32Array[]> {
  await session.prefill(ids, { logits: "all" });
  const all = session.logits();
  const width = all.length / ids.length;
  return ids.map((_, row) => all.subarray(row * width, (row + 1) * width));
}

async function computeOneByOne(session: Session, ids: number[]): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  for (let end = 1; end <= ids.length; end++) {
    expect(await session.prefill(ids.slice(0, end))).toEqual({ reused: end - 1, evaluated: 1 });
    rows.push(session.logits().slice());
  }
  return rows;
}

function compare(
  rows: Float32Array[],
  expected: Float32Array,
  golden: GoldenCase,
  variant: Variant,
  how: string,
): void {
  const bound = variant.noise ?? (golden.kind === "exact" ? exactBound : promptBound);
  const width = expected.length / golden.ids.length;
  for (const [position, row] of rows.entries()) {
    const right = expected.subarray(position * width, (position + 1) * width);
    const what = `${golden.logits} ${how}, position ${position}`;
    expect(relativeRms(row, right), what).toBeLessThanOrEqual(bound);
    if (variant.noise === undefined && marginOf(right) > clearMargin) {
      expect(argmax(row), `${what}, best token`).toBe(argmax(right));
    }
  }
}

function marginOf(logits: Float32Array): number {
  const [first = 0, second = 0] = logits.slice().sort().reverse();
  return first - second;
}

async function compareContinuation(session: Session, golden: GoldenCase): Promise<void> {
  const { greedy = [], margins = [] } = golden;
  const unclear = margins.findIndex((margin) => margin < clearMargin);
  const clear = greedy.slice(0, unclear < 0 ? greedy.length : unclear);
  if (clear.length > 0) {
    const { tokens } = await session.complete(golden.ids, { temperature: 0, maxTokens: clear.length });
    expect(tokens, `greedy continuation of ${golden.logits}`).toEqual(clear);
  }
}
