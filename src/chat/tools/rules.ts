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

  /** The grammar whose texts are those of `root`. */
  write(root: string): string {
    const rules = [...this.#rules].map(([name, text]) => `${name} ::= ${text}\n`);
    return [`root ::= ${root}\n`, ...rules, ...this.#texts.map((text) => `${text}\n`)].join("");
  }
}

function renameRules(source: string, rename: (name: string) => string): string {
  return source.replace(grammarTokens, (token) => (/^["[#{]/.test(token) ? token : rename(token)));
}

/** Text in which none of `patterns` occurs. */
export function textWithout(patterns: readonly string[]): string {
  return patterns.length === 0 ? ".*" : `~(.* (${patterns.map(quoteText).join(" | ")}) .*)`;
}

/** The same, and it does not begin with `head`, nor with white space and then `head`. */
export function textWithoutHead(head: string, patterns: readonly string[]): string {
  return `(~([ \\t\\r\\n]* ${quoteText(head)} .*) & ${textWithout(patterns)})`;
}
