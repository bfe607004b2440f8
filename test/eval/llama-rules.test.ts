// Choices by the rules of llama.cpp's perplexity tool, on the same questions as its own files hold.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../../src/engine/model.js";
import type { EvaluateTasksOptions } from "../../src/eval/options.js";
import { evaluateTasks } from "../../src/eval/run-tasks.js";
import { root, tinyModel } from "../support/fixtures.js";

const folder = join(root, "test", "fixtures", "eval");
const golden = JSON.parse(readFileSync(join(folder, "choice.json"), "utf8"));

let model: Model;
beforeAll(async () => {
  model = await loadModel(tinyModel);
});
afterAll(() => model.close());

function evaluate(task: string, file: string, options: Partial<EvaluateTasksOptions> = {}) {
  const data = { [task]: join(folder, "tasks", `${file}.jsonl`) };
  return evaluateTasks({
    model,
    tasks: [task],
    data,
    rules: "llama.cpp",
    contextSize: 512,
    cacheDir: false,
    ...options,
  });
}

/** The mean log-probabilities of the choices of each question. */
async function meansOf(task: string, file: string): Promise<number[][]> {
  const { samples } = await evaluate(task, file);
  return (samples[task] ?? []).map(({ resps, bitnet }) =>
    resps.map(([response], place) => {
      const [sum = 0] = response as [number];
      return sum / (bitnet.continuations[place]?.length ?? 0);
    }),
  );
}

/** 0.05 and 1.5 % of the size, as implementations of the network differ. */
function expectClose(ours: readonly number[][], theirs: readonly number[][]): void {
  expect(ours.map(({ length }) => length)).toEqual(theirs.map(({ length }) => length));
  for (const [question, scores] of theirs.entries()) {
    for (const [choice, score] of scores.entries()) {
      const difference = Math.abs((ours[question]?.[choice] ?? Number.NaN) - score);
      expect(difference, `${question}, ${choice}`).toBeLessThan(0.05 + 0.015 * Math.abs(score));
    }
  }
}

describe("llama.cpp's rules", () => {
  it("score the endings of hellaswag after what they have in common", async () => {
    const theirs: [number, number[]][] = golden.hellaswag.reference_mean_logprobs;
    expectClose(
      await meansOf("hellaswag", "hellaswag"),
      theirs.map(([, scores]) => scores),
    );
    const { results } = await evaluate("hellaswag", "hellaswag");
    expect(results.results.hellaswag?.["acc,none"]).toBe(golden.hellaswag.peer_accuracy / 100);
    expect(Object.keys(results.results.hellaswag ?? {})).not.toContain("acc_norm,none");
    expect(results.bitnet.rules).toBe("llama.cpp");
  });

  it("score the ends of the sentences of winogrande, but for the last token", async () => {
    const theirs: [number, number][] = golden.winogrande.reference;
    expectClose(
      await meansOf("winogrande", "winogrande"),
      theirs.map(([first, second]) => [first, second]),
    );
    const { results } = await evaluate("winogrande", "winogrande");
    expect(results.results.winogrande?.["acc,none"]).toBeCloseTo(golden.winogrande.correct_peer / golden.winogrande.n);
  });

  it("score whole answers of questions of several choices", async () => {
    const theirs: [number, number[]][] = golden.multiple_choice.reference_mean_logprobs;
    expectClose(
      await meansOf("arc_challenge", "arc"),
      theirs.map(([, scores]) => scores),
    );
    const { results } = await evaluate("arc_challenge", "arc");
    expect(results.results.arc_challenge).toMatchObject({ "acc,none": 0.3 }); // 30.0000 +/- 15.2753
    expect(results.results.arc_challenge?.["acc_stderr,none"]).toBeCloseTo(0.152753, 6);
  });

  it("are refused where llama.cpp has none, and with shots", async () => {
    await expect(evaluate("truthfulqa_mc2", "truthfulqa")).rejects.toMatchObject({ code: "USAGE" });
    await expect(evaluate("hellaswag", "hellaswag", { shots: 1 })).rejects.toThrow("neither shots nor chats");
  });

  it("tell how large a context a question needs that does not fit", async () => {
    await expect(evaluate("hellaswag", "hellaswag", { contextSize: 16 })).rejects.toMatchObject({
      code: "USAGE",
      message: expect.stringMatching(/needs \d+ tokens, the context has 16/),
    });
  });
});
