// Arrays of a schema.

import { refuse } from "./error.js";
import { type All, type Flat, typeBits } from "./flat.js";
import { distinctValues } from "./json.js";
import { nothing } from "./numbers.js";
import { firstItems, itemAt, type Writer } from "./writer.js";

type WriteAll = (all: All) => string;

const maxUnique = 8; // of 8 values there are 256 sets that may have been

export function writeArray(writer: Writer, flat: Flat, writeAll: WriteAll): string {
  const excluded = flat.notValues.find(({ value }) => Array.isArray(value));
  if (excluded !== undefined) {
    refuse(excluded.at, "not of an array is not supported");
  }
  const { least, most } = flat.count;
  const sp = writer.basic("sp");
  if (flat.uniqueAt !== undefined && (most === undefined || most > 1)) {
    return `"[" ${sp} ${writeUnique(writer, flat, flat.uniqueAt)} "]"`;
  }
  if (flat.contains.length > 0) {
    return `"[" ${sp} ${writeContaining(writer, flat, writeAll)} ${sp} "]"`;
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

/** Any items with one among them that is special. */
function writeContaining(writer: Writer, flat: Flat, writeAll: WriteAll): string {
  const [wanted, ...more] = flat.contains;
  const { least, most } = flat.count;
  if (wanted === undefined || more.length > 0 || least > 1 || most !== undefined || firstItems(flat) > 0) {
    refuse(flat.contains[0]?.at ?? "", "contains beside minItems, maxItems or prefixItems is not supported");
  }
  const comma = writer.basic("comma");
  const item = writeAll(itemAt(flat, 0));
  const before = writeAll([...itemAt(flat, 0), { ...wanted, not: wanted.not !== true }]);
  return `(${before} ${comma})* ${writeAll([...itemAt(flat, 0), wanted])} (${comma} ${item})*`;
}

/** Items that are all different: a rule for each set of those that may still come. */
function writeUnique(writer: Writer, flat: Flat, at: string): string {
  const values = firstItems(flat) === 0 ? knownValues(writer, itemAt(flat, 0)) : undefined;
  const { least, most = values?.length ?? 0 } = flat.count;
  if (values === undefined || values.length > maxUnique || flat.contains.length > 0) {
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
