// From schemas with references and alternatives to flat ones: a value is valid if one of the flat ones accepts it.

import { GrammarError, refuse } from "./error.js";
import {
  type All,
  anything,
  type Flat,
  flatKey,
  joinFlats,
  type Located,
  mergeFlats,
  narrow,
  typeBits,
  withoutEvaluation,
} from "./flat.js";
import { decodePointer, escapePointer, isObject, type JsonObject } from "./json.js";
import { combining, companions, flatOf, isAnnotation, keywords, together, without } from "./keywords.js";

const maxAlternatives = 256;
const maxSteps = 100_000; // merges of two flat schemas: some 0.2 s
const maxDepth = 256; // of schemas and references within each other

export class Expander {
  readonly #root: unknown;
  readonly #known = new Map<string, readonly Flat[]>();
  readonly #open = new Set<string>();
  /** Schemas on the way that ask what has been evaluated: then it matters which of several alternatives hold. */
  #watchers = 0;
  #steps = 0;
  #depth = 0;

  constructor(root: unknown) {
    this.#root = root;
  }

  /** Flat schemas for the values that all of these accept. Throws GrammarError for what cannot be told exactly. */
  expand(all: All): readonly Flat[] {
    return all.reduce<readonly Flat[]>(
      (flats, located) => this.#product(flats, this.#alternatives(located), located.at),
      [anything],
    );
  }

  /** Surely no value is valid by all of these; false where that is not clear. */
  isEmpty(all: All, depth: number): boolean {
    if (all.some(({ schema, not }) => schema === (not === true))) {
      return true;
    }
    if (depth === 0) {
      return false;
    }
    try {
      return this.expand(all).every((flat) => this.#isEmptyFlat(flat, depth));
    } catch {
      return false; // what is wrong there is told where it is written
    }
  }

  /** Follows references at the top of a schema that is nothing else. */
  resolve(located: Located): Located {
    let { schema, at } = located;
    for (let steps = 0; isObject(schema) && schema.$ref !== undefined; steps++) {
      const { $ref, ...rest } = schema;
      if (Object.keys(rest).some((keyword) => !isAnnotation(keyword))) {
        break;
      }
      if (steps > maxDepth) {
        refuse(`${at}/$ref`, "references that lead to themselves");
      }
      schema = this.#lookUp($ref, `${at}/$ref`);
      at = pointerOf(String($ref));
    }
    return { ...located, schema, at };
  }

  /** What of a property the layers of a flat schema say. */
  propertyOf(flat: Flat, name: string, matches: (pattern: string, at: string) => boolean): All {
    return flat.properties.flatMap(({ named, patterns, others }) => {
      const found = patterns.filter(({ source, at }) => matches(source, at)).map(({ value }) => value);
      const own = named.get(name);
      if (own !== undefined) {
        found.push(own);
      }
      return found.length > 0 || others === undefined ? found : [others];
    });
  }

  #isEmptyFlat(flat: Flat, depth: number): boolean {
    if (flat.types !== typeBits.object) {
      return false;
    }
    return flat.required.some((name) => {
      const named = flat.properties.flatMap((layer) => layer.named.get(name) ?? []);
      return this.isEmpty(named, depth - 1);
    });
  }

  #alternatives(located: Located): readonly Flat[] {
    const { schema, at, not = false } = this.resolve(located);
    if (typeof schema === "boolean") {
      return schema === not ? [] : [anything];
    }
    if (!isObject(schema)) {
      refuse(at, "expected a schema: an object, true or false");
    }
    const key = `${not ? "!" : this.#watchers > 0 ? "?" : ""}${at}`;
    const known = this.#known.get(key);
    if (known !== undefined) {
      return known;
    }
    if (this.#open.has(key) || this.#depth === maxDepth) {
      refuse(`${at}/$ref`, "references that lead to themselves");
    }
    this.#open.add(key);
    this.#depth += 1;
    try {
      const flats = not ? this.#negated(schema, at).map(withoutEvaluation) : this.#positive(schema, at);
      this.#known.set(key, flats);
      return flats;
    } finally {
      this.#depth -= 1;
      this.#open.delete(key);
    }
  }

  #product(a: readonly Flat[], b: readonly Flat[], at: string): readonly Flat[] {
    this.#take(a.length * b.length, at);
    if (a.length === 1 && a[0] === anything) {
      return b;
    }
    return this.#limit(
      a.flatMap((one) => b.flatMap((other) => mergeFlats(one, other) ?? [])),
      at,
    );
  }

  #take(steps: number, at: string): void {
    this.#steps += steps;
    if (this.#steps > maxSteps) {
      refuse(at, "the schema has too many combinations of alternatives");
    }
  }

  #limit(flats: readonly Flat[], at: string): readonly Flat[] {
    if (flats.length < 2) {
      return flats;
    }
    const keyed = flats.map((flat) => [flatKey(flat), flat] as const);
    this.#take(Math.ceil(keyed.reduce((sum, [key]) => sum + key.length, 0) / 1000), at);
    const distinct = [...new Map(keyed).values()];
    return distinct.length <= maxAlternatives
      ? distinct
      : refuse(at, `more than ${maxAlternatives} combinations of alternatives`);
  }

  // ---- as it is

  #positive(schema: JsonObject, at: string): readonly Flat[] {
    const watches = schema.unevaluatedProperties !== undefined || schema.unevaluatedItems !== undefined;
    this.#watchers += Number(watches);
    try {
      let flats: readonly Flat[] = [this.#own(schema, at)].flatMap((flat) => narrow(flat) ?? []);
      for (const keyword of Object.keys(schema).filter((name) => combining.has(name))) {
        for (const alternatives of this.#factors(keyword, schema, at)) {
          flats = this.#product(flats, alternatives, `${at}/${keyword}`);
        }
      }
      return watches ? flats.flatMap((flat) => narrow(closeFlat(flat, schema, at)) ?? []) : flats;
    } finally {
      this.#watchers -= Number(watches);
    }
  }

  /** What a keyword that combines schemas asks for: each of these. */
  #factors(keyword: string, schema: JsonObject, at: string): readonly (readonly Flat[])[] {
    const place = `${at}/${keyword}`;
    const value = schema[keyword];
    switch (keyword) {
      case "$ref":
        return [this.#alternatives({ schema: this.#lookUp(value, place), at: pointerOf(String(value)) })];
      case "allOf":
        return parts(value, place).map((part) => this.#alternatives(part));
      case "anyOf":
        return [this.#anyOf(parts(value, place), place)];
      case "oneOf":
        return [this.#oneOf(parts(value, place), place)];
      case "not":
        return [this.#alternatives({ schema: value, at: place, not: true })];
      case "if":
        return [this.#conditional(schema, at)];
      case "dependentRequired":
        return entries(value, place).map(([name, needed]) => {
          const names = Array.isArray(needed) ? needed.map(String) : refuse(place, "expected lists of names");
          return [flatOf(without(name)), flatOf({ required: [name, ...names] })];
        });
      case "dependentSchemas":
        return entries(value, place).map(([name, dependent]) => [
          flatOf(without(name)),
          ...this.#product(
            [flatOf({ required: [name] })],
            this.#alternatives({ schema: dependent, at: `${place}/${escapePointer(name)}` }),
            place,
          ),
        ]);
      default:
        return []; // then and else, which are read with if
    }
  }

  /** Where it matters what has been evaluated, also those that several of them accept together. */
  #anyOf(schemas: All, at: string): readonly Flat[] {
    let flats: readonly Flat[] = [];
    for (const schema of schemas) {
      const own = this.#alternatives(schema);
      const both = this.#watchers === 0 || flats.length === 0 ? [] : this.#product(flats, own, at);
      flats = this.#limit([...flats, ...own, ...both], at);
    }
    return flats;
  }

  /** Its keywords that stand for themselves. */
  #own(schema: JsonObject, at: string): Flat {
    return readTogether(assertions(schema, at)).reduce((own, [name, value, place]) => {
      const change = keywords[name]?.read(value, place, schema) ?? {};
      return joinFlats(own, flatOf({ ...change, places: { [name]: place } }));
    }, anything);
  }

  #conditional(schema: JsonObject, at: string): readonly Flat[] {
    const condition = { schema: schema.if, at: `${at}/if` };
    const branch = (keyword: "then" | "else", not: boolean) =>
      schema[keyword] === undefined
        ? this.#alternatives({ ...condition, not })
        : this.#product(
            this.#alternatives({ ...condition, not }),
            this.#alternatives({ schema: schema[keyword], at: `${at}/${keyword}` }),
            `${at}/${keyword}`,
          );
    if (schema.then !== undefined || schema.else !== undefined) {
      return [...branch("then", false), ...branch("else", true)];
    }
    return this.#watchers === 0 ? [anything] : [anything, ...this.#alternatives(condition)];
  }

  /** A value that two of them accept is not valid. */
  #oneOf(schemas: All, at: string): readonly Flat[] {
    const only = schemas.flatMap((schema, i) => {
      let flats = this.#alternatives(schema);
      for (const [j, other] of schemas.entries()) {
        if (j !== i && !this.areDisjoint(schema, other)) {
          flats = this.#product(flats, this.#not(other, at, `values may be valid by both ${i} and ${j}`), at);
        }
      }
      return flats;
    });
    return this.#limit(only, at);
  }

  #not(located: Located, at: string, problem: string): readonly Flat[] {
    try {
      return this.#alternatives({ ...located, not: true });
    } catch (error) {
      if (error instanceof GrammarError) {
        refuse(at, `${problem}: use anyOf, or give them different types or a property with const`);
      }
      throw error;
    }
  }

  /** Surely no value is valid by both. */
  areDisjoint(a: Located, b: Located): boolean {
    return this.isEmpty([a, b], 3);
  }

  // ---- turned around

  /** The values that a schema does not accept: those that one of its keywords does not. */
  #negated(schema: JsonObject, at: string): readonly Flat[] {
    const own = assertions(schema, at).flatMap(([name, value, place]) => {
      const keyword = keywords[name];
      if (keyword?.negate === undefined) {
        if (name === "additionalProperties" && value === true) {
          return [];
        }
        return refuse(place, "not of this keyword is not supported");
      }
      return keyword.negate(value, place, schema).map((change) => flatOf({ types: keyword.types, ...change }));
    });
    const combined = Object.keys(schema)
      .filter((name) => combining.has(name))
      .flatMap((keyword) => this.#negatedFactors(keyword, schema, at));
    return this.#limit(
      [...own, ...combined].flatMap((flat) => narrow(flat) ?? []),
      at,
    );
  }

  #negatedFactors(keyword: string, schema: JsonObject, at: string): readonly Flat[] {
    const place = `${at}/${keyword}`;
    const value = schema[keyword];
    const none = (all: All): readonly Flat[] => this.expand(all.map((one) => ({ ...one, not: true })));
    switch (keyword) {
      case "$ref":
        return none([{ schema: this.#lookUp(value, place), at: pointerOf(String(value)) }]);
      case "allOf":
        return parts(value, place).flatMap((part) => none([part]));
      case "anyOf":
        return none(parts(value, place));
      case "oneOf":
        return this.#notOneOf(parts(value, place), place);
      case "not":
        return this.#alternatives({ schema: value, at: place });
      case "if":
        return this.#notConditional(schema, at);
      case "dependentRequired":
        return entries(value, place).flatMap(([name, needed]) =>
          (Array.isArray(needed) ? needed : []).flatMap(
            (other) =>
              mergeFlats(flatOf({ types: typeBits.object, required: [name] }), flatOf(without(String(other)))) ?? [],
          ),
        );
      case "then":
      case "else":
        return [];
      default:
        return refuse(place, "not of this keyword is not supported");
    }
  }

  #notOneOf(schemas: All, at: string): readonly Flat[] {
    const negated = schemas.map((schema) => ({ ...schema, not: true }));
    const pairs = schemas.flatMap((schema, i) => schemas.slice(0, i).map((other) => [schema, other]));
    return this.#limit([...this.expand(negated), ...pairs.flatMap((pair) => this.expand(pair))], at);
  }

  #notConditional(schema: JsonObject, at: string): readonly Flat[] {
    const condition = { schema: schema.if, at: `${at}/if` };
    const branch = (keyword: "then" | "else", not: boolean) =>
      schema[keyword] === undefined
        ? []
        : this.expand([
            { ...condition, not },
            { schema: schema[keyword], at: `${at}/${keyword}`, not: true },
          ]);
    return [...branch("then", false), ...branch("else", true)];
  }

  // ---- references

  #lookUp(reference: unknown, at: string): unknown {
    if (typeof reference !== "string" || (reference !== "#" && !reference.startsWith("#/"))) {
      refuse(at, `expected a place in this schema (#/...), but got ${String(reference)}`);
    }
    let found: unknown = this.#root;
    for (const step of reference.split("/").slice(1)) {
      const key = decodePointer(step);
      const holder: unknown = found;
      const hasKey = key !== undefined && typeof holder === "object" && holder !== null && Object.hasOwn(holder, key);
      if (!hasKey) {
        refuse(at, `there is no ${reference} in this schema`);
      }
      found = (holder as Record<string, unknown>)[key];
    }
    return found;
  }
}

/**
 * With what `unevaluatedProperties` and `unevaluatedItems` say of all that no keyword has named. That more may count as
 * evaluated in another flat schema, which holds as well, only lets more through: together they are exact.
 */
function closeFlat(flat: Flat, schema: JsonObject, at: string): Flat {
  const { unevaluatedProperties: properties, unevaluatedItems: items } = schema;
  const closed = properties === undefined ? flat : closeProperties(flat, properties, `${at}/unevaluatedProperties`);
  return items === undefined ? closed : closeItems(closed, items, `${at}/unevaluatedItems`);
}

function closeProperties(flat: Flat, schema: unknown, at: string): Flat {
  const layers = flat.properties.filter(({ evaluates }) => evaluates);
  if (layers.some(({ others }) => others !== undefined)) {
    return flat;
  }
  const evaluated = { schema: true, at };
  const names = layers.flatMap(({ named }) => [...named.keys()]);
  const closing = {
    named: new Map(names.map((name) => [name, evaluated])),
    patterns: layers.flatMap(({ patterns }) => patterns.map((one) => ({ ...one, value: evaluated }))),
    others: { schema, at },
    evaluates: true,
  };
  return { ...flat, properties: [...flat.properties, closing] };
}

function closeItems(flat: Flat, schema: unknown, at: string): Flat {
  if (flat.contains.length > 0) {
    refuse(at, "beside contains, which counts as evaluating, it is not supported");
  }
  const layers = flat.items.filter(({ evaluates }) => evaluates);
  if (layers.some(({ others }) => others !== undefined)) {
    return flat;
  }
  const first = Math.max(0, ...layers.map(({ first }) => first.length));
  const closing = {
    first: Array.from({ length: first }, () => ({ schema: true, at })),
    others: { schema, at },
    evaluates: true,
  };
  return { ...flat, items: [...flat.items, closing] };
}

/** As a pointer is written that is not part of a URL. */
function pointerOf(reference: string): string {
  return reference
    .slice(1)
    .split("/")
    .map((step) => escapePointer(decodePointer(step) ?? step))
    .join("/");
}

function parts(value: unknown, at: string): All {
  if (!Array.isArray(value) || value.length === 0) {
    refuse(at, "expected a list that is not empty");
  }
  return value.map((schema: unknown, i) => ({ schema, at: `${at}/${i}` }));
}

function entries(value: unknown, at: string): readonly [string, unknown][] {
  return isObject(value) ? Object.entries(value) : refuse(at, "expected an object");
}

type Assertion = readonly [name: string, value: unknown, place: string];

/** Keywords that stand for themselves, with their places. */
function assertions(schema: JsonObject, at: string): readonly Assertion[] {
  return Object.entries(schema).flatMap(([name, value]) => {
    const place = `${at}/${escapePointer(name)}`;
    if (isAnnotation(name) || combining.has(name) || companions.has(name)) {
      return [];
    }
    if (!Object.hasOwn(keywords, name)) {
      refuse(place, "this keyword is not supported");
    }
    return [[name, value, place] as const];
  });
}

/** Only the first of those that are read together. */
function readTogether(all: readonly Assertion[]): readonly Assertion[] {
  const taken = new Set<readonly string[]>();
  return all.filter(([name]) => {
    const group = together.find((names) => names.includes(name));
    const isFirst = group === undefined || !taken.has(group);
    if (group !== undefined) {
      taken.add(group);
    }
    return isFirst;
  });
}
