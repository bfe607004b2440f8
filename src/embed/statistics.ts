// How well one list of numbers goes with another.

/** Places in rising order, from 1 on; equal numbers share the mean of their places. */
export function averageRanks(values: readonly number[]): number[] {
  const order = values.map((value, i) => ({ value, i })).sort((a, b) => a.value - b.value);
  const ranks = new Array<number>(values.length).fill(0);
  for (let begin = 0; begin < order.length; ) {
    let end = begin + 1;
    while (end < order.length && order[end]?.value === order[begin]?.value) {
      end++;
    }
    for (const { i } of order.slice(begin, end)) {
      ranks[i] = (begin + 1 + end) / 2;
    }
    begin = end;
  }
  return ranks;
}

/** Pearson's correlation; NaN where one list does not vary. */
export function pearson(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let covariance = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (const [i, x] of a.entries()) {
    const y = (b[i] ?? 0) - meanB;
    covariance += (x - meanA) * y;
    squaresA += (x - meanA) ** 2;
    squaresB += y * y;
  }
  return squaresA === 0 || squaresB === 0 ? Number.NaN : covariance / Math.sqrt(squaresA * squaresB);
}

/** Spearman's: of the ranks. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  return pearson(averageRanks(a), averageRanks(b));
}
