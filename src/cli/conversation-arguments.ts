// What stands behind a command of a conversation: everything to the end of the line, in quotes or not.

import { expandHome } from "../system/folders.js";

const quotes = ['"""', '"', "'"];

/**
 * The text without the quotes that are around all of it: """ for many lines, " or '. Within " a \ takes away the meaning
 * of another " or \. Without quotes the text is as it is.
 */
export function readText(argument: string): string {
  const text = argument.trim();
  const quote = quotes.find((mark) => text.startsWith(mark) && text.endsWith(mark) && text.length >= 2 * mark.length);
  if (quote === undefined) {
    return text;
  }
  const inner = text.slice(quote.length, -quote.length);
  switch (quote) {
    case '"""':
      return inner.replace(/^\n|\n$/g, "");
    case '"':
      return inner.replace(/\\(["\\])/g, "$1");
    default:
      return inner;
  }
}

/** The path of a file: the same; without quotes a \ stands before spaces, and ~ is the user's folder. */
export function readPath(argument: string): string {
  const text = argument.trim();
  const read = readText(text);
  return read === text ? expandHome(text.replace(/\\([ "'\\~])/g, "$1")) : read;
}

/** A list of texts: separated by spaces, each in quotes or not. */
export function readTexts(argument: string): string[] {
  return (argument.match(/"(?:[^"\\]|\\.)*"|'[^']*'|\S+/g) ?? []).map(readText);
}
