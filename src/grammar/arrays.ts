// Arrays of a schema.

import { refuse } from "./error.js";
import { type All, type Containing, type Flat, typeBits } from "./flat.js";
import { distinctValues } from "./json.js";
import { nothing } from "./numbers.js";
import { firstItems, itemAt, joinChoices, type Writer } from "./writer.js";

type WriteAll = (all: All) => string;

const maxUnique = 8; // of 8 values there are 256 sets that may have been
const maxContains = 3; // schemas for items that are counted: 8 kinds of items
const maxContainStates = 1000; // places times numbers of them

export function writeArray(writer: Writer, flat: Flat, writeAll: WriteAll): string {
  const excluded = flat.notValues.find(({ value }) => Array.isArray(value));
  if (excluded !== undefined) {
    refuse(excluded.at, "not of an array is not supported");
  }
  const { least, most } = flat.count;
  const sp = writer.basic("sp");
  if (flat.uniqueAt !== undefined && !areDistinct(writer, flat)) {
    return `"[" ${sp} ${writeUnique(writer, flat, flat.uniqueAt)} "]"`;
  }
  if (flat.contains.some(isLimit)) {
    return `"[" ${sp} ${new ContainingArray(writer, flat, writeAll).write()} "]"`;
  }
  if (flat.items.length === 0 && least === 0 && most === undefined) {
    return writer.basic("array");
  }
  return writeItems(writer, flat, writeAll);
}

function writeItems(writer: Writer, flat: Flat, writeAll: WriteAll): string {
  const { least, most } = flat.count;
  const [comma, sp] = [writer.basic("comma"), writer.basic("sp")];
  const first = Array.from({ length: Math.min(firstItems(flat), most ?? Number.POSITIVE_INFINITY) }, (_, i) =>
    writeAll(itemAt(flat, i)),
  );
  const other = writeAll(itemAt(flat, firstItems(flat)));
  // From the end: `rest` is what may follow the items so far, each with its comma.
  const beyond = Math.max(least - first.length, 0);
  const room = most === undefined ? "" : String(Math.max(most - first.length, 0));
  if (first.length === 0) {
    if (room === "0") {
      return `"[" ${sp} "]"`;
    }
    const more = `(${comma} ${other}){${Math.max(least - 1, 0)},${most === undefined ? "" : most - 1}}`;
    return `"[" ${sp} (${other} ${more} ${sp})${least > 0 ? "" : "?"} "]"`;
  }
  let rest = room === "0" ? '""' : `(${comma} ${other}){${beyond},${room}}`;
  for (let i = first.length - 1; i > 0; i--) {
    const some = `${comma} ${first[i]} ${rest}`;
    rest = writer.addRule(i < least ? some : `(${some})?`);
  }
  return `"[" ${sp} (${first[0]} ${rest} ${sp})${least > 0 ? "" : "?"} "]"`;
}

/**
 * Items of which some are counted: a rule for each place and each number of items so far that a schema wanted. Places and
 * numbers that make no difference are one, where the same kind of item may come again and again.
 */
class ContainingArray {
  readonly #writer: Writer;
  readonly #flat: Flat;
  readonly #writeAll: WriteAll;
  readonly #contains: Flat["contains"];
  readonly #at: string;
  /** Place from which on all items are alike. */
  readonly #last: number;
  /** By wanted schema: the number from which on more of them change nothing. */
  readonly #enough: readonly number[];
  readonly #rules = new Map<string, string>();

  constructor(writer: Writer, flat: Flat, writeAll: WriteAll) {
    this.#writer = writer;
    this.#flat = flat;
    this.#writeAll = writeAll;
    const { count } = flat;
    const contains = flat.contains.filter(isLimit);
    this.#contains = contains;
    this.#at = contains[0]?.wanted.at ?? "";
    this.#last = Math.max(1, firstItems(flat), count.least, count.most ?? 0);
    this.#enough = contains.map(({ count: { least, most } }) => most ?? least);
    const states = this.#enough.reduce((product, enough) => product * (enough + 1), this.#last + 1);
    if (contains.length > maxContains || states > maxContainStates) {
      refuse(this.#at, `supported are ${maxContains} of it for one array, and counts up to some ${maxContainStates}`);
    }
  }

  /** What stands between the brackets, but for the first space. */
  write(): string {
    return this.#rest(
      0,
      this.#enough.map(() => 0),
    );
  }

  #rest(place: number, found: readonly number[]): string {
    const key = `${place} ${found}`;
    const known = this.#rules.get(key);
    if (known !== undefined) {
      return known;
    }
    const comma = place > 0 ? this.#writer.basic("comma") : "";
    const again: string[] = [];
    const choices = this.#canEnd(place, found) ? [place > 0 ? this.#writer.basic("sp") : '""'] : [];
    for (const { item, next } of this.#items(place, found)) {
      const nextPlace = Math.min(place + 1, this.#last);
      if (nextPlace === place && next.every((n, i) => n === found[i])) {
        again.push(item);
      } else {
        choices.push(`${comma} ${item} ${this.#rest(nextPlace, next)}`);
      }
    }
    const rest = choices.length === 0 ? nothing : joinChoices(choices);
    const repeated = again.length === 0 ? rest : `(${comma} ${joinChoices(again)})* ${rest}`;
    const rule = this.#writer.addRule(repeated);
    this.#rules.set(key, rule);
    return rule;
  }

  #canEnd(place: number, found: readonly number[]): boolean {
    const isEnough = this.#contains.every(({ count }, i) => (found[i] ?? 0) >= count.least);
    return isEnough && place >= this.#flat.count.least;
  }

  /** What may come at a place, by which of the wanted schemas accept it. */
  *#items(place: number, found: readonly number[]): Generator<{ item: string; next: readonly number[] }> {
    const contains = this.#contains;
    if (place === this.#flat.count.most) {
      return;
    }
    for (let kind = 0; kind < 2 ** contains.length; kind++) {
      const isWanted = (i: number) => (kind & (1 << i)) !== 0;
      if (contains.some(({ count: { most } }, i) => isWanted(i) && found[i] === most)) {
        continue;
      }
      const all = contains.map(({ wanted }, i) => (isWanted(i) ? wanted : { ...wanted, not: wanted.not !== true }));
      const item = this.#writeAll([...itemAt(this.#flat, place), ...all]);
      yield { item, next: found.map((n, i) => Math.min(n + Number(isWanted(i)), this.#enough[i] ?? 0)) };
    }
  }
}

/** minContains 0 alone asks for nothing. */
function isLimit({ count: { least, most } }: Containing): boolean {
  return least > 0 || most !== undefined;
}

/** Whether no two items can be equal, as there are too few of them or each has its own schema. */
function areDistinct(writer: Writer, flat: Flat): boolean {
  const { most = Number.POSITIVE_INFINITY } = flat.count;
  const first = firstItems(flat);
  const isClosed = most <= first || writer.expander.isEmpty(itemAt(flat, first), 1);
  const places = Array.from({ length: Math.min(most, first) }, (_, i) => itemAt(flat, i));
  return (
    most <= 1 ||
    (isClosed &&
      places.every((one, i) => places.slice(0, i).every((other) => writer.expander.isEmpty([...one, ...other], 3))))
  );
}

/** Items that are all different: a rule for each set of those that may still come. */
function writeUnique(writer: Writer, flat: Flat, at: string): string {
  const values = firstItems(flat) === 0 ? knownValues(writer, itemAt(flat, 0)) : undefined;
  const { least, most = values?.length ?? 0 } = flat.count;
  if (values === undefined || values.length > maxUnique || flat.contains.some(isLimit)) {
    refuse(at, `supported is a list of at most ${maxUnique} values (enum), or of at most one item`);
  }
  const written = values.map((value) => writer.addRule(writer.value(value)));
  const comma = writer.basic("comma");
  const write = (used: number, count: number): string =>
    writer.shared(`${at} ${used}`, () => {
      const choices = count >= least ? [count > 0 ? writer.basic("sp") : '""'] : [];
      for (const [i, value] of written.entries()) {
        if (count < most && (used & (1 << i)) === 0) {
          choices.push(`${count > 0 ? comma : ""} ${value} ${write(used | (1 << i), count + 1)}`);
        }
      }
      return choices.length === 0 ? nothing : choices.join(" | ");
    });
  return write(0, 0);
}

/** All values that there are; undefined if there is no end of them. */
function knownValues(writer: Writer, all: All): readonly unknown[] | undefined {
  const values: unknown[] = [];
  for (const flat of writer.expander.expand(all)) {
    const small = flat.types & ~(typeBits.null | typeBits.boolean);
    const [least, most] = [flat.least?.value, flat.most?.value];
    const listed = [...(flat.values ?? [null, true, false])];
    if (flat.values === undefined && small !== 0) {
      const isRange =
        small === typeBits.integer && least !== undefined && most !== undefined && most - least <= maxUnique;
      if (!isRange) {
        return undefined;
      }
      for (let value = Math.ceil(least); value <= most; value++) {
        listed.push(value);
      }
    }
    values.push(...listed.filter((value) => writer.isValid(flat, value)));
  }
  return distinctValues(values);
}
