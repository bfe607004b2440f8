// Writes test/fixtures/schemas.jsonl: 300 JSON schemas with the mix of keywords that schemas in use have, each with values
// near to it, of which some are valid. The same file at each run. Which values are valid is for the test to find out.

import { writeFileSync } from "node:fs";

let state = 20_250_411;

function random() {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0; // Numerical Recipes' generator
  return state / 2 ** 32;
}
const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const chance = (p) => random() < p;
const times = (n, make) => Array.from({ length: n }, (_, i) => make(i));
const clone = (value) => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));
function some(list, n) {
  const left = [...list];
  return times(Math.min(n, left.length), () => left.splice(below(left.length), 1)[0]);
}

const nouns = [
  "name",
  "title",
  "id",
  "status",
  "kind",
  "city",
  "email",
  "tags",
  "owner",
  "created_at",
  "price",
  "count",
];
const more = [
  "url",
  "version",
  "labels",
  "items",
  "enabled",
  "port",
  "host",
  "unit",
  "note",
  "language",
  "code",
  "ref",
];
const names = [...nouns, ...more, "größe", "x-y", "a.b", "$type", 'q"t', "with space"];
const words = [
  "red",
  "green",
  "blue",
  "small",
  "large",
  "Löwe",
  "東京",
  "active",
  "closed",
  "a b",
  "n/a",
  'say "x"',
  "tab\t",
];

// A node is a schema and a way to make a value of it.
const node = (schema, sample) => ({ schema, sample });

const text = () => times(1 + below(3), () => pick(words)).join(" ");
const ofLength = (n) => times(n, () => pick(["a", "b", "z", "é", "😀", '"', "\\", " "])).join("");

const patterns = [
  ["^[A-Z]{2}-\\d{3,5}$", () => `${pick(["AB", "XY"])}-${1000 + below(9000)}`],
  ["^[a-z][a-z0-9_]*$", () => pick(["a", "snake_case", "x9"])],
  ["^(\\+\\d{1,3} )?\\d{3}-\\d{4}$", () => pick(["555-1234", "+49 555-1234"])],
  ["^#[0-9a-fA-F]{6}$", () => pick(["#00ff7F", "#123456"])],
  ["^v?\\d+\\.\\d+\\.\\d+(-[a-z0-9.]+)?$", () => pick(["1.2.3", "v0.0.1-rc.1"])],
  ["^\\S+@\\S+$", () => pick(["a@b", "x.y@z.org"])],
  ["[0-9]", () => pick(["a1", "2", "room 7b"])],
  ["^s3://", () => "s3://bucket/key"],
  ["\\.(jpe?g|png)$", () => pick(["a.jpg", "b.c.png", "ü.jpeg"])],
  ["^[^\\s]+$", () => pick(["word", "ü"])],
  ["^(?:yes|no|maybe)$", () => pick(["yes", "maybe"])],
  ["^[\\w.-]{3,20}$", () => pick(["abc", "a.b-c_9"])],
  ["^.{2,8}$", () => pick(["ab", "Löwe", '"q"\\'])],
  ["^$|^[0-9]+$", () => pick(["", "42"])],
];
const formats = {
  date: () => `20${10 + below(20)}-0${1 + below(9)}-${10 + below(18)}`,
  time: () => pick(["10:00:00Z", "23:59:59.5+01:00"]),
  "date-time": () => pick(["2024-02-29T12:00:00Z", "1999-12-31t23:59:59.123-08:00"]),
  email: () => pick(["a@b.org", "x.y+z@mail.example.com"]),
  uri: () => pick(["https://example.org/a?b=c#d", "urn:isbn:0451450523", "http://user@h:80/"]),
  uuid: () => "123e4567-e89b-12d3-a456-426614174000",
  ipv4: () => pick(["127.0.0.1", "255.255.255.0"]),
  ipv6: () => pick(["::1", "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8"]),
  hostname: () => pick(["localhost", "a.b-c.example"]),
  duration: () => pick(["P3D", "PT2H30M", "P1Y2M"]),
};

const scalars = [
  () => node({ type: "string" }, text),
  () => node({ type: "string", description: "Any text." }, text),
  () => node({ type: "boolean" }, () => chance(0.5)),
  () => node({ type: "null" }, () => null),
  () => node({ type: "integer" }, () => below(2000) - 1000),
  () => node({ type: "number" }, () => below(20_000) / 100 - 100),
  () => node({ type: ["string", "null"] }, () => (chance(0.5) ? text() : null)),
  () => node({ type: ["integer", "string"] }, () => (chance(0.5) ? text() : below(9))),
  () => {
    const values = some(words, 2 + below(5));
    return node({ type: "string", enum: values }, () => pick(values));
  },
  () => {
    const values = [...some(words, 2), 1, 2.5, null, true].slice(0, 2 + below(5));
    return node({ enum: values }, () => pick(values));
  },
  () => {
    const value = pick([...words, 3, false]);
    return node({ const: value }, () => value);
  },
  () => {
    const least = below(4);
    const most = least + below(12);
    return node({ type: "string", minLength: least, maxLength: most }, () => ofLength(least + below(most - least + 1)));
  },
  () => node({ type: "string", minLength: 1 }, text),
  () => {
    const most = pick([50, 100, 255, 1000, 4096]);
    return node({ type: "string", maxLength: most }, () => ofLength(pick([0, 1, most])));
  },
  () => {
    const [pattern, sample] = pick(patterns);
    return node({ type: "string", pattern }, sample);
  },
  () => {
    const [pattern, sample] = pick(patterns);
    return node({ type: "string", pattern, maxLength: pick([6, 10, 64]), minLength: 1 }, sample);
  },
  () => {
    const format = pick(Object.keys(formats));
    return node({ type: "string", format }, formats[format]);
  },
  () => node({ type: "string", format: "email", maxLength: 20 }, formats.email),
  () => {
    const least = below(200) - 100;
    const most = least + below(500);
    return node({ type: "integer", minimum: least, maximum: most }, () => least + below(most - least + 1));
  },
  () => node({ type: "integer", minimum: pick([0, 1, 18, -273]) }, () => 18 + below(1000)),
  () => node({ type: "number", minimum: 0, maximum: 1 }, () => below(101) / 100),
  () => node({ type: "number", exclusiveMinimum: 0 }, () => (1 + below(1000)) / 8),
  () => node({ type: "number", minimum: -90, exclusiveMaximum: 90.5 }, () => below(18_000) / 100 - 90),
  () => {
    const divisor = pick([2, 5, 10, 7, 15]);
    return node({ type: "integer", multipleOf: divisor, minimum: 0, maximum: 1000 }, () => divisor * below(30));
  },
  () => node({ type: "number", multipleOf: pick([0.01, 0.25, 0.5]), minimum: 0 }, () => below(40) / 2),
  () => node({ type: "integer", multipleOf: 3 }, () => 3 * (below(100) - 50)),
];

function array(depth) {
  const item = any(depth - 1);
  const [least, most] = pick([
    [0, undefined],
    [0, undefined],
    [1, undefined],
    [0, 3],
    [2, 4],
    [1, 1],
  ]);
  const limits = { ...(least > 0 ? { minItems: least } : {}), ...(most === undefined ? {} : { maxItems: most }) };
  return node({ type: "array", items: item.schema, ...limits }, () =>
    times(least + below((most ?? least + 2) - least + 1), item.sample),
  );
}

function tuple(depth) {
  const first = times(1 + below(3), () => any(depth - 1));
  const rest = chance(0.5) ? { items: false } : { items: { type: "integer" } };
  return node({ type: "array", prefixItems: first.map(({ schema }) => schema), ...rest }, () =>
    first.map(({ sample }) => sample()),
  );
}

function set() {
  const values = some(["a", "b", "c", "d", "e"], 2 + below(3));
  const schema = { type: "array", items: { enum: values }, uniqueItems: true, ...(chance(0.4) ? { minItems: 1 } : {}) };
  return node(schema, () => some(values, 1 + below(values.length)));
}

function object(depth, options = {}) {
  const keys = some(names, options.n ?? 1 + below(6));
  const parts = keys.map((key) => [key, any(depth - 1)]);
  const required = keys.filter(() => chance(0.5));
  const additional = pick([undefined, false, false, { type: "string" }, true]);
  const schema = {
    type: "object",
    ...(chance(0.3) ? { title: text() } : {}),
    properties: Object.fromEntries(parts.map(([key, part]) => [key, part.schema])),
    ...(required.length > 0 ? { required } : {}),
    ...(additional === undefined ? {} : { additionalProperties: additional }),
  };
  const sample = () => {
    const present = parts.filter(([key]) => required.includes(key) || chance(0.6));
    const value = Object.fromEntries(present.map(([key, part]) => [key, part.sample()]));
    return additional !== false && chance(0.3) ? { ...value, other: "text" } : value;
  };
  return node(schema, sample);
}

function any(depth) {
  if (depth <= 0 || chance(0.6)) {
    return pick(scalars)();
  }
  return pick([object, object, object, array, array, tuple, set, union, map])(depth);
}

function union(depth) {
  const parts = [pick(scalars)(), object(depth - 1), node({ type: "null" }, () => null)].slice(0, 2 + below(2));
  return node({ anyOf: parts.map(({ schema }) => schema) }, () => pick(parts).sample());
}

function map(depth) {
  const value = any(depth - 1);
  return node({ type: "object", additionalProperties: value.schema }, () =>
    Object.fromEntries(some(names, below(3)).map((key) => [key, value.sample()])),
  );
}

// ---- whole schemas by the feature that they are there for

const person = { name: { type: "string", maxLength: 40 }, age: { type: "integer", minimum: 0 } };
const special = [
  function tree() {
    const schema = {
      $defs: {
        node: {
          type: "object",
          properties: { value: pick(scalars)().schema, children: { type: "array", items: { $ref: "#/$defs/node" } } },
          required: ["children"],
          additionalProperties: false,
        },
      },
      $ref: "#/$defs/node",
    };
    return node(schema, () => ({ children: times(below(3), () => ({ children: [] })) }));
  },
  function list() {
    const schema = {
      type: "object",
      properties: { head: { type: "integer" }, tail: { anyOf: [{ $ref: "#" }, { type: "null" }] } },
      required: ["head", "tail"],
    };
    return node(schema, () => ({ head: 1, tail: chance(0.5) ? null : { head: below(9), tail: null } }));
  },
  function definitions() {
    const part = object(1);
    const schema = {
      definitions: { part: part.schema },
      type: "object",
      properties: { a: { $ref: "#/definitions/part" }, b: { type: "array", items: { $ref: "#/definitions/part" } } },
      required: ["a"],
    };
    return node(schema, () => ({ a: part.sample(), b: times(below(3), part.sample) }));
  },
  function tagged() {
    const kinds = some(words, 2 + below(3));
    const parts = kinds.map((kind) => [kind, pick(scalars)()]);
    const schema = {
      oneOf: parts.map(([kind, part]) => ({
        type: "object",
        properties: { kind: { const: kind }, value: part.schema },
        required: ["kind", "value"],
        ...(chance(0.5) ? { additionalProperties: false } : {}),
      })),
    };
    return node(schema, () => {
      const [kind, part] = pick(parts);
      return { kind, value: part.sample() };
    });
  },
  function oneOfTypes() {
    const schema = { oneOf: [{ type: "string", maxLength: 5 }, { type: "integer" }, object(1).schema] };
    return node(schema, () => pick(["abc", 7, {}, "long text"]));
  },
  function oneOfOverlap() {
    const schema = pick([
      {
        oneOf: [
          { type: "integer", minimum: 0 },
          { type: "integer", maximum: 10 },
        ],
      },
      { oneOf: [{ type: "integer" }, { type: "number", minimum: 2 }] },
      {
        oneOf: [
          { type: "string", pattern: "^a" },
          { type: "string", pattern: "b$" },
        ],
      },
      { oneOf: [{ type: "string", maxLength: 3 }, { enum: ["abc", "abcd", 5] }] },
      { type: "object", properties: { a: {}, b: {} }, oneOf: [{ required: ["a"] }, { required: ["b"] }] },
    ]);
    return node(schema, () =>
      pick([5, 20, -3, 2.5, "ab", "aa", "xb", "abcd", "abc", { a: 1 }, { b: 1 }, { a: 1, b: 2 }, {}]),
    );
  },
  function allOfParts() {
    const [a, b] = [object(1, { n: 2 }), object(1, { n: 2 })];
    delete a.schema.additionalProperties;
    delete b.schema.additionalProperties;
    return node({ allOf: [a.schema, b.schema] }, () => {
      const { other, ...value } = { ...a.sample(), ...b.sample() };
      return other === undefined ? value : { ...value, other };
    });
  },
  function extended() {
    const schema = {
      $defs: { base: { type: "object", properties: person, required: ["name"] } },
      allOf: [{ $ref: "#/$defs/base" }, { properties: { role: { enum: ["admin", "user"] } }, required: ["role"] }],
      ...(chance(0.5) ? { unevaluatedProperties: false } : {}),
    };
    return node(schema, () => ({ name: text(), ...(chance(0.5) ? { age: below(99) } : {}), role: "user" }));
  },
  function anyOfRequired() {
    const schema = {
      type: "object",
      properties: { email: { type: "string" }, phone: { type: "string" } },
      anyOf: [{ required: ["email"] }, { required: ["phone"] }],
      additionalProperties: chance(0.5),
    };
    return node(schema, () => pick([{ email: "x" }, { phone: "1" }, { email: "x", phone: "1" }, {}]));
  },
  function byPattern() {
    const schema = {
      type: "object",
      properties: { id: { type: "integer" } },
      patternProperties: {
        [pick(["^x-", "^[a-z]+_id$", "^\\d+$"])]: pick(scalars)().schema,
        ...(chance(0.4) ? { "^y": { type: "null" } } : {}),
      },
      additionalProperties: pick([false, { type: "boolean" }, true]),
    };
    return node(schema, () =>
      pick([{ id: 1 }, { "x-a": "red" }, { user_id: 5 }, { 12: "a", other: true }, { yes: null }, { zzz: true }, {}]),
    );
  },
  function named() {
    const schema = {
      type: "object",
      propertyNames: pick([{ pattern: "^[a-z]+$" }, { maxLength: 4 }, { enum: ["a", "b", "c"] }]),
      additionalProperties: { type: "integer" },
    };
    return node(schema, () => pick([{}, { a: 1 }, { abc: 2, b: 3 }, { A: 1 }, { "long name": 1 }]));
  },
  function counted() {
    const schema = {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "string" }, c: { type: "boolean" } },
      additionalProperties: false,
      ...pick([
        { minProperties: 1 },
        { minProperties: 2 },
        { maxProperties: 2 },
        { minProperties: 1, maxProperties: 2 },
      ]),
    };
    return node(schema, () => pick([{}, { a: 1 }, { a: 1, b: "x" }, { a: 1, b: "x", c: true }, { c: false }]));
  },
  function notEmpty() {
    const schema = { type: "object", minProperties: 1, additionalProperties: pick(scalars)().schema };
    return node(schema, () => pick([{}, { a: "red" }, { a: 1 }, { a: true }, { a: null, b: null }, { b: 5, c: 9 }]));
  },
  function dependent() {
    const schema = {
      type: "object",
      properties: { card: { type: "string" }, address: { type: "string" }, zip: { type: "string" } },
      dependentRequired: { card: ["address"], ...(chance(0.5) ? { address: ["zip"] } : {}) },
      additionalProperties: false,
    };
    return node(schema, () =>
      pick([
        {},
        { card: "1" },
        { card: "1", address: "x" },
        { card: "1", address: "x", zip: "2" },
        { zip: "2" },
        { address: "x" },
      ]),
    );
  },
  function dependentSchema() {
    const schema = {
      type: "object",
      properties: { card: { type: "string" }, limit: { type: "integer" } },
      dependentSchemas: { card: { required: ["limit"], properties: { limit: { minimum: 10 } } } },
    };
    return node(schema, () =>
      pick([{}, { limit: 1 }, { card: "x" }, { card: "x", limit: 1 }, { card: "x", limit: 10 }]),
    );
  },
  function conditional() {
    const schema = {
      type: "object",
      properties: { country: { enum: ["US", "NL", "FR"] }, code: { type: "string" } },
      required: ["country"],
      if: { properties: { country: { const: "US" } }, ...(chance(0.5) ? { required: ["country"] } : {}) },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON schemas
      then: { properties: { code: { pattern: "^[0-9]{5}$" } }, required: ["code"] },
      ...(chance(0.6) ? { else: { properties: { code: { pattern: "^[A-Z]{2}$" } } } } : {}),
    };
    return node(schema, () =>
      pick([
        { country: "US", code: "12345" },
        { country: "US" },
        { country: "NL", code: "AB" },
        { country: "FR", code: "12345" },
        { country: "FR" },
      ]),
    );
  },
  function notValue() {
    const schema = pick([
      { type: "string", not: { enum: ["admin", "root"] } },
      { type: "string", not: { pattern: "^tmp" } },
      { not: { type: "string" } },
      { type: "integer", not: { const: 0 } },
      { type: "integer", minimum: 0, not: { multipleOf: 1000, minimum: 5 } },
      { type: "number", not: { type: "integer" } },
      { type: "object", properties: { a: {}, b: {} }, not: { required: ["a", "b"] } },
      { type: "array", items: { type: "integer" }, not: { maxItems: 1 } },
      { not: { anyOf: [{ type: "object" }, { type: "array" }, { const: 5 }] } },
    ]);
    return node(schema, () =>
      pick(["admin", "user", "tmp1", 0, 5, 2.5, -7, null, true, { a: 1 }, { a: 1, b: 2 }, [1], [1, 2]]),
    );
  },
  function containing() {
    const schema = {
      type: "array",
      items: { type: ["integer", "string"] },
      contains: { type: "string", minLength: 2 },
    };
    return node(schema, () => pick([[], [1], ["ab"], [1, "ab", 2], ["a"], ["ab", "cd"]]));
  },
  function tool() {
    const call = object(1);
    const schema = {
      type: "object",
      properties: { name: { const: "get_weather" }, arguments: call.schema },
      required: ["name", "arguments"],
      additionalProperties: false,
    };
    return node(schema, () => ({ name: "get_weather", arguments: call.sample() }));
  },
  function nested() {
    return object(3, { n: 5 });
  },
  function wide() {
    const keys = times(20 + below(20), (i) => `field_${i}`);
    const parts = keys.map((key) => [key, pick(scalars.slice(0, 12))()]);
    const schema = {
      type: "object",
      properties: Object.fromEntries(parts.map(([key, part]) => [key, part.schema])),
      required: keys.slice(0, 3),
      additionalProperties: false,
    };
    return node(schema, () =>
      Object.fromEntries(parts.filter((_, i) => i < 3 || chance(0.2)).map(([key, part]) => [key, part.sample()])),
    );
  },
  function table() {
    const row = object(1, { n: 4 });
    const schema = { type: "array", items: row.schema, minItems: 1, maxItems: 5 };
    return node(schema, () => times(1 + below(3), row.sample));
  },
  function options() {
    const values = times(60 + below(60), (i) => `option ${i * 7}`);
    return node({ type: "array", items: { enum: values }, maxItems: 4 }, () => some(values, below(4)));
  },
];

// What cannot be held to exactly, as often as in use.
const refused = [
  () => ({ type: "object", properties: { tags: { type: "array", items: { type: "string" }, uniqueItems: true } } }),
  () => ({ type: "string", format: pick(["regex", "json-pointer", "idn-email", "iri"]) }),
  () => ({ type: "string", pattern: "^(?=.*[0-9])(?=.*[a-z]).{8,}$" }),
  () => ({ type: "array", contains: { type: "integer" }, minContains: 2 }),
  () => ({
    type: "object",
    anyOf: [{ properties: { a: {} } }, { properties: { b: {} } }],
    unevaluatedProperties: false,
  }),
  () => ({ type: "string", pattern: "\\bword\\b" }),
  () => ({ type: "array", prefixItems: [{ type: "integer" }], unevaluatedItems: false }),
];

// ---- values near to a schema

/** Another value that is like one. */
function bend(value) {
  if (Array.isArray(value)) {
    const items = clone(value);
    return pick([
      () => [...items, pick([0, "x", null])],
      () => items.slice(1),
      () => (items.length > 0 ? [...items, items[0]] : [1, 1]),
      () => items.map((item, i) => (i === 0 ? bend(item) : item)),
    ])();
  }
  if (typeof value === "object" && value !== null) {
    const keys = Object.keys(value);
    const key = pick([...keys, "none"]);
    return pick([
      () => Object.fromEntries(Object.entries(value).filter(([name]) => name !== key)),
      () => ({ ...value, unknown: pick([1, "text", null]) }),
      () => (keys.length > 0 ? { ...value, [pick(keys)]: bend(value[pick(keys)]) } : []),
      () => (keys.length > 0 ? { ...value, [keys[0]]: bend(value[keys[0]]) } : { a: 1 }),
    ])();
  }
  if (typeof value === "string") {
    return pick([
      () => `${value}x`,
      () => value.slice(1),
      () => value.toUpperCase(),
      () => 5,
      () => ofLength(30),
      () => null,
    ])();
  }
  if (typeof value === "number") {
    return pick([() => value + 1, () => -value, () => value + 0.5, () => value * 1000, () => String(value)])();
  }
  return pick([null, true, 0, "x", [], {}]);
}

const cases = [];
while (cases.length < 300) {
  const i = cases.length;
  const { schema, sample } =
    i % 15 === 14
      ? node(refused[Math.floor(i / 15) % refused.length](), () => pick(["a", [], {}, [1, 2]]))
      : i % 2 === 0
        ? special[(i / 2) % special.length]()
        : pick([() => object(2), () => object(3), () => array(2), () => any(2)])();
  const values = times(5, sample);
  values.push(...values.map((value) => bend(clone(value))), bend(values[0]));
  const distinct = new Map(
    values.filter((value) => value !== undefined).map((value) => [JSON.stringify(value), value]),
  );
  cases.push(
    JSON.stringify({ schema, values: [...distinct.values()].filter((value) => JSON.stringify(value).length < 1500) }),
  );
}
writeFileSync(new URL("../test/fixtures/schemas.jsonl", import.meta.url), `${cases.join("\n")}\n`);
