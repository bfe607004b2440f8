// Schemas without alternatives: what all of their keywords together ask of a value, type by type.

import { hasValue, isObject } from "./json.js";
import type { Bound } from "./numbers.js";

/** A schema and the JSON pointer of its place; `not`: the values that it does not accept. */
export interface Located {
  readonly schema: unknown;
  readonly at: string;
  readonly not?: boolean;
}

/** A value must be valid by all of them. */
export type All = readonly Located[];

export const nothingLocated: Located = { schema: false, at: "false" };

/** Types as bits. Numbers are whole or have a fraction, so that either can be excluded. */
export const typeBits = { null: 1, boolean: 2, string: 4, integer: 8, fraction: 16, array: 32, object: 64 } as const;
export const numberBits = typeBits.integer | typeBits.fraction;
export const allBits = 127;

export interface StringTest {
  readonly keyword: "pattern" | "format";
  readonly source: string;
  readonly at: string;
  readonly not: boolean;
}

/** `items` of a schema: those at the beginning, and all others. */
export interface ItemLayer {
  readonly first: readonly Located[];
  readonly others: Located | undefined;
  /** What it names counts as evaluated: it does not come from a schema that was turned around. */
  readonly evaluates?: boolean;
}

/** So many items that a schema accepts. */
export interface Containing {
  readonly wanted: Located;
  readonly count: Counts;
}

/** `properties` and what goes with them, of one schema: they say together what a property must be. */
export interface PropertyLayer {
  readonly named: ReadonlyMap<string, Located>;
  readonly patterns: readonly { source: string; at: string; value: Located }[];
  readonly others: Located | undefined;
  /** As that of items. */
  readonly evaluates?: boolean;
}

export interface Counts {
  readonly least: number;
  readonly most: number | undefined;
}

export interface Flat {
  readonly types: number;
  /** Only these. */
  readonly values: readonly unknown[] | undefined;
  readonly notValues: readonly { value: unknown; at: string }[];
  readonly least: Bound | undefined;
  readonly most: Bound | undefined;
  readonly multiples: readonly { value: number; at: string }[];
  readonly length: Counts;
  readonly tests: readonly StringTest[];
  readonly count: Counts;
  readonly items: readonly ItemLayer[];
  readonly contains: readonly Containing[];
  readonly uniqueAt: string | undefined;
  readonly members: Counts;
  readonly required: readonly string[];
  readonly properties: readonly PropertyLayer[];
  readonly names: readonly Located[];
  /** The place of each keyword that limits something, for messages. */
  readonly places: Readonly<Record<string, string>>;
}

const anyCount: Counts = { least: 0, most: undefined };

export const anything: Flat = {
  types: allBits,
  values: undefined,
  notValues: [],
  least: undefined,
  most: undefined,
  multiples: [],
  length: anyCount,
  tests: [],
  count: anyCount,
  items: [],
  contains: [],
  uniqueAt: undefined,
  members: anyCount,
  required: [],
  properties: [],
  names: [],
  places: {},
};

/** Values that both accept; undefined if they have no type or listed value in common. */
export function mergeFlats(a: Flat, b: Flat): Flat | undefined {
  return narrow(joinFlats(a, b));
}

export function joinFlats(a: Flat, b: Flat): Flat {
  return {
    types: a.types & b.types,
    values: mergeValues(a.values, b.values),
    notValues: [...a.notValues, ...b.notValues],
    least: tighter(a.least, b.least, 1),
    most: tighter(a.most, b.most, -1),
    multiples: [...a.multiples, ...b.multiples],
    length: mergeCounts(a.length, b.length),
    tests: [...a.tests, ...b.tests],
    count: mergeCounts(a.count, b.count),
    items: [...a.items, ...b.items],
    contains: [...a.contains, ...b.contains],
    uniqueAt: a.uniqueAt ?? b.uniqueAt,
    members: mergeCounts(a.members, b.members),
    required: [...new Set([...a.required, ...b.required])],
    properties: [...a.properties, ...b.properties],
    names: [...a.names, ...b.names],
    places: { ...b.places, ...a.places },
  };
}

/** The same for equal flat schemas. */
export function flatKey(flat: Flat): string {
  return JSON.stringify(flat, (_, value: unknown) => {
    if (value instanceof Map) {
      return [...value];
    }
    return isObject(value) && "schema" in value && "at" in value
      ? `${value.not === true ? "!" : ""}${value.at}`
      : value;
  });
}

/** What a schema says of a value that it is turned around for: nothing of it counts as evaluated. */
export function withoutEvaluation(flat: Flat): Flat {
  const drop = <Layer extends ItemLayer | PropertyLayer>(layer: Layer): Layer => ({ ...layer, evaluates: false });
  return { ...flat, items: flat.items.map(drop), properties: flat.properties.map(drop) };
}

/** Without the types that nothing can have; undefined if none is left. */
export function narrow(flat: Flat): Flat | undefined {
  let { types, values } = flat;
  const drop = (bits: number, when: boolean) => {
    types = when ? types & ~bits : types;
  };
  const isEmpty = ({ least, most }: Counts) => most !== undefined && most < least;
  drop(numberBits, isEmptyRange(flat));
  drop(typeBits.string, isEmpty(flat.length));
  drop(typeBits.array, isEmpty(flat.count));
  drop(typeBits.object, isEmpty(flat.members));
  drop(
    typeBits.object,
    flat.required.some((name) => isForbidden(flat, name)),
  );
  if (values !== undefined) {
    const excluded = flat.notValues.map(({ value }) => value);
    values = values.filter((value) => (typeOf(value) & types) !== 0 && !hasValue(excluded, value));
    types = values.reduce((bits: number, value) => bits | typeOf(value), 0);
  }
  return types === 0 ? undefined : { ...flat, types, values };
}

function isForbidden(flat: Flat, name: string): boolean {
  return flat.properties.some(({ named, patterns, others }) => {
    const own = named.get(name) ?? (patterns.length === 0 ? others : undefined);
    return own !== undefined && own.schema === (own.not === true);
  });
}

function isEmptyRange({ least, most }: Flat): boolean {
  if (least === undefined || most === undefined) {
    return false;
  }
  return least.value > most.value || (least.value === most.value && (least.isExclusive || most.isExclusive));
}

/** The bit of a value's type. */
export function typeOf(value: unknown): number {
  if (value === null) {
    return typeBits.null;
  }
  switch (typeof value) {
    case "boolean":
      return typeBits.boolean;
    case "string":
      return typeBits.string;
    case "number":
      return Number.isInteger(value) ? typeBits.integer : typeBits.fraction;
    default:
      return isObject(value) ? typeBits.object : typeBits.array;
  }
}

function mergeValues(a: Flat["values"], b: Flat["values"]): Flat["values"] {
  return a === undefined || b === undefined ? (a ?? b) : a.filter((value) => hasValue(b, value));
}

function mergeCounts(a: Counts, b: Counts): Counts {
  return {
    least: Math.max(a.least, b.least),
    most: a.most === undefined || b.most === undefined ? (a.most ?? b.most) : Math.min(a.most, b.most),
  };
}

/** The bound that leaves less; `direction` 1: the greater one. */
function tighter(a: Bound | undefined, b: Bound | undefined, direction: 1 | -1): Bound | undefined {
  if (a === undefined || b === undefined || a.value === b.value) {
    return a?.isExclusive ? a : (b ?? a);
  }
  return (b.value - a.value) * direction > 0 ? b : a;
}
