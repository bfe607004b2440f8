// What two data sets need before they are text: HellaSwag has marks of its sources, WikiText is cut into tokens. Both as
// lm-evaluation-harness does it, its oddities included; every function is linear in the length of the text.

import { strip } from "../python-text.js";

/** HellaSwag's contexts and endings: titles of steps end with a period, other marks in brackets go. */
export function cleanHellaswag(text: string): string {
  return removeBrackets(strip(text).replaceAll(" [title]", ". ")).replaceAll("  ", " ");
}

/** Removes `\[.*?\]`: a bracket closes in its own line. */
function removeBrackets(text: string): string {
  return text.split("\n").map(removeBracketsOfLine).join("\n");
}

function removeBracketsOfLine(line: string): string {
  const kept: string[] = [];
  let at = 0;
  for (;;) {
    const open = line.indexOf("[", at);
    const close = open < 0 ? -1 : line.indexOf("]", open);
    if (close < 0) {
      return kept.join("") + line.slice(at);
    }
    kept.push(line.slice(at, open));
    at = close + 1;
  }
}

/** In this order: each is the text that the ones before have left. */
const WIKITEXT_STEPS: readonly ((text: string) => string)[] = [
  replacing("s '", "s'"),
  // The original means to join "' 90s" and writes a pattern with its slashes, which hardly any text has.
  (text) => text.replace(/\/' [0-9]\//g, "/'[0-9]/"),
  replacing(" @-@ ", "-"),
  replacing(" @,@ ", ","),
  replacing(" @.@ ", "."),
  ...[":", ";", ".", "!", "?", ","].map((mark) => replacing(` ${mark} `, `${mark} `)),
  (text) => joinInside(text, "(", ")"),
  (text) => joinInside(text, "[", "]"),
  (text) => joinInside(text, "{", "}"),
  (text) => joinInside(text, '"', '"'),
  (text) => joinInside(text, "'", "'"),
  replacing("= = = =", "===="),
  replacing("= = =", "==="),
  replacing("= =", "=="),
  replacing(" \u00b0 ", "\u00b0"),
  replacing(" \n", "\n"),
  replacing("\n ", "\n"),
  replacing(" N ", " 1 "),
  replacing(" 's", "'s"),
];

/** WikiText's tokens as text. */
export function detokenizeWikitext(page: string): string {
  return WIKITEXT_STEPS.reduce((text, step) => step(text), page);
}

function replacing(from: string, to: string): (text: string) => string {
  return (text) => text.replaceAll(from, to);
}

/** `( text )` without the white space inside; the next closing mark closes. */
function joinInside(text: string, open: string, close: string): string {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    const start = text.indexOf(open, at);
    const end = start < 0 ? -1 : text.indexOf(close, start + 1);
    if (end < 0) {
      return parts.join("") + text.slice(at);
    }
    parts.push(text.slice(at, start), open, strip(text.slice(start + 1, end)), close);
    at = end + 1;
  }
}
