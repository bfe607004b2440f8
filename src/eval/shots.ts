// Shots: solved questions before the question, drawn as lm-evaluation-harness draws them.

import { isDeepStrictEqual } from "node:util";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { Doc } from "./data/types.js";
import { PythonRandom } from "./python-random.js";
import type { Shots } from "./task.js";

/** Draws the shots of one document after the other: the same generator goes through all of them. */
export class ShotSampler {
  readonly #random: PythonRandom;
  readonly #pool: readonly Doc[];
  readonly #rule: Shots;
  readonly #count: number;

  constructor(pool: readonly Doc[], rule: Shots, count: number, seed: number) {
    const needed = count + (rule.draw === "random" && rule.excludesQuestion ? 1 : 0);
    if (count > 0 && pool.length < needed) {
      throw new BitnetError("USAGE", `${count} shots need ${needed} documents to draw from, there are ${pool.length}`, {
        hint: "ask for fewer with --num-fewshot, or give a folder with a train file",
      });
    }
    this.#random = new PythonRandom(seed);
    this.#pool = pool;
    this.#rule = rule;
    this.#count = count;
  }

  /** The shots of the next document. */
  draw(question: Doc): Doc[] {
    const { draw, excludesQuestion } = this.#rule;
    if (this.#count === 0) {
      return [];
    }
    if (draw === "first") {
      return this.#pool.slice(0, this.#count);
    }
    const places = this.#random.sample(this.#pool.length, this.#count + (excludesQuestion ? 1 : 0));
    const drawn = places.map((place) => at(this.#pool, place));
    const others = excludesQuestion ? drawn.filter((doc) => !isDeepStrictEqual(doc, question)) : drawn;
    return others.slice(0, this.#count);
  }
}
