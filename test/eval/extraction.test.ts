import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { cleanHellaswag, detokenizeWikitext } from "../../src/eval/tasks/clean-text.js";
import {
  cutAtStops,
  exactMatch,
  extract,
  GSM8K_COT_STRICT,
  GSM8K_MATCH,
  TRIVIAQA_MATCH,
} from "../../src/eval/tasks/extraction.js";
import {
  answerBetweenDollars,
  answerInBox,
  goldOfSolution,
  lastBoxed,
  mathEqual,
  normalizeMath,
  unbox,
} from "../../src/eval/tasks/math-answer.js";

// The answers of lm-evaluation-harness itself.
const golden = JSON.parse(readFileSync("test/fixtures/eval/extraction.json", "utf8"));

function normalized(text: string): string {
  try {
    return normalizeMath(text);
  } catch {
    return "error: ValueError";
  }
}

test.each(golden.math_equal as [string, string, boolean, string, string][])(
  "MATH: %j and %j are the same answer: %j",
  (a, b, same, plainA, plainB) => {
    expect(mathEqual(a, b)).toBe(same);
    expect([normalized(a), normalized(b)]).toEqual([plainA, plainB]);
  },
);

test("MATH: what the rules cannot take apart is compared as it is", () => {
  expect(mathEqual("a/b", "a/b")).toBe(true);
  expect(mathEqual("\\sqrt", "\\sqrt")).toBe(true);
  expect(mathEqual("\\frac", "\\frac{}")).toBe(false);
  expect(mathEqual("1\\text{ m}2\\text{ m}", "1")).toBe(false);
  expect(normalizeMath("\\frac1{72}")).toBe("\\frac{1}{72}");
  expect(normalizeMath("03/4")).toBe("03/4");
});

test.each(golden.last_boxed as [string, string | null, string | null][])(
  "MATH: the last box of %j is %j",
  (text, boxed, inside) => {
    expect(lastBoxed(text) ?? null).toBe(boxed);
    expect(unbox(lastBoxed(text)) ?? (boxed === null ? null : "error")).toBe(inside);
  },
);

test("MATH: without a box there is no answer in one", () => {
  expect(goldOfSolution("It is \\fbox{3}.")).toBeUndefined();
  expect(answerInBox("It is 3.")).toBeUndefined();
  expect(answerInBox("So it is \\boxed{\\frac{1}{2}}, not \\boxed{3")).toBeUndefined();
  expect(answerBetweenDollars("a $b$ c $d$ e")).toBe("b$ c $d");
  expect(answerBetweenDollars("a $5 note")).toBe("a $5 note");
});

test.each(golden.hellaswag_preprocess as [string, string][])("HellaSwag: %j becomes %j", (text, clean) => {
  expect(cleanHellaswag(text)).toBe(clean);
});

test.each(golden.wikitext_detokenize as [string, string][])("WikiText: %j becomes %j", (text, clean) => {
  expect(detokenizeWikitext(text)).toBe(clean);
});

test("texts of a megabyte of opening marks take no longer than others", () => {
  const hostile = "( [ { ".repeat(200_000);
  expect(cleanHellaswag(hostile.replaceAll(" ", ""))).toHaveLength(600_000);
  expect(detokenizeWikitext(hostile)).toHaveLength(1_200_000);
});

test("an answer ends at the first of its stops, empty ones aside", () => {
  expect(cutAtStops(" nobody\nQuestion", ["\n", ".", ","])).toBe(" nobody");
  expect(cutAtStops("one. two, three\n", ["\n", ".", ","])).toBe("one");
  expect(cutAtStops("one", ["", "x"])).toBe("one");
});

test("the filter of gsm8k_cot wants a character behind the number", () => {
  expect(extract(GSM8K_COT_STRICT, "So. The answer is 1,024.\nThe answer is 3.")).toBe("1,024");
  expect(extract(GSM8K_COT_STRICT, "The answer is 7. The answer is 3.")).toBe("7.");
  expect(extract(GSM8K_COT_STRICT, "The answer is 7")).toBe("[invalid]");
});

test("comparing deletes commas, dollars, what comes before #### and a last period, in this order", () => {
  expect(exactMatch("$1,400.", ["a #### b\n#### 1400"], GSM8K_MATCH)).toBe(1);
  expect(exactMatch("1400..", ["1400"], GSM8K_MATCH)).toBe(0);
  expect(exactMatch("st marys RIVER", ["Saint Mary", "St. Mary's River"], TRIVIAQA_MATCH)).toBe(1);
});
