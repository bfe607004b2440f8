// The keywords of JSON schemas (draft 2020-12), one by one: what a value must be, and what it is if it must not.

import { refuse } from "./error.js";
import {
  allBits,
  anything,
  type Counts,
  type Flat,
  type Located,
  nothingLocated,
  numberBits,
  typeBits,
} from "./flat.js";
import { formatNames, formatPatterns, formatRanges, freeFormats, wholeFormats } from "./formats.js";
import { escapePointer, isObject, type JsonObject, typeNames } from "./json.js";

/** What of a flat schema a keyword sets; `at` is the place of the keyword. */
type Change = Partial<Flat>;

interface Keyword {
  /** Bits of the types that it is about: values of others are valid. */
  readonly types: number;
  read(value: unknown, at: string, schema: JsonObject): Change;
  /** One of these, for values of those types that are not valid. Absent: cannot be turned around. */
  negate?(value: unknown, at: string, schema: JsonObject): readonly Change[];
}

const { array, object, string } = typeBits;
const maxCount = 100_000;

/** Keywords that say nothing about which values are valid. */
export const annotations: ReadonlySet<string> = new Set([
  ...["title", "description", "default", "examples", "example", "$schema", "$id", "$comment", "$defs", "definitions"],
  ...["$anchor", "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "contentSchema"],
  ...["discriminator", "externalDocs", "xml", "$vocabulary"],
]);

/** Keywords that hold schemas for the same value. */
export const combining: ReadonlySet<string> = new Set([
  ...["$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"],
  "unevaluatedProperties",
  "unevaluatedItems",
]);

/** Read with `contains` beside them. */
export const companions: ReadonlySet<string> = new Set(["minContains", "maxContains"]);

export function isAnnotation(keyword: string): boolean {
  return annotations.has(keyword) || keyword.startsWith("x-");
}

function readNumber(value: unknown, at: string): number {
  return typeof value === "number" && Number.isFinite(value) ? value : refuse(at, "expected a number");
}

function readCount(value: unknown, at: string): number {
  const isCount = Number.isInteger(value) && Number(value) >= 0 && Number(value) <= maxCount;
  return isCount ? Number(value) : refuse(at, `expected a whole number from 0 to ${maxCount}`);
}

function readList(value: unknown, at: string): readonly unknown[] {
  return Array.isArray(value) ? value : refuse(at, "expected a list");
}

function readNames(value: unknown, at: string): readonly string[] {
  return readList(value, at).map((name) => (typeof name === "string" ? name : refuse(at, "expected a list of names")));
}

function readText(value: unknown, at: string): string {
  return typeof value === "string" ? value : refuse(at, "expected a text");
}

function readSchemas(value: unknown, at: string): readonly [string, Located][] {
  return isObject(value)
    ? Object.entries(value).map(([name, schema]) => [name, { schema, at: `${at}/${escapePointer(name)}` }])
    : refuse(at, "expected an object");
}

function bound(side: "least" | "most", isExclusive: boolean): Keyword {
  return {
    types: numberBits,
    read: (value, at) => ({ [side]: { value: readNumber(value, at), isExclusive } }),
    negate: (value, at) => [
      { [side === "least" ? "most" : "least"]: { value: readNumber(value, at), isExclusive: !isExclusive } },
    ],
  };
}

function counts(part: "length" | "count" | "members", side: "least" | "most", types: number): Keyword {
  return {
    types,
    read: (value, at) => {
      const count = readCount(value, at);
      return { [part]: side === "least" ? { least: count, most: undefined } : { least: 0, most: count } };
    },
    negate: (value, at) => {
      const count = readCount(value, at);
      if (side === "most") {
        return [{ [part]: { least: count + 1, most: undefined } }];
      }
      return count === 0 ? [] : [{ [part]: { least: 0, most: count - 1 } }];
    },
  };
}

function readTypes(value: unknown, at: string): number {
  let bits = 0;
  for (const name of Array.isArray(value) ? value : [value]) {
    if (!typeNames.some((known) => known === name)) {
      refuse(at, `expected one of ${typeNames.join(", ")}`);
    }
    bits |= name === "number" ? numberBits : typeBits[name as keyof typeof typeBits];
  }
  return bits;
}

function readValues(value: unknown, at: string): readonly unknown[] {
  const values = readList(value, at);
  return values.length > 0 ? values : refuse(at, "expected a list that is not empty");
}

const pattern: Keyword = {
  types: string,
  read: (value, at) => ({ tests: [{ keyword: "pattern", source: readText(value, at), at, not: false }] }),
  negate: (value, at) => [{ tests: [{ keyword: "pattern", source: readText(value, at), at, not: true }] }],
};

const format: Keyword = {
  types: allBits,
  read: (value, at) => {
    const source = readText(value, at);
    if (freeFormats.has(source)) {
      return {};
    }
    const range = Object.hasOwn(formatRanges, source) ? formatRanges[source] : undefined;
    if (range !== undefined) {
      const [least, most] = range.map((bound) => ({ value: bound, isExclusive: false }));
      return { types: allBits & ~typeBits.fraction, least, most };
    }
    return Object.hasOwn(formatPatterns, source)
      ? { tests: [{ keyword: "format", source, at, not: false }] }
      : refuse(at, `expected one of ${formatNames.join(", ")}`);
  },
  negate: (value, at) => {
    const source = readText(value, at);
    if (freeFormats.has(source)) {
      return [];
    }
    return wholeFormats.has(source)
      ? [{ types: string, tests: [{ keyword: "format", source, at, not: true }] }]
      : refuse(at, "not of this format is not supported");
  },
};

/** The property layer of a schema: its three keywords only mean something together. */
function readLayer(schema: JsonObject, at: string): Change {
  const parent = at.slice(0, at.lastIndexOf("/"));
  const { properties = {}, patternProperties = {}, additionalProperties } = schema;
  const patterns = readSchemas(patternProperties, `${parent}/patternProperties`);
  const others = { schema: additionalProperties, at: `${parent}/additionalProperties` };
  return {
    properties: [
      {
        named: new Map(readSchemas(properties, `${parent}/properties`)),
        patterns: patterns.map(([source, value]) => ({ source, at: value.at, value })),
        others: additionalProperties === undefined ? undefined : others,
        evaluates: true,
      },
    ],
  };
}

/** An object where a property is not there. */
export function without(name: string): Change {
  return { properties: [{ named: new Map([[name, nothingLocated]]), patterns: [], others: undefined }] };
}

function withProperty(name: string, value: Located): Change {
  return { required: [name], properties: [{ named: new Map([[name, value]]), patterns: [], others: undefined }] };
}

function readItems(schema: JsonObject, at: string): Change {
  const parent = at.slice(0, at.lastIndexOf("/"));
  const { prefixItems = [], items } = schema;
  if (Array.isArray(items)) {
    refuse(at, "expected a schema; lists are called prefixItems since draft 2020-12");
  }
  return {
    items: [
      {
        first: readList(prefixItems, at).map((item, i) => ({ schema: item, at: `${parent}/prefixItems/${i}` })),
        others: items === undefined ? undefined : { schema: items, at: `${parent}/items` },
        evaluates: true,
      },
    ],
  };
}

function readContained({ minContains = 1, maxContains }: JsonObject, at: string): Counts {
  const parent = at.slice(0, at.lastIndexOf("/"));
  return {
    least: readCount(minContains, `${parent}/minContains`),
    most: maxContains === undefined ? undefined : readCount(maxContains, `${parent}/maxContains`),
  };
}

const layer: Keyword = {
  types: object,
  read: (_, at, schema) => readLayer(schema, at),
};

export const keywords: Readonly<Record<string, Keyword>> = {
  type: {
    types: allBits,
    read: (value, at) => ({ types: readTypes(value, at) }),
    negate: (value, at) => [{ types: allBits & ~readTypes(value, at) }],
  },
  enum: {
    types: allBits,
    read: (value, at) => ({ values: readValues(value, at) }),
    negate: (values, at) => [{ notValues: readValues(values, at).map((value) => ({ value, at })) }],
  },
  const: {
    types: allBits,
    read: (value) => ({ values: [value] }),
    negate: (value, at) => [{ notValues: [{ value, at }] }],
  },
  minimum: bound("least", false),
  exclusiveMinimum: bound("least", true),
  maximum: bound("most", false),
  exclusiveMaximum: bound("most", true),
  multipleOf: {
    types: numberBits,
    read: (value, at) => {
      const divisor = readNumber(value, at);
      return { multiples: [{ value: divisor > 0 ? divisor : refuse(at, "expected a number above 0"), at }] };
    },
  },
  minLength: counts("length", "least", string),
  maxLength: counts("length", "most", string),
  pattern,
  format,
  minItems: counts("count", "least", array),
  maxItems: counts("count", "most", array),
  prefixItems: {
    types: array,
    read: (_, at, schema) => readItems(schema, at),
    negate: (value, at) =>
      readList(value, at).map((schema, i) => ({
        count: { least: i + 1, most: undefined },
        items: [
          {
            first: [...Array(i).fill({ schema: true, at }), { schema, at: `${at}/${i}`, not: true }],
            others: undefined,
          },
        ],
      })),
  },
  items: {
    types: array,
    read: (_, at, schema) => readItems(schema, at),
    negate: (value, at, schema) =>
      schema.prefixItems === undefined
        ? [{ contains: [{ wanted: { schema: value, at, not: true }, count: { least: 1, most: undefined } }] }]
        : refuse(at, "beside prefixItems it cannot be turned around"),
  },
  contains: {
    types: array,
    read: (value, at, schema) => {
      return { contains: [{ wanted: { schema: value, at }, count: readContained(schema, at) }] };
    },
    negate: (value, at, schema) => {
      const { least, most } = readContained(schema, at);
      const containing = (count: Counts): Change => ({ contains: [{ wanted: { schema: value, at }, count }] });
      const fewer = least === 1 ? { items: [{ first: [], others: { schema: value, at, not: true } }] } : undefined;
      return [
        ...(least > 0 ? [fewer ?? containing({ least: 0, most: least - 1 })] : []),
        ...(most === undefined ? [] : [containing({ least: most + 1, most: undefined })]),
      ];
    },
  },
  uniqueItems: {
    types: array,
    read: (value, at) => (value === true ? { uniqueAt: at } : {}),
  },
  required: {
    types: object,
    read: (value, at) => ({ required: readNames(value, at) }),
    negate: (value, at) => readNames(value, at).map(without),
  },
  properties: {
    ...layer,
    negate: (value, at) =>
      readSchemas(value, at).map(([name, { schema, at }]) => withProperty(name, { schema, at, not: true })),
  },
  patternProperties: layer,
  additionalProperties: layer,
  propertyNames: {
    types: object,
    read: (value, at) => ({ names: [{ schema: value, at }] }),
  },
  minProperties: counts("members", "least", object),
  maxProperties: counts("members", "most", object),
};

/** The first of keywords that are read together: the others are passed over. */
export const together: readonly (readonly string[])[] = [
  ["properties", "patternProperties", "additionalProperties"],
  ["items", "prefixItems"],
];

/** A flat schema with something set. */
export function flatOf(change: Change): Flat {
  return { ...anything, ...change };
}
