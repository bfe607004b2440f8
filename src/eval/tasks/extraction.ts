// What counts of a generated answer, as lm-evaluation-harness takes it: cutting at stops, filters, comparing.

import { strip } from "../python-text.js";

/** What a filter gives that found nothing. */
export const INVALID = "[invalid]";

/** The text before the first of the stops, wherever they are; empty stops are none. */
export function cutAtStops(text: string, stops: readonly string[]): string {
  return stops.reduce((rest, stop) => (stop === "" ? rest : (rest.split(stop, 1)[0] ?? "")), text);
}

export interface RegexFilter {
  /** Global; of its groups the first that is not empty counts. */
  pattern: RegExp;
  which: "first" | "last";
}

export function extract({ pattern, which }: RegexFilter, answer: string): string {
  const matches = [...answer.matchAll(pattern)];
  const match = matches.at(which === "first" ? 0 : -1);
  const found = match?.slice(match.length > 1 ? 1 : 0).find((group) => group !== undefined && group !== "");
  return found === undefined ? INVALID : strip(found);
}

/** `#### 42`, as the answers of GSM8K end. */
export const GSM8K_STRICT: RegexFilter = { pattern: /#### (-?[0-9.,]+)/g, which: "first" };

/** The sentence that the shots of gsm8k_cot end with, and one character more. */
export const GSM8K_COT_STRICT: RegexFilter = { pattern: /The answer is (-?[0-9.,]+)[^\n]/g, which: "first" };

/** Whatever number comes last; the comma and the period behind it, too. */
export const LAST_NUMBER: RegexFilter = { pattern: /(-?[$0-9.,]{2,})|(-?[0-9]+)/g, which: "last" };

export interface MatchRules {
  /** Deleted from both sides, one after the other. */
  ignored?: readonly RegExp[];
  ignoreCase?: boolean;
  /** ASCII's only. */
  ignorePunctuation?: boolean;
}

/** What GSM8K's numbers are compared without: commas, dollars, all before the last `#### `, a last period. */
export const GSM8K_MATCH: MatchRules = {
  ignored: [/,/g, /\$/g, /^[\s\S]*#### /, /\.(?=\n?$)/g],
  ignoreCase: true,
};

export const TRIVIAQA_MATCH: MatchRules = { ignoreCase: true, ignorePunctuation: true };

/** exact_match: 1 where the answer is one of the targets. */
export function exactMatch(answer: string, targets: readonly string[], rules: MatchRules): number {
  const plain = normalize(answer, rules);
  return targets.some((target) => normalize(target, rules) === plain) ? 1 : 0;
}

function normalize(text: string, { ignored = [], ignoreCase, ignorePunctuation }: MatchRules): string {
  let plain = ignored.reduce((rest, pattern) => rest.replace(pattern, ""), text);
  if (ignoreCase) {
    plain = plain.toLowerCase();
  }
  return ignorePunctuation ? plain.replace(/[!-/:-@[-`{-~]/g, "") : plain;
}
