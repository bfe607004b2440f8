// Logits against the golden files: every case, with every kernel of this CPU, 1 and 2 threads, in one batch and token
// by token. test/fixtures/golden/README.md says how close is right.

import { describe, expect, test } from "vitest";
import { listKernels, loadModel, type Session } from "../src/model.js";
import { argmax, findFixture, readFixture, readFloats, relativeRms } from "./fixtures.js";

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

// The same weights in other layouts must give the same logits.
const sameWeights: Record<string, { file: string; kernelConfig?: string }[]> = {
  "b158-small.gguf": [
    { file: "b158-tl1.gguf", kernelConfig: findFixture("golden", "tl1-kernel_config.ini") },
    { file: "b158-tl2.gguf", kernelConfig: findFixture("golden", "tl2-kernel_config.ini") },
  ],
};

const models = [...new Set(cases.map((golden) => golden.model))].flatMap((original) =>
  [{ file: original }, ...(sameWeights[original] ?? [])].map((variant) => ({
    kernelConfig: undefined,
    ...variant,
    original,
  })),
);

describe.each(kernels)("with the $name kernels", ({ name: kernel }) => {
  describe.each([1, 2])("and %i threads", (threads) => {
    for (const { file, kernelConfig, original } of models) {
      const path = findFixture("golden", file);
      test.skipIf(path === undefined)(`${file} gives the golden logits and continuations`, async () => {
        await using model = await loadModel(path ?? "", { kernel, threads, kernelConfig });
        expect(model.info.kernel).toBe(kernel);
        for (const golden of cases.filter((candidate) => candidate.model === original)) {
          const expected = readFloats(findFixture("golden", golden.logits) ?? golden.logits);
          await using session = model.createSession({ contextSize: 128 });
          compare(await computeBatch(session, golden.ids), expected, golden, `${golden.logits} in one batch`);
          compare(
            await computeOneByOne(model.createSession({ contextSize: 128 }), golden.ids),
            expected,
            golden,
            `${golden.logits} token by token`,
          );
          await compareContinuation(session, golden);
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
  session.close();
  return rows;
}

function compare(rows: Float32Array[], expected: Float32Array, golden: GoldenCase, what: string): void {
  const bound = golden.kind === "exact" ? exactBound : promptBound;
  const width = expected.length / golden.ids.length;
  for (const [position, row] of rows.entries()) {
    const right = expected.subarray(position * width, (position + 1) * width);
    expect(relativeRms(row, right), `${what}, position ${position}`).toBeLessThanOrEqual(bound);
    if (marginOf(right) > clearMargin) {
      expect(argmax(row), `${what}, best token at position ${position}`).toBe(argmax(right));
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
