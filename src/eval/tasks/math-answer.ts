// Answers of the MATH data set: what of a text is the answer, and when two answers are the same. The rules are those of the
// data set's makers as lm-evaluation-harness has them, their oddities included.

import { strip } from "../python-text.js";

/** What the rules cannot take apart; such answers are compared as they are. */
class Malformed extends Error {}

/** The last `\boxed{...}` of a text with its braces, or `\fbox{...}` where there is none; undefined if it never closes. */
export function lastBoxed(text: string): string | undefined {
  if (text.includes("\\boxed ")) {
    const rest = text.slice(text.lastIndexOf("\\boxed ") + "\\boxed ".length);
    return `\\boxed ${rest.split("$", 1)[0]}`;
  }
  const boxed = text.lastIndexOf("\\boxed");
  const start = boxed < 0 ? text.lastIndexOf("\\fbox") : boxed;
  return start < 0 ? undefined : textWithBraces(text.slice(start));
}

/** The text up to the brace that closes its first one. */
function textWithBraces(text: string): string | undefined {
  let open = 0;
  for (const { 0: brace, index } of text.matchAll(/[{}]/g)) {
    open += brace === "{" ? 1 : -1;
    if (brace === "}" && open === 0) {
      return text.slice(0, index + 1);
    }
  }
  return undefined;
}

/** What is in the box; undefined if there is no `\boxed`. */
export function unbox(boxed: string | undefined): string | undefined {
  if (boxed === undefined) {
    return undefined;
  }
  if (boxed.includes("\\boxed ")) {
    return boxed.startsWith("\\boxed ") ? boxed.slice("\\boxed ".length) : undefined;
  }
  return boxed.startsWith("\\boxed{") && boxed.endsWith("}") ? boxed.slice("\\boxed{".length, -1) : undefined;
}

/** The answer of a worked solution of the data set; undefined if it has none. */
export function goldOfSolution(solution: string): string | undefined {
  return unbox(lastBoxed(solution));
}

/** lm-evaluation-harness's reading of a generated text: what is between its first and its last `$`, else the whole. */
export function answerBetweenDollars(text: string): string {
  const first = text.indexOf("$");
  const last = text.lastIndexOf("$");
  return first === last ? text : text.slice(first + 1, last);
}

/** Our second reading, for models that were trained to box their answers; undefined without a box. */
export function answerInBox(text: string): string | undefined {
  return unbox(lastBoxed(text));
}

/** Whether two answers are the same number or expression, as far as their spelling tells. */
export function mathEqual(a: string, b: string): boolean {
  try {
    return normalizeMath(a) === normalizeMath(b);
  } catch (error) {
    if (error instanceof Malformed) {
      return a === b;
    }
    throw error;
  }
}

/** In this order: each is the text that the ones before have left. */
const STEPS: readonly ((text: string) => string)[] = [
  without("\n"),
  without("\\!"),
  (text) => text.replaceAll("\\\\", "\\"),
  (text) => text.replaceAll("tfrac", "frac").replaceAll("dfrac", "frac"),
  without("\\left"),
  without("\\right"),
  without("^{\\circ}"),
  without("^\\circ"),
  without("\\$"),
  removeUnit,
  without("\\%"),
  (text) => text.replaceAll(" .", " 0.").replaceAll("{.", "{0."),
  (text) => (text.startsWith(".") ? `0${text}` : text),
  removeName,
  (text) => text.split("\\sqrt").map(braceArgument).join("\\sqrt"),
  without(" "),
  braceFractions,
  (text) => (text === "0.5" ? "\\frac{1}{2}" : text),
  fractionOfSlash,
];

/** One spelling of an answer; throws Malformed. */
export function normalizeMath(text: string): string {
  return STEPS.reduce((rest, step) => step(rest), text);
}

function without(part: string): (text: string) => string {
  return (text) => text.replaceAll(part, "");
}

/** `12\text{ cows}` is 12. */
function removeUnit(text: string): string {
  const parts = text.split("\\text{ ");
  if (parts.length > 2) {
    throw new Malformed();
  }
  return parts[0] ?? "";
}

/** `k = 2` is 2, where the name is short. */
function removeName(text: string): string {
  const [name = "", value, ...more] = text.split("=");
  return value !== undefined && more.length === 0 && [...name].length <= 2 ? value : text;
}

/** What follows `\sqrt`, with braces around its first character unless it has them. */
function braceArgument(text: string, index: number): string {
  if (index === 0 || text.startsWith("{")) {
    return text;
  }
  const [first, ...rest] = text;
  if (first === undefined) {
    throw new Malformed();
  }
  return `{${first}}${rest.join("")}`;
}

/** `\frac12` is `\frac{1}{2}`, and `\frac1{72}` is `\frac{1}{72}`. */
function braceFractions(text: string): string {
  const [before = "", ...parts] = text.split("\\frac");
  const braced: string[] = [];
  for (const part of parts) {
    const [numerator, denominator, ...rest] = part;
    if (numerator === undefined) {
      throw new Malformed();
    }
    if (numerator === "{") {
      braced.push(part);
    } else if (denominator === undefined) {
      return text;
    } else {
      const second = denominator === "{" ? "{" : `{${denominator}}`;
      braced.push(`{${numerator}}${second}${rest.join("")}`);
    }
  }
  return [before, ...braced].join("\\frac");
}

/** What Python's int() takes, white space around it aside. */
const INTEGER = /^[+-]?\p{Nd}+(?:_\p{Nd}+)*$/u;

/** `1/2` is `\frac{1}{2}`, where both are plain integers. */
function fractionOfSlash(text: string): string {
  const [a = "", b, ...more] = text.split("/");
  if (b === undefined || more.length > 0) {
    return text;
  }
  if (!INTEGER.test(strip(a)) || !INTEGER.test(strip(b))) {
    throw new Malformed();
  }
  const plain = /^(?:0|-?[1-9][0-9]*)$/;
  return plain.test(a) && plain.test(b) ? `\\frac{${a}}{${b}}` : text;
}
