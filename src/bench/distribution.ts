// Values of which there may be any number: quantiles of all of them, or of an even sample where they are too many to keep.

import { at } from "../system/at.js";
import { Random } from "./random.js";

const mostKept = 100_000; // 0.8 MB; the error of a sampled p99 is below a tenth of a percent of all values

export interface Quantiles {
  count: number;
  mean: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

export class Distribution {
  readonly #kept: number[] = [];
  readonly #random = new Random(1);
  readonly #mostKept: number;
  #count = 0;
  #sum = 0;
  #max = Number.NEGATIVE_INFINITY;

  constructor(most = mostKept) {
    this.#mostKept = most;
  }

  add(value: number): void {
    this.#count++;
    this.#sum += value;
    this.#max = Math.max(this.#max, value);
    if (this.#kept.length < this.#mostKept) {
      this.#kept.push(value);
      return;
    }
    // Vitter's algorithm R: each value so far is kept with the same chance.
    const place = Math.floor(this.#random.next() * this.#count);
    if (place < this.#mostKept) {
      this.#kept[place] = value;
    }
  }

  /** Undefined without values. */
  quantiles(): Quantiles | undefined {
    if (this.#count === 0) {
      return undefined;
    }
    const sorted = [...this.#kept].sort((a, b) => a - b);
    const [p50, p95, p99] = [quantileOf(sorted, 0.5), quantileOf(sorted, 0.95), quantileOf(sorted, 0.99)];
    return { count: this.#count, mean: this.#sum / this.#count, p50, p95, p99, max: this.#max };
  }
}

/** The least value that at least `share` of them do not exceed. */
export function quantileOf(sorted: readonly number[], share: number): number {
  return at(sorted, Math.max(0, Math.ceil(share * sorted.length) - 1));
}
