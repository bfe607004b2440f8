// Lengths, cosines, correlations, and what stands before a text.

import { expect, test } from "vitest";
import { choosePrefix, promptsOf } from "../../src/embed/prompts.js";
import { averageRanks, pearson, spearman } from "../../src/embed/statistics.js";
import { cosine, normalizeVector } from "../../src/embed/vectors.js";

const normalized = (values: number[], kind: number) => Array.from(normalizeVector(Float32Array.from(values), kind));

test("vectors are brought to the length of each norm, and zeros stay zeros", () => {
  expect(normalized([3, -4], -1)).toEqual([3, -4]);
  expect(normalized([1, -2], 0)).toEqual([16380, -32760]);
  expect(normalized([1, -3], 1)).toEqual([0.25, -0.75]);
  expect(normalized([3, -4], 2)).toEqual([Math.fround(0.6), Math.fround(-0.8)]);
  const [x = 0, y = 0] = normalized([1, 2], 3);
  expect(Math.abs(x) ** 3 + Math.abs(y) ** 3).toBeCloseTo(1, 6);
  for (const kind of [-1, 0, 1, 2, 3]) {
    expect(normalized([0, 0], kind)).toEqual([0, 0]);
  }
});

test("a cosine is one of directions, also of vectors of zeros", () => {
  expect(cosine([1, 2], [2, 4])).toBeCloseTo(1, 12);
  expect(cosine(Float32Array.of(1, 0), Int8Array.of(0, 5))).toBe(0);
  expect(cosine([1, 1], [-1, -1])).toBeCloseTo(-1, 12);
  expect([cosine([0, 0], [0, 0]), cosine([0, 0], [1, 0])]).toEqual([1, 0]);
  expect(() => cosine([1], [1, 2])).toThrow(/got 1 and 2/);
});

test("correlations are those of scipy, with the mean rank for equal numbers", () => {
  expect(averageRanks([10, 20, 10, 30, 20, 20])).toEqual([1.5, 4, 1.5, 6, 4, 4]);
  const a = [0.1, 0.4, 0.35, 0.8, 0.8, 0.2];
  const b = [0, 2, 1.5, 5, 4, 1.5];
  // scipy.stats.spearmanr(a, b), pearsonr(a, b)
  expect(spearman(a, b)).toBeCloseTo(0.9705882352941178, 12);
  expect(pearson(a, b)).toBeCloseTo(0.9683690117615611, 12);
  expect(spearman([1, 2, 3], [30, 20, 10])).toBeCloseTo(-1, 12);
  expect(pearson([1, 1, 1], [1, 2, 3])).toBeNaN();
});

test("prompts come from the file by name, from a prefix, or from an instruction as its teachers write it", () => {
  const prompts = promptsOf({ "bitnet.prompt.query": "query: ", "bitnet.prompt.passage": "", "bitnet.other": "x" });
  expect([...prompts]).toEqual([
    ["query", "query: "],
    ["passage", ""],
  ]);
  expect(choosePrefix({}, prompts)).toBe("");
  expect(choosePrefix({ promptName: "query" }, prompts)).toBe("query: ");
  expect(choosePrefix({ prefix: "search: " }, prompts)).toBe("search: ");
  expect(choosePrefix({ instruction: "Find it" }, prompts)).toBe("Instruct: Find it\nQuery:");
  expect(() => choosePrefix({ promptName: "qery" }, prompts)).toThrow(
    expect.objectContaining({ code: "USAGE", hint: "did you mean query?" }),
  );
  expect(() => choosePrefix({ promptName: "query" }, new Map())).toThrow(/has no prompt "query"/);
  expect(() => choosePrefix({ promptName: "query", prefix: "a" }, prompts)).toThrow(/not several/);
});
