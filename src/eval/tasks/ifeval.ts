// IFEval: whether an answer follows instructions that a program can check. The rules are those of its makers as
// lm-evaluation-harness has them.

import { BitnetError } from "../../system/errors.js";
import { escapePattern, isLower, isUpper, SPACE, splitAtSpace, strip } from "../python-text.js";
import { countSentences, detectLanguage, splitWords } from "./ifeval-language.js";

/** The arguments of an instruction, as a row of the data set has them. */
export type InstructionArguments = Record<string, unknown>;

type Check = (answer: string, argument: Arguments) => boolean;

/** Words of the data set are looked for; a period in them is any character, as in the makers' regular expressions. */
const LONGEST_WORD = 1000;

/** Python's \w. */
const WORD = "[\\p{L}\\p{N}_]";

const CONSTRAINED = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

const CHECKS: Readonly<Record<string, Check>> = {
  "change_case:capital_word_frequency": (answer, a) =>
    a.compares(splitWords(answer).filter(isUpper).length, "capital_frequency", "capital_relation"),
  "change_case:english_capital": (answer) => isUpper(answer) && isEnglish(answer),
  "change_case:english_lowercase": (answer) => isLower(answer) && isEnglish(answer),
  "combination:repeat_prompt": (answer, a) =>
    strip(answer)
      .toLowerCase()
      .startsWith(strip(a.text("prompt_to_repeat")).toLowerCase()),
  "combination:two_responses": hasTwoResponses,
  "detectable_content:number_placeholders": (answer, a) =>
    count(/\[[^\n]*?\]/g, answer) >= a.number("num_placeholders"),
  "detectable_content:postscript": (answer, a) =>
    postscriptPattern(strip(a.text("postscript_marker"))).test(answer.toLowerCase()),
  "detectable_format:constrained_response": (answer) => CONSTRAINED.some((option) => answer.includes(option)),
  "detectable_format:json_format": isJson,
  "detectable_format:multiple_sections": (answer, a) => {
    const heading = new RegExp(`[${SPACE}]?${wordPattern(strip(a.text("section_spliter")))}[${SPACE}]?\\p{Nd}+`, "gu");
    return count(heading, answer) >= a.number("num_sections");
  },
  "detectable_format:number_bullet_lists": (answer, a) => countBullets(answer) === a.number("num_bullets"),
  "detectable_format:number_highlighted_sections": (answer, a) => countHighlights(answer) >= a.number("num_highlights"),
  "detectable_format:title": (answer) =>
    (answer.match(/<<[^\n]+>>/g) ?? []).some((title) => strip(title.replace(/^<+|>+$/g, "")) !== ""),
  "keywords:existence": (answer, a) => a.texts("keywords").every((word) => count(ignoringCase(word), answer) > 0),
  "keywords:forbidden_words": (answer, a) =>
    !a.texts("forbidden_words").some((word) => occursAsWord(wordPattern(word), answer)),
  "keywords:frequency": (answer, a) =>
    a.compares(count(ignoringCase(strip(a.text("keyword"))), answer), "frequency", "relation"),
  "keywords:letter_frequency": (answer, a) => {
    const letter = a.text("letter").toLowerCase();
    return a.compares(answer.toLowerCase().split(letter).length - 1, "let_frequency", "let_relation");
  },
  "language:response_language": (answer, a) => {
    const language = detectLanguage(answer);
    return language === undefined || language === a.text("language");
  },
  "length_constraints:nth_paragraph_first_word": startsParagraph,
  "length_constraints:number_paragraphs": (answer, a) => countParagraphs(answer) === a.number("num_paragraphs"),
  "length_constraints:number_sentences": (answer, a) => a.compares(countSentences(answer), "num_sentences", "relation"),
  "length_constraints:number_words": (answer, a) =>
    a.compares(count(new RegExp(`${WORD}+`, "gu"), answer), "num_words", "relation"),
  "punctuation:no_comma": (answer) => !answer.includes(","),
  "startend:end_checker": (answer, a) =>
    strip(answer)
      .replace(/^"+|"+$/g, "")
      .toLowerCase()
      .endsWith(strip(a.text("end_phrase")).toLowerCase()),
  "startend:quotation": (answer) => strip(answer).length > 1 && /^"[\s\S]*"$/.test(strip(answer)),
};

/** The instructions that can be checked. */
export const instructionIds: readonly string[] = Object.keys(CHECKS);

/**
 * Instructions whose makers ask a library of Python for languages, sentences or words: ours decide nearly always, but not
 * always, the same.
 */
export const approximateInstructions: readonly string[] = [
  "language:response_language",
  "length_constraints:number_sentences",
  "change_case:english_capital",
  "change_case:english_lowercase",
  "change_case:capital_word_frequency",
];

/** Whether `answer` follows one instruction; an empty answer follows none. */
export function followsInstruction(id: string, given: InstructionArguments, answer: string): boolean {
  const check = Object.hasOwn(CHECKS, id) ? CHECKS[id] : undefined;
  if (check === undefined) {
    throw new BitnetError("BAD_FILE", `instruction_id_list has "${id}", which is no instruction of IFEval`, {
      hint: `the instructions are ${instructionIds.join(", ")}`,
    });
  }
  return strip(answer) !== "" && check(answer, new Arguments(id, given));
}

/** The same for the best of the answers that are left without a first line, a last line and asterisks. */
export function followsLoosely(id: string, given: InstructionArguments, answer: string): boolean {
  const lines = answer.split("\n");
  const shortened = [lines.slice(1), lines.slice(0, -1), lines.slice(1, -1)].map((some) => strip(some.join("\n")));
  return [answer, ...shortened]
    .flatMap((text) => [text, text.replaceAll("*", "")])
    .some((text) => followsInstruction(id, given, text));
}

/** What a check needs to know, of the right type. */
class Arguments {
  readonly #id: string;
  readonly #given: InstructionArguments;

  constructor(id: string, given: InstructionArguments) {
    this.#id = id;
    this.#given = given;
  }

  number(name: string): number {
    const value = this.#given[name];
    return typeof value === "number" && Number.isFinite(value) ? value : this.#wrong(name, "a number");
  }

  text(name: string): string {
    const value = this.#given[name];
    return typeof value === "string" && value !== "" && value.length <= 100 * LONGEST_WORD
      ? value
      : this.#wrong(name, "a text");
  }

  texts(name: string): string[] {
    const value = this.#given[name];
    return Array.isArray(value) && value.every((item) => typeof item === "string" && item.length <= LONGEST_WORD)
      ? value
      : this.#wrong(name, `a list of texts of at most ${LONGEST_WORD} characters`);
  }

  /** Whether `found` is what the threshold `name` and the relation ask for. */
  compares(found: number, name: string, relation: string): boolean {
    const threshold = this.number(name);
    switch (this.#given[relation]) {
      case "less than":
        return found < threshold;
      case "at least":
        return found >= threshold;
      default:
        return this.#wrong(relation, '"less than" or "at least"');
    }
  }

  #wrong(name: string, expected: string): never {
    const value = JSON.stringify(this.#given[name] ?? null).slice(0, 80);
    throw new BitnetError(
      "BAD_FILE",
      `kwargs of the instruction ${this.#id}: expected ${name} to be ${expected}, not ${value}`,
    );
  }
}

function count(pattern: RegExp, text: string): number {
  return text.match(pattern)?.length ?? 0;
}

/** A word of the data set as a pattern: its makers use it as a regular expression, in which it has nothing but periods. */
function wordPattern(word: string): string {
  return word.split(".").map(escapePattern).join("[^\\n]");
}

function ignoringCase(word: string): RegExp {
  return new RegExp(wordPattern(word), "giu");
}

/** Between two of Python's word boundaries, which are between letters of any script, not only of ASCII. */
function occursAsWord(pattern: string, text: string): boolean {
  const edge = `(?:(?<!${WORD})(?=${WORD})|(?<=${WORD})(?!${WORD}))`;
  return new RegExp(`${edge}${pattern}${edge}`, "iu").test(text);
}

function isEnglish(answer: string): boolean {
  return (detectLanguage(answer.toLowerCase()) ?? "en") === "en";
}

/** Two different texts around six asterisks; more of these only at the ends. */
function hasTwoResponses(answer: string): boolean {
  const parts = answer.split("******").map(strip);
  const texts = parts.filter((part) => part !== "");
  const gapInside = parts.slice(1, -1).includes("");
  return !gapInside && texts.length === 2 && texts[0] !== texts[1];
}

function postscriptPattern(marker: string): RegExp {
  if (marker === "P.P.S") {
    return new RegExp(`p\\.[${SPACE}]?p\\.[${SPACE}]?s`);
  }
  return marker === "P.S." ? new RegExp(`p\\.[${SPACE}]?s\\.`) : new RegExp(wordPattern(marker.toLowerCase()), "u");
}

/** What Python's json.loads takes, with the constants that JSON does not have, alone or in a fence. */
function isJson(answer: string): boolean {
  const bare = ["```json", "```Json", "```JSON", "```"].reduce(
    (text, fence) => (text.startsWith(fence) ? text.slice(fence.length) : text),
    strip(answer),
  );
  const text = strip(bare.endsWith("```") ? bare.slice(0, -3) : bare);
  try {
    JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/gs, (part) => (part.startsWith('"') ? part : " 0 ")));
    return true;
  } catch {
    return false;
  }
}

/** Lines that begin with `-`, or with one `*` and something more. */
function countBullets(answer: string): number {
  const start = `(?<![^\\n])[${SPACE}]*`;
  return ["\\*[^*]", "-"].reduce((sum, mark) => sum + count(new RegExp(`${start}${mark}[^\\n]*`, "g"), answer), 0);
}

/** `*so*` and `**so**`, with something inside. */
function countHighlights(answer: string): number {
  const single = answer.match(/\*[^\n*]*\*/g) ?? [];
  const double = answer.match(/\*\*[^\n*]*\*\*/g) ?? [];
  return [...single, ...double].filter((part) => strip(part.replaceAll("*", "")) !== "").length;
}

/** Paragraphs between `***`; none (NaN) where one inside is empty. */
function countParagraphs(answer: string): number {
  const parts = answer.split(new RegExp(`[${SPACE}]?\\*\\*\\*[${SPACE}]?`)).map(strip);
  return parts.slice(1, -1).includes("") ? Number.NaN : parts.filter((part) => part !== "").length;
}

/** Whether there are so many paragraphs, apart by an empty line, and the nth begins with the word. */
function startsParagraph(answer: string, a: Arguments): boolean {
  const paragraphs = answer.split("\n\n").map(strip);
  const filled = paragraphs.filter((paragraph) => paragraph !== "").length;
  const nth = a.number("nth_paragraph");
  const paragraph = nth <= filled ? paragraphs[nth - 1] : undefined;
  const word = (splitAtSpace(paragraph ?? "")[0] ?? "").replace(/^'+/, "").replace(/^"+/, "");
  const first = (/^[^.,?!'"]*/.exec(word)?.[0] ?? "").toLowerCase();
  return Boolean(paragraph) && filled === a.number("num_paragraphs") && first === a.text("first_word").toLowerCase();
}
