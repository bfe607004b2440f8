// Means with their errors, percentiles and intervals, as llama.cpp computes them.

/** A mean, and by how much it may be off: one standard deviation. */
export interface Estimate {
  value: number;
  error: number;
}

/** Sums of a quantity over many terms. */
export class Moments {
  count = 0;
  sum = 0;
  squares = 0;

  add(value: number): void {
    this.count++;
    this.sum += value;
    this.squares += value * value;
  }

  get mean(): number {
    return this.sum / this.count;
  }

  /** E x^2 - (E x)^2. */
  get variance(): number {
    return this.squares / this.count - this.mean ** 2;
  }

  /** Of the mean; 0 where too few terms tell nothing about it. */
  get error(): number {
    return this.count > fewTerms ? Math.sqrt(Math.max(0, this.variance) / (this.count - 1)) : 0;
  }

  estimate(): Estimate {
    return { value: this.mean, error: this.error };
  }
}

const fewTerms = 10;

/** Of the means of two quantities of the same terms, from the sum of their products. */
export function covarianceOfMeans(a: Moments, b: Moments, products: number): number {
  return a.count > fewTerms ? (products / a.count - a.mean * b.mean) / (a.count - 1) : 0;
}

/** Linear between ranks; `sorted` ascends and is not empty. */
export function percentile(sorted: Float64Array, fraction: number): number {
  const at = fraction * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below] ?? Number.NaN;
  const high = sorted[below + 1] ?? low;
  return low + (at - below) * (high - low);
}

/** Of a share of n trials: sqrt(p(1-p)/(n-1)), 0 for one trial. */
export function shareError(share: number, n: number): number {
  return n > 1 ? Math.sqrt((share * (1 - share)) / (n - 1)) : 0;
}

/** Wilson's interval of 95 % for `hits` of n trials. */
export function wilsonInterval(hits: number, n: number): { low: number; high: number } {
  const z = 1.95996398454; // as llama.cpp has it
  const share = hits / n;
  const center = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return { low: center - half, high: center + half };
}
