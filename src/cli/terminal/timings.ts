// How long texts took: the one place that says what a speed counts.

import type { GenerateTimings } from "../../engine/generate.js";
import { formatSpeed } from "./format.js";

/**
 * Lines about one text or the sum of several. Each speed is evaluated tokens over the time of their evaluation: of the
 * prompt those that were not in the cache, of the text those that were evaluated to get the next one. The first token
 * of a text comes from the evaluation of its prompt and its last is never evaluated, so n tokens of text cost n - 1.
 */
export function describeTimings(timings: GenerateTimings): string[] {
  const { promptTokens, reusedTokens, promptMs, decodedTokens, generateMs } = timings;
  const reused = reusedTokens > 0 ? `, ${reusedTokens} reused` : "";
  return [
    ...(promptTokens > 0 ? [`prefill: ${formatSpeed(promptTokens - reusedTokens, promptMs)}${reused}`] : []),
    ...(decodedTokens > 0 ? [`decode:  ${formatSpeed(decodedTokens, generateMs)}`] : []),
  ];
}
