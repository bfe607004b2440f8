// Objects of a schema: properties in its order, others behind them.

import { refuse } from "./error.js";
import { type All, type Flat, typeBits } from "./flat.js";
import { isObject } from "./json.js";
import { nothing } from "./numbers.js";
import { writeTest } from "./string-test.js";
import { writeTested } from "./strings.js";
import { quoteText } from "./text.js";
import { joinChoices, type Writer } from "./writer.js";

type WriteAll = (all: All) => string;

interface Member {
  isNeeded: boolean;
  text: string;
}

const maxPatterns = 4; // a name may match any of them: 16 kinds of names
const maxCounted = 4000; // rules of one object whose properties are counted

export function writeObject(writer: Writer, flat: Flat, writeAll: WriteAll): string {
  const excluded = flat.notValues.find(({ value }) => isObject(value));
  if (excluded !== undefined) {
    refuse(excluded.at, "not of an object is not supported");
  }
  if (flat.properties.length === 0 && flat.required.length === 0 && flat.names.length === 0 && !isCounted(flat)) {
    return writer.basic("object");
  }
  const named = new Set(flat.properties.flatMap((layer) => [...layer.named.keys()]));
  const names = [...named, ...flat.required.filter((name) => !named.has(name))];
  const required = new Set(flat.required);
  const members: Member[] = [];
  for (const name of names) {
    const isNeeded = required.has(name);
    const all = writer.propertyOf(flat, name);
    const isPossible = !writer.expander.isEmpty(all, 1) && writer.accepts(flat.names, name);
    if (!isPossible && isNeeded) {
      return nothing;
    }
    if (isPossible) {
      members.push({ isNeeded, text: writer.addRule(`${writer.key(name)} ${writeAll(all)}`) });
    }
  }
  const others = writeOthers(writer, flat, names, writeAll);
  const sp = writer.basic("sp");
  return `"{" ${sp} ${writeMembers(writer, flat, members, others)} "}"`;
}

function isCounted(flat: Flat): boolean {
  return flat.members.least > 0 || flat.members.most !== undefined;
}

/**
 * The members of an object. From the end, for each property and each number of members that may stand before it: the rule
 * for what may follow. Numbers that make no difference are one.
 */
function writeMembers(writer: Writer, flat: Flat, members: readonly Member[], others: string | undefined): string {
  const [least, most] = countsOf(flat, members, others !== undefined);
  const last = Math.max(1, least, most ?? 0);
  if (members.length * (last + 1) > maxCounted && last > 1) {
    const place = flat.places.minProperties ?? flat.places.maxProperties ?? "";
    refuse(place, "too many properties to be counted");
  }
  const comma = writer.basic("comma");
  let rules = Array.from({ length: last + 1 }, (_, count) => writeTail(writer, { others, least, most }, count));
  for (const { isNeeded, text } of [...members].reverse()) {
    const behind = rules;
    rules = behind.map((without, count) => {
      const choices = isNeeded ? [] : [without];
      if (most === undefined || count < most) {
        choices.unshift(`${count > 0 ? comma : ""} ${text} ${behind[Math.min(count + 1, last)]}`);
      }
      return choices.length === 0 ? nothing : writer.addRule(choices.join(" | "));
    });
  }
  return rules[0] ?? nothing;
}

/** How many members there may be, where that says more than the properties do. */
function countsOf(flat: Flat, members: readonly Member[], hasOthers: boolean): [number, number | undefined] {
  const needed = members.filter(({ isNeeded }) => isNeeded).length;
  const least = flat.members.least <= needed ? 0 : flat.members.least;
  const { most } = flat.members;
  if (hasOthers && least > 1 && least > needed + 1) {
    // The same name might come twice, which counts once.
    refuse(flat.places.minProperties ?? "", "more than one beside properties without a name is not supported");
  }
  return [least, !hasOthers && most !== undefined && most >= members.length ? undefined : most];
}

interface Tail {
  others: string | undefined;
  least: number;
  most: number | undefined;
}

/** Other members behind `count` ones, and a space behind the last one. */
function writeTail(writer: Writer, { others, least, most }: Tail, count: number): string {
  const missing = Math.max(least - count, 0);
  const room = most === undefined ? undefined : most - count;
  const end = count > 0 ? writer.basic("sp") : '""'; // an empty object has one space at most, too
  if (others === undefined || room === 0) {
    return missing === 0 ? end : nothing;
  }
  const comma = writer.basic("comma");
  if (count > 0) {
    return writer.addRule(`(${comma} ${others}){${missing},${room ?? ""}} ${end}`);
  }
  const more = `(${comma} ${others}){${Math.max(missing - 1, 0)},${room === undefined ? "" : room - 1}}`;
  return writer.addRule(`(${others} ${more} ${writer.basic("sp")})${missing > 0 ? "" : "?"}`);
}

/** Members that are not named; undefined if there are none. */
function writeOthers(writer: Writer, flat: Flat, names: readonly string[], writeAll: WriteAll): string | undefined {
  const patterns = [...new Map(flat.properties.flatMap((layer) => layer.patterns.map((one) => [one.source, one.at])))];
  if (patterns.length > maxPatterns) {
    refuse(patterns[0]?.[1] ?? "", `more than ${maxPatterns} patterns for one object are not supported`);
  }
  const written = patterns.map(([source, at]) => writeTest({ keyword: "pattern", source, at, not: false }, "json"));
  const limits = writeNames(writer, flat.names);
  const kinds: string[] = [];
  for (let kind = 0; kind < 2 ** patterns.length; kind++) {
    const isMatched = (source: string) => (kind & (1 << patterns.findIndex(([one]) => one === source))) !== 0;
    const all = flat.properties.flatMap((layer) => {
      const found = layer.patterns.filter(({ source }) => isMatched(source)).map(({ value }) => value);
      return found.length > 0 || layer.others === undefined ? found : [layer.others];
    });
    if (writer.expander.isEmpty(all, 1) || limits === nothing) {
      continue;
    }
    const tests = written.map((text, i) => ((kind & (1 << i)) === 0 ? `~(${text})` : text));
    const key = writeKeys(writer, names, [...tests, ...(limits === undefined ? [] : [limits])]);
    kinds.push(writer.addRule(`"\\"" ${key} "\\":" ${writer.basic("sp")} ${writeAll(all)}`));
  }
  return kinds.length === 0 ? undefined : writer.addRule(joinChoices(kinds));
}

/** Names that propertyNames accepts; undefined: all of them. */
function writeNames(writer: Writer, names: All): string | undefined {
  if (names.length === 0) {
    return undefined;
  }
  const usual = writer.basic("usual");
  const choices = writer.expander.expand(names).flatMap((flat) => {
    if ((flat.types & typeBits.string) === 0) {
      return [];
    }
    if (flat.values !== undefined) {
      const values = flat.values.filter((value) => typeof value === "string" && writer.isValid(flat, value));
      return values.map((value) => quoteText(JSON.stringify(value).slice(1, -1)));
    }
    const { least, most } = flat.length;
    return [writeTested(writer, flat) ?? `${usual}{${least},${most ?? ""}}`];
  });
  return joinChoices(choices);
}

/** The inside of a key that is none of these names and passes tests; in its usual spelling, as names have others. */
function writeKeys(writer: Writer, names: readonly string[], tests: readonly string[]): string {
  if (tests.length === 0 && names.length === 0) {
    return `${writer.basic("char")}*`;
  }
  const isPositive = tests.some((test) => !test.startsWith("~"));
  const all = isPositive ? tests : [`${writer.basic("usual")}*`, ...tests];
  const excluded = names.map((name) => quoteText(JSON.stringify(name).slice(1, -1)));
  const left = names.length === 0 ? all : [...all, `~(${excluded.join(" | ")})`];
  return left.length === 1 ? (left[0] ?? nothing) : `(${left.join(" & ")})`;
}
