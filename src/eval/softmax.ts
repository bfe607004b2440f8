// Log-probabilities from logits: logit - most - ln(sum), with the most as float32 and the sum as float64, as the core has it.

/** What turns the logits of one place into log-probabilities: log p = logit - most - logSum. */
export interface Normalizer {
  most: number;
  least: number;
  /** The first token with the largest logit. */
  likeliest: number;
  /** ln of the sum of exp(logit - most). */
  logSum: number;
}

export function normalizerOf(logits: Float32Array): Normalizer {
  let most = Number.NEGATIVE_INFINITY;
  let least = Number.POSITIVE_INFINITY;
  let likeliest = 0;
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i] as number;
    if (logit > most) {
      most = logit;
      likeliest = i;
    }
    if (logit < least) {
      least = logit;
    }
  }
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    sum += Math.exp((logits[i] as number) - most);
  }
  return { most, least, likeliest, logSum: Math.log(sum) };
}

export function logprobOf(logits: Float32Array, id: number, { most, logSum }: Normalizer): number {
  return (logits[id] ?? Number.NaN) - most - logSum;
}
