// Choices by llama.cpp's rules, in its own files, against its own answers.

import { describe, expect, test } from "vitest";
import { evaluateLlamaChoices, loadModel, readLlamaTasks } from "../../src/index.js";
import { findFixture, readFixture, tinyModel } from "../support/fixtures.js";

type Row = [first: number, second: number, chosen: number, gold: number];
const golden = JSON.parse(readFixture("eval", "choice.json").toString()) as {
  winogrande: { peer: Row[]; reference: Row[]; correct_peer: number; llama_TQ2_0: { scores: Row[] } };
  hellaswag: { peer_accuracy: number; reference_mean_logprobs: [gold: number, scores: number[]][] };
  multiple_choice: { peer_running: number[]; reference_mean_logprobs: [gold: number, scores: number[]][] };
};
const file = (name: string) => readFixture("eval", `tasks/${name}`);

const tolerance = (score: number) => 0.05 + 0.015 * Math.abs(score);

function expectScores(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  for (const [i, score] of actual.entries()) {
    const peer = expected[i] ?? Number.NaN;
    expect(Math.abs(score - peer), `${score} and ${peer}`).toBeLessThanOrEqual(tolerance(peer));
  }
}

/** The likeliest option, where it is ahead by more than the tolerance. */
function clearChoice(scores: readonly number[]): number | undefined {
  const [best = 0, next = 0] = [...scores].sort((a, b) => b - a);
  return best - next > tolerance(best) ? scores.indexOf(best) : undefined;
}

describe("llama.cpp's choices", () => {
  test("of winogrande are the peer's and the reference's, with a row that the peer loses", async () => {
    await using model = await loadModel(tinyModel);
    const tasks = readLlamaTasks("winogrande", file("winogrande.csv"), "winogrande.csv");
    const result = await evaluateLlamaChoices(model, "winogrande", tasks);
    expect(result.tasks.length).toBe(10);
    for (const rows of [golden.winogrande.peer, golden.winogrande.reference]) {
      for (const [i, [first, second, , gold]] of rows.entries()) {
        const own = result.tasks[i];
        expectScores(own?.scores ?? [], [first, second]);
        expect(own?.gold).toBe(gold - 1);
        expect([undefined, own?.chosen]).toContain(clearChoice([first, second]));
      }
    }
    expect(result.accuracy).toBe(golden.winogrande.correct_peer / 10);
  });

  const ternary = findFixture("golden", "llama-TQ2_0.gguf");
  test.skipIf(ternary === undefined)("of winogrande are llama.cpp's for a TQ2_0 model", async () => {
    await using model = await loadModel(ternary ?? "");
    const tasks = readLlamaTasks("winogrande", file("winogrande.csv"), "winogrande.csv");
    const result = await evaluateLlamaChoices(model, "winogrande", tasks, { limit: 9 });
    for (const [i, [first, second]] of golden.winogrande.llama_TQ2_0.scores.entries()) {
      expectScores(result.tasks[i]?.scores ?? [], [first, second]);
    }
  });

  test("of hellaswag are the reference's", async () => {
    await using model = await loadModel(tinyModel);
    const tasks = readLlamaTasks("hellaswag", file("hellaswag.txt"), "hellaswag.txt");
    const result = await evaluateLlamaChoices(model, "hellaswag", tasks);
    expect(100 * result.accuracy).toBe(golden.hellaswag.peer_accuracy);
    for (const [i, [gold, scores]] of golden.hellaswag.reference_mean_logprobs.entries()) {
      expectScores(result.tasks[i]?.scores ?? [], scores);
      expect(result.tasks[i]?.gold).toBe(gold);
    }
    expect(result.interval.low).toBeCloseTo(0.02242, 5);
    expect(result.interval.high).toBeCloseTo(0.47089, 5);
  });

  test("of the binary format are the reference's, with the peer's running values and what chance would give", async () => {
    await using model = await loadModel(tinyModel);
    const tasks = readLlamaTasks("multiple-choice", file("arc.bin"), "arc.bin");
    const running: number[] = [];
    const result = await evaluateLlamaChoices(model, "multiple-choice", tasks, {
      onProgress: ({ accuracy }) => running.push(100 * accuracy),
    });
    for (const [i, [gold, scores]] of golden.multiple_choice.reference_mean_logprobs.entries()) {
      expectScores(result.tasks[i]?.scores ?? [], scores);
      expect(result.tasks[i]?.gold).toBe(gold);
    }
    for (const [i, value] of golden.multiple_choice.peer_running.entries()) {
      expect(running[i]).toBeCloseTo(value, 5);
    }
    expect([result.accuracy, result.error, result.chance, result.chanceError].map((x) => (100 * x).toFixed(4))).toEqual(
      ["30.0000", "15.2753", "25.6410", "14.5550"],
    );
  });

  test("take the first tasks in order, and name what a task needs that is too long", async () => {
    await using model = await loadModel(tinyModel);
    const tasks = readLlamaTasks("hellaswag", file("hellaswag.txt"), "hellaswag.txt");
    expect((await evaluateLlamaChoices(model, "hellaswag", tasks, { limit: 3 })).tasks.length).toBe(3);
    await expect(evaluateLlamaChoices(model, "hellaswag", tasks, { contextSize: 16 })).rejects.toMatchObject({
      code: "USAGE",
      message: expect.stringMatching(/^task 1 needs \d+ tokens, the context has 16$/),
    });
  });

  test("refuse files that are cut or wrong, and say where", () => {
    const refused = (kind: "hellaswag" | "winogrande" | "multiple-choice", bytes: Uint8Array, message: RegExp) =>
      expect(() => readLlamaTasks(kind, bytes, "file")).toThrow(message);
    const binary = file("arc.bin");
    for (const length of [0, 3, 4, 20, 44, 100, binary.length - 40, binary.length - 1]) {
      refused("multiple-choice", binary.subarray(0, length), /^file/);
    }
    const many = Buffer.from(binary);
    many.writeUInt32LE(0xffffffff, 0);
    refused("multiple-choice", many, /more than there can be/);
    const far = Buffer.from(binary);
    far.writeUInt32LE(0xfffffff0, 4);
    refused("multiple-choice", far, /ends within a task/);
    refused("hellaswag", Buffer.from("a\n0\nb\nc\nd\n"), /5 lines: expected 6/);
    refused("hellaswag", Buffer.from("a\n4\nb\nc\nd\ne\n"), /line 2: expected 0 to 3/);
    refused("winogrande", Buffer.from("0,no blank here,a,b,1\n"), /line 1: expected index/);
    refused("winogrande", Buffer.from('0,"a _, b",c,d,3\n'), /expected 1 or 2/);
    refused("winogrande", Buffer.from([0x66, 0xff]), /not UTF-8/);
    refused("winogrande", Buffer.from("\n"), /no tasks/);
  });
});
