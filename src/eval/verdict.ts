// Whether a change cost quality, in one sentence, from a comparison of distributions on the same text.

import type { DivergenceStatistics } from "./divergence-sums.js";

export type Verdict = "same" | "no cost" | "cost" | "gain";

/** A difference of so many standard errors is taken for real. */
const realErrors = 2;
/** A share of places with the same likeliest token below which answers will often differ. */
const fewSame = 0.9;

export interface Judgement {
  verdict: Verdict;
  /** One sentence, with the statistics that it rests on. */
  sentence: string;
}

/** The statistics are those of the changed model against the one before. */
export function judgeChange(statistics: DivergenceStatistics): Judgement {
  const { lnRatio, ratio, divergence, divergencePercentiles, sameTop, scored } = statistics;
  const isSame = lnRatio.value === 0 && Math.abs(divergence.value) === 0 && sameTop.value === 1;
  if (isSame && (divergencePercentiles?.maximum ?? 0) === 0) {
    return { verdict: "same", sentence: `No: all ${scored} distributions are the same to the last bit.` };
  }
  const change = `${signed(100 * (ratio.value - 1))} % +/- ${digits(100 * ratio.error)} %`;
  const rest = `KL divergence ${digits(divergence.value)}, the same likeliest token at ${(100 * sameTop.value).toFixed(1)} %`;
  const often = sameTop.value < fewSame ? "; answers will often be other ones" : "";
  const errors = Math.abs(lnRatio.value) / lnRatio.error;
  const isReal = errors >= realErrors;
  const verdict = isReal ? (lnRatio.value > 0 ? "cost" : "gain") : "no cost";
  const answer = {
    cost: `Yes: perplexity rises by ${change}, ${errors.toFixed(1)} standard errors`,
    gain: `No: perplexity falls by ${change}, ${errors.toFixed(1)} standard errors`,
    "no cost": `None that this text can show: perplexity changes by ${change}, less than ${realErrors} standard errors`,
  }[verdict];
  return { verdict, sentence: `${answer} (${rest}${often}).` };
}

function signed(value: number): string {
  return `${value < 0 ? "-" : "+"}${digits(Math.abs(value))}`;
}

/** Two digits that mean something, without an exponent. */
function digits(value: number): string {
  if (!(value > 0)) {
    return value === 0 ? "0" : String(value);
  }
  return value.toFixed(Math.min(8, Math.max(1, 1 - Math.floor(Math.log10(value)))));
}
