// How many columns of a terminal a text takes: CJK characters and emoji take two, accents none.

import displayWidth from "string-width";
import { oneLine } from "./format.js";

export { displayWidth };

const graphemes = new Intl.Segmenter();
const asciiOnly = /^[\x20-\x7e]*$/;
const ellipsis = "…";

/** The characters as people count them: a letter with its accents, an emoji with all that it is joined of. */
export function graphemesOf(text: string): string[] {
  return asciiOnly.test(text) ? text.split("") : Array.from(graphemes.segment(text), ({ segment }) => segment);
}

/** Filled up with spaces to `width` columns, before the text where `right`. */
export function padToWidth(text: string, width: number, right = false): string {
  const filling = " ".repeat(Math.max(0, width - displayWidth(text)));
  return right ? filling + text : text + filling;
}

/** At most `width` columns: the middle gives way to an ellipsis, as names tell most at both ends. */
export function shorten(text: string, width: number): string {
  if (displayWidth(text) <= width) {
    return text;
  }
  if (width < 1) {
    return "";
  }
  const characters = graphemesOf(text);
  const end = take(characters.toReversed(), Math.floor((width - 1) / 2)).reverse();
  const start = take(characters, width - 1 - displayWidth(end.join("")));
  return start.join("") + ellipsis + end.join("");
}

/** At most `width` columns of one line: what is too much at the end is cut. For sentences. */
export function cutLine(text: string, width: number): string {
  const line = oneLine(text);
  if (displayWidth(line) <= width) {
    return line;
  }
  const characters = graphemesOf(line);
  return width < 1 ? "" : take(characters, width - 1).join("") + ellipsis;
}

/** The first of these characters, as many as fit into `width` columns. */
function take(characters: readonly string[], width: number): string[] {
  let used = 0;
  const beyond = characters.findIndex((character) => {
    used += displayWidth(character);
    return used > width;
  });
  return characters.slice(0, beyond === -1 ? undefined : beyond);
}
