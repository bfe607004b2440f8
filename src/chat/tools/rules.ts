// Grammars put together of parts: those of schemas, those of clients, and text in which something does not occur.

import { quoteText } from "../../grammar/text.js";

// What stands in a grammar beside names: texts, classes, comments, bounds.
const grammarTokens = /"(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|#[^\n]*|\{[^}]*\}|[A-Za-z0-9_-]+/g;

/** Any number of characters of white space that are no part of an answer. */
export const blanks = "[ \\t\\r\\n]{0,4}";
/** At most one space stands where JSON allows any. */
export const space = '" "?';
export const comma = '"," " "?';

export class GrammarRules {
  readonly #rules = new Map<string, string>();
  readonly #texts: string[] = []; // of whole grammars
  #count = 0;

  /** A rule of its own; its name. */
  add(text: string): string {
    this.#count += 1;
    const name = `a-${this.#count}`;
    this.#rules.set(name, text);
    return name;
  }

  /** The rules of a schema's grammar, which share those of JSON with all others; the name of its root. */
  includeSchema(source: string): string {
    this.#count += 1;
    const rename = (name: string) => (/^(root|r\d+)$/.test(name) ? `s${this.#count}-${name}` : name);
    for (const line of source.trimEnd().split("\n")) {
      const [name = "", ...text] = line.split(" ::= ");
      this.#rules.set(rename(name), renameRules(text.join(" ::= "), rename));
    }
    return rename("root");
  }

  /** Any grammar, as it is written; the name of its root. */
  includeGrammar(source: string): string {
    this.#count += 1;
    const rename = (name: string) => `g${this.#count}-${name}`;
    this.#texts.push(renameRules(source, rename));
    return rename("root");
  }

  /** Text in which none of `patterns` occurs; see textWithout. */
  addTextWithout(patterns: readonly string[]): TextRules {
    return addTextWithout(this, patterns);
  }

  /** The grammar whose texts are those of `root`. */
  write(root: string): string {
    const rules = [...this.#rules].map(([name, text]) => `${name} ::= ${text}\n`);
    return [`root ::= ${root}\n`, ...rules, ...this.#texts.map((text) => `${text}\n`)].join("");
  }
}

function renameRules(source: string, rename: (name: string) => string): string {
  return source.replace(grammarTokens, (token) => (/^["[#{]/.test(token) ? token : rename(token)));
}

/** Parts of text in which some patterns do not occur. */
export interface TextRules {
  /** Any such text. */
  any: string;
  /** One that begins with the first character of a pattern. */
  marked: string;
  /** These first characters, as the inside of a class. */
  marks: string;
}

/**
 * Text in which no pattern occurs, as a regular language. A pattern's first character must not be anywhere else in the
 * patterns: then text falls apart at these marks, and after each one a tree of the patterns' rests says what must not
 * follow. Recursion would say the same, but is followed by far slower means.
 */
function addTextWithout(rules: GrammarRules, patterns: readonly string[]): TextRules {
  const heads = new Set(patterns.map(([head = ""]) => head));
  const marks = [...heads].map(inClass).join("");
  if (heads.size === 0) {
    return { any: rules.add(".*"), marked: rules.add("[^\\U00000000-\\U0010ffff]"), marks };
  }
  const plain = rules.add(`[^${marks}]*`);
  const addTail = (tails: readonly string[]): string => {
    const next = [...new Set(tails.map(([head = ""]) => head))];
    const branches = next.flatMap((head) => {
      const rests = tails.filter((tail) => tail.startsWith(head)).map((tail) => tail.slice(head.length));
      return rests.includes("") ? [] : [`${quoteText(head)} ${addTail(rests)}`];
    });
    return rules.add(`([^${marks}${next.map(inClass).join("")}] ${plain}${["", ...branches].join(" | ")})?`);
  };
  const marked = [...heads].map((head) => {
    const tails = patterns.filter((pattern) => pattern.startsWith(head)).map((pattern) => pattern.slice(head.length));
    return `${quoteText(head)} ${addTail(tails)}`;
  });
  const some = rules.add(`(${marked.join(" | ")})+`);
  return { any: rules.add(`${plain} ${some}?`), marked: some, marks };
}

/** A character inside of a class. */
function inClass(character: string): string {
  return `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, "0")}`;
}
