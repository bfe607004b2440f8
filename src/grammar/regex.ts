// Regular expressions of JavaScript's syntax (with the u flag) as grammars: what is regular of it, and nothing else.

import { BitnetError } from "../system/errors.js";
import { type CharacterSet, complementSet, intersectSets, normalizeSet, quoteText, writeClass } from "./text.js";

type Node =
  | { kind: "set"; set: CharacterSet }
  | { kind: "sequence"; parts: Node[] }
  | { kind: "choice"; parts: Node[] }
  | { kind: "repeat"; part: Node; least: number; most: number | undefined }
  | { kind: "ahead"; part: Node; not: boolean }
  | { kind: "both"; parts: { part: Node; not: boolean }[] }
  | { kind: "start" }
  | { kind: "end" };

/** Plain text, or the inside of a JSON string, where some characters are written as escapes. */
export type Spelling = "text" | "json";

export interface Regex {
  /** An expression for texts that match from end to end. */
  whole(spelling: Spelling): string;
  /** For texts that hold a match, as JSON schema's `pattern` has it. */
  search(spelling: Spelling): string;
}

const maxPatternLength = 4096;
const maxDepth = 64;

const all: CharacterSet = [[0, 0x10_ffff]];
const digits: CharacterSet = [[0x30, 0x39]];
const words: CharacterSet = [...digits, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const lineEnds: CharacterSet = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const blanks: CharacterSet = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x16_80, 0x16_80],
  [0x20_00, 0x20_0a],
  [0x20_28, 0x20_29],
  [0x20_2f, 0x20_2f],
  [0x20_5f, 0x20_5f],
  [0x30_00, 0x30_00],
  [0xfe_ff, 0xfe_ff],
];
const classEscapes: Readonly<Record<string, CharacterSet>> = {
  d: digits,
  D: complementSet(digits),
  w: normalizeSet(words),
  W: complementSet(words),
  s: blanks,
  S: complementSet(blanks),
};
const controlEscapes: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, v: 11, f: 12, 0: 0 };

// What JSON writes as an escape: the quote, the backslash and control characters.
const jsonEscaped: CharacterSet = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
];
const jsonPlain = complementSet(jsonEscaped);
const impossible = "[^\\U00000000-\\U0010ffff]";

/** Any character of a JSON string in its usual form. */
export const anyCharacter = writeJsonCharacter(all);

/** Reads a pattern. Throws USAGE, naming `subject`, for wrong syntax and for what is not regular. */
export function parseRegex(pattern: string, subject: string): Regex {
  if (pattern.length > maxPatternLength) {
    throw new BitnetError("USAGE", `${subject}: a pattern of more than ${maxPatternLength} characters`);
  }
  try {
    new RegExp(pattern, "u");
  } catch (cause) {
    throw new BitnetError("USAGE", `${subject}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const node = new Parser(pattern, subject).parse();
  return {
    whole: (spelling) => write(cutAnchors(node, subject, false), spelling),
    search: (spelling) => write(cutAnchors(node, subject, true), spelling),
  };
}

class Parser {
  readonly #characters: string[];
  readonly #pattern: string;
  readonly #subject: string;
  #at = 0;

  constructor(pattern: string, subject: string) {
    this.#characters = [...pattern];
    this.#pattern = pattern;
    this.#subject = subject;
  }

  parse(): Node {
    return this.#parseChoice(0);
  }

  #refuse(what: string): never {
    throw new BitnetError("USAGE", `${this.#subject}: ${what} in the pattern ${this.#pattern}, which is not supported`);
  }

  #peek(ahead = 0): string {
    return this.#characters[this.#at + ahead] ?? "";
  }

  #take(text: string): boolean {
    const matches = [...text].every((character, i) => this.#peek(i) === character);
    this.#at += matches ? text.length : 0;
    return matches;
  }

  #parseChoice(depth: number): Node {
    if (depth > maxDepth) {
      this.#refuse(`more than ${maxDepth} nested groups`);
    }
    const parts = [this.#parseSequence(depth)];
    while (this.#take("|")) {
      parts.push(this.#parseSequence(depth));
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : { kind: "choice", parts };
  }

  #parseSequence(depth: number): Node {
    const parts: Node[] = [];
    while (this.#at < this.#characters.length && this.#peek() !== "|" && this.#peek() !== ")") {
      parts.push(this.#parseRepeat(this.#parseAtom(depth)));
    }
    return { kind: "sequence", parts };
  }

  #parseRepeat(part: Node): Node {
    const bounds = this.#parseBounds();
    if (bounds === undefined) {
      return part;
    }
    this.#take("?"); // lazy: the same texts
    const [least, most] = bounds;
    if (least > 100_000 || (most ?? 0) > 100_000) {
      this.#refuse("more than 100,000 repetitions");
    }
    return { kind: "repeat", part, least, most };
  }

  #parseBounds(): [number, number | undefined] | undefined {
    if (this.#take("*")) {
      return [0, undefined];
    }
    if (this.#take("+")) {
      return [1, undefined];
    }
    if (this.#take("?")) {
      return [0, 1];
    }
    if (this.#peek() !== "{") {
      return undefined;
    }
    const end = this.#characters.indexOf("}", this.#at);
    const [least = "", most] = this.#characters
      .slice(this.#at + 1, end)
      .join("")
      .split(",");
    this.#at = end + 1;
    return [Number(least), most === undefined ? Number(least) : most === "" ? undefined : Number(most)];
  }

  #parseAtom(depth: number): Node {
    const character = this.#peek();
    if (character === "(") {
      return this.#parseGroup(depth);
    }
    if (character === "[") {
      return { kind: "set", set: this.#parseClass() };
    }
    this.#at += 1;
    switch (character) {
      case "^":
        return { kind: "start" };
      case "$":
        return { kind: "end" };
      case ".":
        return { kind: "set", set: complementSet(lineEnds) };
      case "\\":
        return { kind: "set", set: this.#parseEscape() };
      default:
        return { kind: "set", set: setOf(character) };
    }
  }

  #parseGroup(depth: number): Node {
    this.#at += 1;
    let ahead: "=" | "!" | undefined;
    if (this.#take("?") && !this.#take(":") && !this.#takeName()) {
      ahead = this.#take("=") ? "=" : this.#take("!") ? "!" : this.#refuse("a look-behind");
    }
    const part = this.#parseChoice(depth + 1);
    this.#at += 1; // the parenthesis: RegExp has checked the syntax
    return ahead === undefined ? part : { kind: "ahead", part, not: ahead === "!" };
  }

  #takeName(): boolean {
    if (this.#peek() !== "<" || this.#peek(1) === "=" || this.#peek(1) === "!") {
      return false;
    }
    this.#at = this.#characters.indexOf(">", this.#at) + 1;
    return true;
  }

  #parseEscape(): CharacterSet {
    const character = this.#peek();
    this.#at += 1;
    const named = classEscapes[character];
    if (named !== undefined) {
      return named;
    }
    switch (character) {
      case "x":
        return this.#parseHex(2);
      case "u":
        return this.#parseUnicode();
      case "c": {
        const code = (this.#peek().codePointAt(0) ?? 0) % 32;
        this.#at += 1;
        return [[code, code]];
      }
      case "b":
      case "B":
        return this.#refuse(`\\${character}`);
      case "p":
      case "P":
        return this.#refuse("a class of Unicode properties");
      case "k":
        return this.#refuse("a reference to a group");
      default:
        break;
    }
    if (/[1-9]/.test(character)) {
      this.#refuse("a reference to a group");
    }
    const control = controlEscapes[character];
    return control === undefined ? setOf(character) : [[control, control]];
  }

  #parseHex(length: number): CharacterSet {
    const code = this.#readHex(length);
    return [[code, code]];
  }

  #readHex(length: number): number {
    const code = Number.parseInt(this.#characters.slice(this.#at, this.#at + length).join(""), 16);
    this.#at += length;
    return code;
  }

  #parseUnicode(): CharacterSet {
    if (this.#take("{")) {
      const set = this.#parseHex(this.#characters.indexOf("}", this.#at) - this.#at);
      this.#at += 1; // the brace
      return set;
    }
    const code = this.#readHex(4);
    if (code >= 0xd8_00 && code < 0xdc_00 && this.#take("\\u")) {
      const whole = 0x1_00_00 + ((code - 0xd8_00) << 10) + (this.#readHex(4) - 0xdc_00);
      return [[whole, whole]];
    }
    return [[code, code]];
  }

  #parseClass(): CharacterSet {
    this.#at += 1;
    const isNegated = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (!this.#take("]")) {
      const first = this.#parseClassAtom();
      const [[least, most] = [0, -1]] = first;
      if (first.length === 1 && least === most && this.#peek() === "-" && this.#peek(1) !== "]") {
        this.#at += 1;
        const [[last] = [least]] = this.#parseClassAtom();
        ranges.push([least, last]);
      } else {
        ranges.push(...first);
      }
    }
    return isNegated ? complementSet(ranges) : normalizeSet(ranges);
  }

  #parseClassAtom(): CharacterSet {
    const character = this.#peek();
    this.#at += 1;
    if (character !== "\\") {
      return setOf(character);
    }
    if (this.#take("b")) {
      return [[8, 8]];
    }
    return this.#parseEscape();
  }
}

function setOf(character: string): CharacterSet {
  const code = character.codePointAt(0) ?? 0;
  return [[code, code]];
}

/**
 * The same without ^ and $. Those at the ends of an alternative say where the match is; `isSearch`: where one is missing,
 * any text may stand. Throws USAGE for one that stands elsewhere.
 */
function cutAnchors(node: Node, subject: string, isSearch: boolean): Node {
  if (node.kind === "choice") {
    return { kind: "choice", parts: node.parts.map((part) => cutAnchors(part, subject, isSearch)) };
  }
  let parts = node.kind === "sequence" ? node.parts : [node];
  const [only] = parts;
  if (parts.length === 1 && only !== undefined && (only.kind === "choice" || only.kind === "sequence")) {
    return cutAnchors(only, subject, isSearch); // ^ and $ within one group around everything
  }
  const anything: Node = { kind: "repeat", part: { kind: "set", set: all }, least: 0, most: undefined };
  const hasStart = parts[0]?.kind === "start";
  const hasEnd = parts.at(-1)?.kind === "end";
  parts = parts.slice(hasStart ? 1 : 0, hasEnd ? -1 : undefined);
  const aheads: { part: Node; not: boolean }[] = [];
  for (let part = parts[0]; hasStart && part?.kind === "ahead"; part = parts[0]) {
    const inside: Node = { kind: "sequence", parts: [{ kind: "start" }, part.part] };
    aheads.push({ part: cutAhead(inside, subject), not: part.not });
    parts = parts.slice(1);
  }
  for (const part of parts) {
    refuseAnchors(part, subject);
  }
  const [before, behind] = [isSearch && !hasStart ? [anything] : [], isSearch && !hasEnd ? [anything] : []];
  const rest: Node = { kind: "sequence", parts: [...before, ...parts, ...behind] };
  return aheads.length === 0 ? rest : { kind: "both", parts: [...aheads, { part: rest, not: false }] };
}

/** A look-ahead at the beginning is about the whole text. */
function cutAhead(node: Node & { kind: "sequence" }, subject: string): Node {
  const [start, part] = node.parts;
  if (start !== undefined && part?.kind === "choice") {
    return {
      kind: "choice",
      parts: part.parts.map((one) => cutAhead({ kind: "sequence", parts: [start, one] }, subject)),
    };
  }
  const inside = part?.kind === "sequence" ? part.parts : part === undefined ? [] : [part];
  return cutAnchors({ kind: "sequence", parts: [{ kind: "start" }, ...inside] }, subject, true);
}

function refuseAnchors(node: Node, subject: string): void {
  switch (node.kind) {
    case "start":
    case "end":
      throw new BitnetError("USAGE", `${subject}: ^ and $ are supported only at the ends of a pattern`);
    case "sequence":
    case "choice":
      for (const part of node.parts) {
        refuseAnchors(part, subject);
      }
      break;
    case "repeat":
      refuseAnchors(node.part, subject);
      break;
    case "ahead":
    case "both":
      throw new BitnetError(
        "USAGE",
        `${subject}: a look-ahead is supported only behind ^ at the beginning of a pattern`,
      );
    case "set":
      break;
  }
}

function write(node: Node, spelling: Spelling): string {
  switch (node.kind) {
    case "set":
      return spelling === "json" ? writeJsonCharacter(node.set) : (writeClass(node.set) ?? impossible);
    case "sequence":
      return node.parts.length === 0 ? '""' : `(${node.parts.map((part) => write(part, spelling)).join(" ")})`;
    case "choice":
      return `(${node.parts.map((part) => write(part, spelling)).join(" | ")})`;
    case "repeat":
      return `${write(node.part, spelling)}{${node.least},${node.most ?? ""}}`;
    case "both":
      return `(${node.parts.map(({ part, not }) => `${not ? "~" : ""}(${write(part, spelling)})`).join(" & ")})`;
    case "ahead":
    case "start":
    case "end":
      return '""'; // was cut
  }
}

/** One character of a set as it stands in a JSON string, in its usual form. */
function writeJsonCharacter(set: CharacterSet): string {
  const choices = [writeClass(intersectSets(set, jsonPlain))].filter((text) => text !== undefined);
  for (const [least, most] of intersectSets(set, jsonEscaped)) {
    for (let code = least; code <= most; code++) {
      choices.push(quoteText(JSON.stringify(String.fromCodePoint(code)).slice(1, -1)));
    }
  }
  return choices.length === 0 ? impossible : `(${choices.join(" | ")})`;
}
