/**
 * The chance that one of k answers, drawn without return from `answers` of which `passed` are right, is right:
 * 1 - C(answers - passed, k) / C(answers, k), as a product that does not overflow.
 */
export function passAtK(answers: number, passed: number, k: number): number {
  if (answers - passed < k) {
    return 1;
  }
  let noneRight = 1;
  for (let i = answers - passed + 1; i <= answers; i++) {
    noneRight *= 1 - k / i;
  }
  return 1 - noneRight;
}
