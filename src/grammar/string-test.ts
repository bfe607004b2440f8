// Patterns and formats as tests of strings.

import { loadAddon, type NativeGrammar } from "../native/addon.js";
import { BitnetError, converting } from "../system/errors.js";
import { GrammarError } from "./error.js";
import type { StringTest } from "./flat.js";
import { formatPatterns } from "./formats.js";
import { nothing } from "./numbers.js";
import { parseRegex, type Spelling } from "./regex.js";

/** An expression for the strings that pass a test, whether or not it is turned around. Throws GrammarError. */
export function writeTest({ keyword, source, at }: StringTest, spelling: Spelling): string {
  try {
    return `(${parseRegex(keyword === "pattern" ? source : (formatPatterns[source] ?? ""), "").search(spelling)})`;
  } catch (error) {
    if (error instanceof BitnetError) {
      const place = { keyword: at.endsWith(`/${keyword}`) ? keyword : "patternProperties", pointer: at };
      throw new GrammarError(place, error.message.replace(/^: /, ""), { cause: error });
    }
    throw error;
  }
}

const maxKept = 256;
const compiled = new Map<string, NativeGrammar>();

/** Whether a text passes. By an automaton, as JavaScript's own may take forever. */
export function testText(test: StringTest, text: string): boolean {
  const key = `${test.keyword} ${test.source}`;
  let grammar = compiled.get(key);
  if (grammar === undefined) {
    const source = `root ::= ${writeTest(test, "text")} | ${nothing}\n`;
    grammar = converting(() => loadAddon().compileGrammar(source));
    compiled.set(key, grammar);
    const [oldest] = compiled.keys();
    if (compiled.size > maxKept && oldest !== undefined) {
      compiled.delete(oldest);
    }
  }
  return grammar.matches(text) !== test.not;
}
