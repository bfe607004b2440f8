// The statistics of a comparison of distributions, from what was found at each place.

import { covarianceOfMeans, type Estimate, Moments, percentile, shareError } from "./statistics.js";

export interface Place {
  /** sum of b (log b - log q). */
  divergence: number;
  /** -log p of the text's own token, of the model and of the base. */
  nll: number;
  baseNll: number;
  /** Both find the same token likeliest. */
  isSameTop: boolean;
}

export interface Percentiles {
  maximum: number;
  p999: number;
  p99: number;
  p95: number;
  p90: number;
  median: number;
  p10: number;
  p5: number;
  p1: number;
  minimum: number;
}

export interface DivergenceStatistics {
  /** Scored places. */
  scored: number;
  perplexity: Estimate;
  basePerplexity: Estimate;
  /** Of the two -log p, -1 to 1; NaN where one of them does not vary. */
  correlation: number;
  /** ln of perplexity over basePerplexity. */
  lnRatio: Estimate;
  ratio: Estimate;
  difference: Estimate;
  divergence: Estimate;
  /** Change of the probability of the text's own token, 0 to 1. */
  change: Estimate;
  changeRms: Estimate;
  /** Share of the places at which both find the same token likeliest. */
  sameTop: Estimate;
  /** With at least 100 places. */
  divergencePercentiles?: Percentiles;
  changePercentiles?: Percentiles;
}

const leastForPercentiles = 100;

export class DivergenceSums {
  readonly #divergence = new Moments();
  readonly #own = new Moments();
  readonly #base = new Moments();
  readonly #change = new Moments();
  readonly #squaredChange = new Moments();
  readonly #divergences: number[] = [];
  readonly #changes: number[] = [];
  #products = 0;
  #sameTop = 0;

  add({ divergence, nll, baseNll, isSameTop }: Place): void {
    const change = Math.exp(-nll) - Math.exp(-baseNll);
    this.#divergence.add(divergence);
    this.#own.add(nll);
    this.#base.add(baseNll);
    this.#change.add(change);
    this.#squaredChange.add(change * change);
    this.#products += nll * baseNll;
    this.#sameTop += isSameTop ? 1 : 0;
    this.#divergences.push(divergence);
    this.#changes.push(change);
  }

  /** Percentiles are sorted out of all places: not after every window. */
  statistics({ percentiles = true }: { percentiles?: boolean } = {}): DivergenceStatistics {
    const n = this.#divergence.count;
    const perplexity = perplexityOf(this.#own);
    const basePerplexity = perplexityOf(this.#base);
    const covariance = covarianceOfMeans(this.#own, this.#base, this.#products);
    const [eq, eb] = [this.#own.error, this.#base.error];
    const lnRatio = { value: this.#own.mean - this.#base.mean, error: root(eq ** 2 + eb ** 2 - 2 * covariance) };
    const ratio = Math.exp(lnRatio.value);
    const [vq, vb] = [perplexity.value, basePerplexity.value];
    const rms = Math.sqrt(this.#squaredChange.mean);
    const share = this.#sameTop / n;
    const hasPercentiles = percentiles && n >= leastForPercentiles;
    return {
      scored: n,
      perplexity,
      basePerplexity,
      correlation: covariance / (eq * eb),
      lnRatio,
      ratio: { value: ratio, error: ratio * lnRatio.error },
      difference: {
        value: vq - vb,
        error: root(perplexity.error ** 2 + basePerplexity.error ** 2 - 2 * vq * vb * covariance),
      },
      divergence: this.#divergence.estimate(),
      change: this.#change.estimate(),
      changeRms: { value: rms, error: rms > 0 ? (0.5 / rms) * this.#squaredChange.error : 0 },
      sameTop: { value: share, error: shareError(share, n) },
      divergencePercentiles: hasPercentiles ? percentilesOf(this.#divergences) : undefined,
      changePercentiles: hasPercentiles ? percentilesOf(this.#changes) : undefined,
    };
  }
}

/** Rounding may make a variance of equal values negative. */
function root(square: number): number {
  return Math.sqrt(Math.max(0, square));
}

function perplexityOf(nll: Moments): Estimate {
  const value = Math.exp(nll.mean);
  return { value, error: value * nll.error };
}

function percentilesOf(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (fraction: number) => percentile(sorted, fraction);
  return {
    maximum: at(1),
    p999: at(0.999),
    p99: at(0.99),
    p95: at(0.95),
    p90: at(0.9),
    median: at(0.5),
    p10: at(0.1),
    p5: at(0.05),
    p1: at(0.01),
    minimum: at(0),
  };
}
