// JSON schemas by the letter of draft 2020-12, where ajv 8 is not: it takes [] for valid by contains beside prefixItems, and
// is wrong about what counts as evaluated within anyOf. Only the keywords that tests of these use.

type Schema = boolean | Readonly<Record<string, unknown>>;
type Value = unknown;

/** Names of properties and indices of items. */
type Evaluated = ReadonlySet<string | number>;

/** What of a value a schema has evaluated; undefined: the value is not valid. */
export function evaluateSchema(schema: Schema, value: Value): Evaluated | undefined {
  if (typeof schema === "boolean") {
    return schema ? new Set() : undefined;
  }
  const evaluated = new Set<string | number>();
  const isValid = Object.keys(schema)
    .sort((a, b) => Number(a.startsWith("unevaluated")) - Number(b.startsWith("unevaluated")))
    .every((keyword) => assertions[keyword]?.(schema, value, evaluated) ?? true);
  return isValid ? evaluated : undefined;
}

type Assertion = (schema: Readonly<Record<string, unknown>>, value: Value, evaluated: Set<string | number>) => boolean;

const isObject = (value: Value): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const typeOf = (value: Value): string =>
  value === null ? "null" : Array.isArray(value) ? "array" : Number.isInteger(value) ? "integer" : typeof value;

function adopt(into: Set<string | number>, from: Evaluated | undefined): boolean {
  for (const key of from ?? []) {
    into.add(key);
  }
  return from !== undefined;
}

/** Parts of the value that a keyword is about, each with its schema. */
function parts(select: (schema: Readonly<Record<string, unknown>>, key: string | number) => unknown[]): Assertion {
  return (schema, value, evaluated) => {
    const entries = Array.isArray(value) ? [...value.entries()] : isObject(value) ? Object.entries(value) : [];
    return entries.every(([key, part]) =>
      select(schema, key).every((inner) => {
        evaluated.add(key);
        return evaluateSchema(inner as Schema, part) !== undefined;
      }),
    );
  };
}

const listed = (value: unknown): unknown[] => (value === undefined ? [] : [value]);
const named = (value: unknown, name: string) =>
  isObject(value) && Object.hasOwn(value, name) ? listed(value[name]) : [];
const matching = (value: unknown, name: string) =>
  Object.entries(value ?? {}).flatMap(([pattern, inner]) => (new RegExp(pattern, "u").test(name) ? [inner] : []));
const list = (value: unknown) => (value ?? []) as Schema[];
const count = (value: unknown, otherwise: number) => (value === undefined ? otherwise : Number(value));

const unevaluated =
  (keyword: string, isKey: (key: string | number) => boolean): Assertion =>
  (schema, value, evaluated) => {
    const known = new Set(evaluated);
    return parts((one, key) => (isKey(key) && !known.has(key) ? [one[keyword]] : []))(schema, value, evaluated);
  };

const assertions: Readonly<Record<string, Assertion>> = {
  type: ({ type }, value) => (Array.isArray(type) ? type : [type]).includes(typeOf(value)),
  const: (schema, value) => schema.const === value,
  enum: (schema, value) => list(schema.enum).includes(value as Schema),
  minimum: ({ minimum }, value) => typeof value !== "number" || value >= Number(minimum),
  required: ({ required }, value) =>
    !isObject(value) || (required as string[]).every((name) => Object.hasOwn(value, name)),
  minItems: ({ minItems }, value) => !Array.isArray(value) || value.length >= Number(minItems),
  maxItems: ({ maxItems }, value) => !Array.isArray(value) || value.length <= Number(maxItems),
  properties: parts((schema, key) => (typeof key === "string" ? named(schema.properties, key) : [])),
  patternProperties: parts((schema, key) => (typeof key === "string" ? matching(schema.patternProperties, key) : [])),
  additionalProperties: parts((schema, key) => {
    const isNamed =
      typeof key !== "string" ||
      [...named(schema.properties, key), ...matching(schema.patternProperties, key)].length > 0;
    return isNamed ? [] : [schema.additionalProperties];
  }),
  prefixItems: parts((schema, key) => (typeof key === "number" ? listed(list(schema.prefixItems)[key]) : [])),
  items: parts((schema, key) =>
    typeof key === "number" && key >= list(schema.prefixItems).length ? [schema.items] : [],
  ),
  contains: (schema, value) => {
    const found = Array.isArray(value) ? value.filter((item) => evaluateSchema(schema.contains as Schema, item)) : [];
    const isWithin =
      found.length >= count(schema.minContains, 1) && found.length <= count(schema.maxContains, Infinity);
    return !Array.isArray(value) || isWithin;
  },
  allOf: ({ allOf }, value, evaluated) => list(allOf).every((one) => adopt(evaluated, evaluateSchema(one, value))),
  anyOf: ({ anyOf }, value, evaluated) =>
    list(anyOf).filter((one) => adopt(evaluated, evaluateSchema(one, value))).length > 0,
  oneOf: ({ oneOf }, value, evaluated) =>
    list(oneOf).filter((one) => adopt(evaluated, evaluateSchema(one, value))).length === 1,
  not: ({ not }, value) => evaluateSchema(not as Schema, value) === undefined,
  if: (schema, value, evaluated) => {
    const branch = adopt(evaluated, evaluateSchema(schema.if as Schema, value)) ? schema.then : schema.else;
    return adopt(evaluated, evaluateSchema((branch ?? true) as Schema, value));
  },
  dependentSchemas: ({ dependentSchemas }, value, evaluated) =>
    !isObject(value) ||
    Object.entries(dependentSchemas ?? {}).every(
      ([name, one]) => !Object.hasOwn(value, name) || adopt(evaluated, evaluateSchema(one as Schema, value)),
    ),
  unevaluatedProperties: unevaluated("unevaluatedProperties", (key) => typeof key === "string"),
  unevaluatedItems: unevaluated("unevaluatedItems", (key) => typeof key === "number"),
};
