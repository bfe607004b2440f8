// Is a difference between two measurements more than chance? Two-sided tests.

import { meanOf } from "./metrics.js";

export interface PairedTest {
  name: "McNemar" | "t" | "normal";
  /** How likely a difference at least as large is where there is none. */
  p: number;
  /** Pairs in which only the first, or only the second, is right. */
  onlyA?: number;
  onlyB?: number;
}

export type Pair = readonly [a: number, b: number];

/** Of pairs of right (1) and wrong (0): exact, by the binomial distribution of those that differ. */
export function mcNemar(pairs: readonly Pair[]): PairedTest {
  const onlyA = pairs.filter(([a, b]) => a > b).length;
  const onlyB = pairs.filter(([a, b]) => a < b).length;
  const n = onlyA + onlyB;
  let tail = 0;
  for (let k = 0; k <= Math.min(onlyA, onlyB); k++) {
    tail += Math.exp(logChoose(n, k) - n * Math.LN2);
  }
  return { name: "McNemar", p: Math.min(2 * tail, 1), onlyA, onlyB };
}

/** Student's, of the differences of pairs. */
export function pairedT(pairs: readonly Pair[]): PairedTest {
  const { value, error = 0 } = meanOf(pairs.map(([a, b]) => b - a));
  if (error === 0) {
    return { name: "t", p: value === 0 ? 1 : pairs.length < 2 ? 1 : 0 };
  }
  const t = value / error;
  const freedom = pairs.length - 1;
  return { name: "t", p: incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5) };
}

/** Of two independent values with their standard errors. */
export function normalTest(difference: number, errorA: number, errorB: number): PairedTest {
  const error = Math.hypot(errorA, errorB);
  if (error === 0) {
    return { name: "normal", p: difference === 0 ? 1 : 0 };
  }
  return { name: "normal", p: normalTails(Math.abs(difference) / error) };
}

// Chebyshev's coefficients of erfc, from Numerical Recipes: relative errors below 1.2e-7.
const erfcTerms = [
  -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
  0.17087277,
];

/** The probability beyond -z and z. */
function normalTails(z: number): number {
  const x = z / Math.SQRT2;
  const t = 1 / (1 + x / 2);
  return t * Math.exp(erfcTerms.reduceRight((sum, term) => sum * t + term, 0) - x * x);
}

function logChoose(n: number, k: number): number {
  return logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1);
}

// Lanczos' approximation with g = 7: 15 digits.
const lanczos = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

function logGamma(x: number): number {
  const [first = 0, ...rest] = lanczos;
  const sum = rest.reduce((total, factor, place) => total + factor / (x + place), first);
  const base = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(base) - base + Math.log(sum);
}

const tiny = 1e-300;
const enough = 1e-15;
const mostSteps = 100_000;

/** The regularized incomplete beta function I_x(a, b), by its continued fraction (Lentz's method). */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0 || x >= 1) {
    return x <= 0 ? 0 : 1;
  }
  if (x > (a + 1) / (a + b + 2)) {
    return 1 - incompleteBeta(1 - x, b, a); // converges there
  }
  const front = logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x);
  let c = 1;
  let d = 1 / notZero(1 - ((a + b) * x) / (a + 1));
  let fraction = d;
  for (let m = 1; m < mostSteps; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / notZero(1 + even * d);
    c = notZero(1 + even / c);
    fraction *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / notZero(1 + odd * d);
    c = notZero(1 + odd / c);
    fraction *= d * c;
    if (Math.abs(d * c - 1) < enough) {
      break;
    }
  }
  return (Math.exp(front) * fraction) / a;
}

function notZero(value: number): number {
  return Math.abs(value) < tiny ? tiny : value;
}
