// Strings of a schema: their lengths, patterns and formats together.

import { refuse } from "./error.js";
import type { Flat } from "./flat.js";
import { writeTest } from "./string-test.js";
import { quoteText } from "./text.js";
import type { Writer } from "./writer.js";

// Longer strings are cut into pieces that all strings share.
const pieceLength = 64;
const largePiece = 1024;
const maxTestedLength = 4096; // beside a pattern

/** Strings, with their quotes. */
export function writeString(writer: Writer, flat: Flat): string {
  const inside = writeTested(writer, flat);
  if (inside !== undefined) {
    return `"\\"" ${inside} "\\""`;
  }
  return writeLength(writer, flat.length.least, flat.length.most);
}

/**
 * The inside of strings that are held to more than a length, each character in its usual spelling; undefined if there is
 * nothing more.
 */
export function writeTested(writer: Writer, flat: Flat): string | undefined {
  const excluded = flat.notValues.map(({ value }) => value).filter((value) => typeof value === "string");
  if (flat.tests.length === 0 && excluded.length === 0) {
    return undefined;
  }
  const { least, most } = flat.length;
  if (Math.max(least, most ?? 0) > maxTestedLength) {
    const keyword = least > maxTestedLength ? "minLength" : "maxLength";
    refuse(flat.places[keyword] ?? keyword, `more than ${maxTestedLength} beside a pattern or format is not supported`);
  }
  const tests = flat.tests.map((test) => `${test.not ? "~" : ""}${writeTest(test, "json")}`);
  if (excluded.length > 0) {
    tests.push(`~(${excluded.map((value) => quoteText(JSON.stringify(value).slice(1, -1))).join(" | ")})`);
  }
  const hasLength = least > 0 || most !== undefined;
  if (hasLength || flat.tests.every((test) => test.not)) {
    const character = flat.tests.every((test) => test.not) ? writer.basic("usual") : writer.basic("counted");
    tests.push(`${character}{${least},${most ?? ""}}`);
  }
  return tests.length === 1 ? tests[0] : `(${tests.join(" & ")})`;
}

/** Strings of a length, which counts code points, with their quotes. */
function writeLength(writer: Writer, least: number, most: number | undefined): string {
  const char = writer.basic("char");
  if (Math.max(least, most ?? 0) <= 2 * pieceLength) {
    return `"\\"" ${char}{${least},${most ?? ""}} "\\""`;
  }
  const whole = Math.floor(least / pieceLength);
  const before = whole === 0 ? "" : `${piece(writer, pieceLength)}{${whole}}`;
  const rest = most === undefined ? undefined : most - whole * pieceLength;
  return `"\\"" ${before} ${writeRest(writer, least % pieceLength, rest)}`;
}

function piece(writer: Writer, length: number): string {
  return length === pieceLength
    ? writer.shared(`piece ${length}`, () => `${writer.basic("char")}{${pieceLength}}`)
    : writer.shared(`piece ${length}`, () => `${piece(writer, pieceLength)}{${length / pieceLength}}`);
}

/** The rest of a string with the quote at its end, so that only that is where it can end. */
function writeRest(writer: Writer, least: number, most: number | undefined): string {
  const char = writer.basic("char");
  if (most === undefined || most < 2 * pieceLength) {
    return `${char}{${least},${most ?? ""}} "\\""`;
  }
  const step = most < 2 * largePiece || least > 0 ? pieceLength : largePiece;
  return writer.shared(`rest ${least} ${most}`, () => {
    const short = writeRest(writer, least, step - 1);
    return `${short} | ${piece(writer, step)} ${writeRest(writer, 0, most - step)}`;
  });
}
