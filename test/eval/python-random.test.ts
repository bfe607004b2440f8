import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { PythonRandom } from "../../src/eval/python-random.js";

interface Draws {
  seed: number;
  n: number;
  k: number;
  draws: unknown[];
}

const golden: { python_random_sample: Draws[]; python_random_choices: Draws } = JSON.parse(
  readFileSync(new URL("../fixtures/eval/extraction.json", import.meta.url), "utf8"),
);

describe("draws of Python's random", () => {
  it.each(golden.python_random_sample)("sample(range($n), $k) of seed $seed", ({ seed, n, k, draws }) => {
    const random = new PythonRandom(seed);
    expect(draws.map(() => random.sample(n, k))).toEqual(draws);
  });

  it("choices draws with replacement", () => {
    const { seed, n, k, draws } = golden.python_random_choices;
    const random = new PythonRandom(seed);
    expect(
      [draws.flat().flat().length / k].map((rounds) => Array.from({ length: rounds }, () => random.choices(n, k))),
    ).toEqual(draws);
  });

  it("seeds of more than 32 bits and negative ones are those of Python", () => {
    // python3 -c 'import random; print(random.Random(2**40 + 5).random(), random.Random(-7).random(), random.Random(7).random())'
    expect(new PythonRandom(2 ** 40 + 5).random()).toBe(0.5043802970418443);
    expect(new PythonRandom(-7).random()).toBe(new PythonRandom(7).random());
  });
});
