// JSON schemas (draft 2020-12) as grammars. Every text of the grammar is JSON that the schema accepts; what cannot be held
// to exactly is refused by keyword and JSON pointer, never left out.

import { BitnetError } from "../system/errors.js";
import { areDisjoint } from "./disjoint.js";
import { formatPatterns } from "./formats.js";
import {
  decodePointer,
  escapePointer,
  isEqual,
  isObject,
  isOfType,
  type JsonObject,
  type TypeName,
  typeNames,
} from "./json.js";
import { mergeSchemas } from "./merge.js";
import { type Bound, type NumberBounds, nothing, writeInteger, writeNumber } from "./numbers.js";
import { parseRegex } from "./regex.js";
import { quoteText } from "./text.js";

export type JsonSchema = boolean | Readonly<Record<string, unknown>>;

const maxSchemaBytes = 256 * 1024;
const maxDepth = 64;
const maxReferences = 256; // within each other
const maxRules = 10_000;

/** The rules that every grammar of a schema may use. At most one space stands where JSON allows any. */
const basics: Readonly<Record<string, string>> = {
  sp: '" "?',
  comma: '"," sp',
  hex: "[0-9a-fA-F]",
  // One character of a string: JSON's escapes, surrogates only as pairs, so that lengths count code points.
  char: [
    "[^\\x22\\x5c\\U00000000-\\U0000001f]",
    '"\\\\" [\\x22\\x5c/bfnrt]',
    '"\\\\u" ([0-9abcefABCEF] hex{3} | [dD] [0-7] hex{2})',
    '"\\\\u" [dD] [89abAB] hex{2} "\\\\u" [dD] [c-fC-F] hex{2}',
  ].join(" | "),
  string: '"\\"" char* "\\""',
  number: writeNumber({}),
  boolean: '"true" | "false"',
  null: '"null"',
  value: "object | array | string | number | boolean | null",
  object: '"{" sp (member (comma member)*)? sp "}"',
  member: 'string ":" sp value',
  array: '"[" sp (value (comma value)*)? sp "]"',
};

// Keywords that say nothing about which values are valid.
const annotations = new Set([
  ...["title", "description", "default", "examples", "$schema", "$id", "$comment", "$defs", "definitions", "$anchor"],
  ...["deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "contentSchema"],
]);

// Which type a keyword is about; where another type is possible, too, it says nothing about that.
const keywordTypes: Readonly<Record<string, TypeName>> = {
  ...{ properties: "object", required: "object", additionalProperties: "object", patternProperties: "object" },
  ...{ items: "array", prefixItems: "array", minItems: "array", maxItems: "array" },
  ...{ minLength: "string", maxLength: "string", pattern: "string", format: "string" },
  ...{ minimum: "number", maximum: "number", exclusiveMinimum: "number", exclusiveMaximum: "number" },
  multipleOf: "number",
};
const combining = new Set(["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"]);

/** GBNF for the values of a schema. Throws USAGE. */
export function writeSchemaGrammar(schema: JsonSchema): string {
  let text: string;
  try {
    text = JSON.stringify(schema) ?? "";
  } catch (cause) {
    throw new BitnetError("USAGE", "schema: it is nested too deeply or refers to itself", { cause });
  }
  if (text.length > maxSchemaBytes) {
    throw new BitnetError("USAGE", `schema: more than ${maxSchemaBytes / 1024} KiB`);
  }
  return new SchemaWriter(JSON.parse(text) as JsonSchema).write();
}

class SchemaWriter {
  readonly #root: JsonSchema;
  readonly #rules = new Map<string, string>();
  readonly #references = new Map<string, string>(); // JSON pointer: rule
  #count = 0;
  #openReferences = 0;

  constructor(root: JsonSchema) {
    this.#root = root;
  }

  write(): string {
    const root = this.#writeSchema(this.#root, "", 0);
    this.#rules.set("root", root);
    return [...this.#rules].map(([name, text]) => `${name} ::= ${text}\n`).join("");
  }

  #refuse(pointer: string, problem: string): never {
    throw new BitnetError("USAGE", `schema, ${pointer === "" ? "at the top" : pointer}: ${problem}`);
  }

  /** The name of a rule of `basics`, which is part of the grammar from now on. */
  #basic(name: string): string {
    const text = basics[name];
    if (text !== undefined && !this.#rules.has(name)) {
      this.#rules.set(name, text);
      for (const [used] of text.replaceAll(/"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]/g, " ").matchAll(/[a-z]+/g)) {
        this.#basic(used);
      }
    }
    return name;
  }

  #addRule(text: string): string {
    this.#count += 1;
    if (this.#count > maxRules) {
      throw new BitnetError("USAGE", `schema: more than ${maxRules} rules`);
    }
    const name = `r${this.#count}`;
    this.#rules.set(name, text);
    return name;
  }

  /** An expression for the values of a schema. */
  #writeSchema(schema: unknown, pointer: string, depth: number): string {
    if (depth > maxDepth) {
      this.#refuse(pointer, `more than ${maxDepth} schemas within each other`);
    }
    if (schema === true) {
      return this.#basic("value");
    }
    if (schema === false) {
      return nothing;
    }
    if (!isObject(schema)) {
      this.#refuse(pointer, "expected a schema: an object, true or false");
    }
    this.#checkKeywords(schema, pointer);
    return this.#writeObject(schema, pointer, depth);
  }

  #checkKeywords(schema: JsonObject, pointer: string): void {
    for (const keyword of Object.keys(schema)) {
      if (!annotations.has(keyword) && !combining.has(keyword) && keywordTypes[keyword] === undefined) {
        this.#refuse(`${pointer}/${escapePointer(keyword)}`, "this keyword is not supported");
      }
    }
  }

  #writeObject(schema: JsonObject, pointer: string, depth: number): string {
    const { $ref, allOf, anyOf, oneOf, ...rest } = schema;
    const others = stripAnnotations(rest);
    if ($ref !== undefined) {
      return this.#writeReference(schema, pointer, depth);
    }
    if (allOf !== undefined) {
      const parts = this.#listOf(allOf, `${pointer}/allOf`).map((part) => this.#resolve(part, pointer, depth));
      return this.#writeSchema(
        this.#merge([{ ...others, ...pick({ anyOf, oneOf }) }, ...parts], pointer),
        pointer,
        depth + 1,
      );
    }
    if (anyOf !== undefined || oneOf !== undefined) {
      return this.#writeAlternatives(schema, pointer, depth);
    }
    if (schema.const !== undefined || "const" in schema) {
      return this.#writeEnumeration([schema.const], others, pointer);
    }
    if (schema.enum !== undefined) {
      return this.#writeEnumeration(this.#listOf(schema.enum, `${pointer}/enum`), others, pointer);
    }
    return this.#writeTypes(others, pointer, depth);
  }

  // ---- references

  #writeReference(schema: JsonObject, pointer: string, depth: number): string {
    const { $ref, ...rest } = schema;
    if (Object.keys(stripAnnotations(rest)).length > 0) {
      const target = this.#resolve({ $ref }, pointer, depth);
      return this.#writeSchema(this.#merge([stripAnnotations(rest), target], pointer), pointer, depth + 1);
    }
    const known = this.#references.get(String($ref));
    if (known !== undefined) {
      return known;
    }
    if (++this.#openReferences > maxReferences) {
      this.#refuse(`${pointer}/$ref`, `more than ${maxReferences} references within each other`);
    }
    const name = this.#addRule(nothing);
    this.#references.set(String($ref), name); // before its text, which may name it
    this.#rules.set(name, this.#writeSchema(this.#lookUp(String($ref), pointer), String($ref).slice(1), 0));
    this.#openReferences -= 1;
    return name;
  }

  #lookUp(reference: string, pointer: string): unknown {
    if (reference !== "#" && !reference.startsWith("#/")) {
      this.#refuse(`${pointer}/$ref`, `expected a place in this schema (#/...), but got ${reference}`);
    }
    let found: unknown = this.#root;
    for (const step of reference.split("/").slice(1)) {
      const key = decodePointer(step);
      const inside: unknown =
        isObject(found) || Array.isArray(found) ? Object.entries(found).find(([name]) => name === key)?.[1] : undefined;
      if (inside === undefined) {
        this.#refuse(`${pointer}/$ref`, `there is no ${reference} in this schema`);
      }
      found = inside;
    }
    return found;
  }

  /** A schema without references at its top. */
  #resolve(schema: unknown, pointer: string, depth: number): unknown {
    let resolved = schema;
    for (let steps = 0; isObject(resolved) && resolved.$ref !== undefined; steps++) {
      if (steps + depth > maxDepth) {
        this.#refuse(`${pointer}/$ref`, "references that lead to themselves");
      }
      const { $ref, ...rest } = resolved;
      const target = this.#lookUp(String($ref), pointer);
      const others = stripAnnotations(rest);
      resolved = Object.keys(others).length === 0 ? target : this.#merge([others, target], pointer);
    }
    return resolved;
  }

  #merge(schemas: readonly unknown[], pointer: string): unknown {
    return schemas.reduce((merged, schema) =>
      mergeSchemas(merged, schema, (keyword, problem) => this.#refuse(`${pointer}/${keyword}`, problem)),
    );
  }

  // ---- alternatives

  #writeAlternatives(schema: JsonObject, pointer: string, depth: number): string {
    const { anyOf, oneOf, ...rest } = schema;
    const others = stripAnnotations(rest);
    if (anyOf !== undefined && oneOf !== undefined) {
      this.#refuse(`${pointer}/oneOf`, "oneOf beside anyOf is not supported");
    }
    const keyword = anyOf === undefined ? "oneOf" : "anyOf";
    const parts = this.#listOf(anyOf ?? oneOf, `${pointer}/${keyword}`).map((part, i) => {
      const resolved = this.#resolve(part, `${pointer}/${keyword}/${i}`, depth);
      return Object.keys(others).length === 0 ? resolved : this.#merge([others, resolved], pointer);
    });
    if (keyword === "oneOf") {
      this.#checkDisjoint(parts, `${pointer}/oneOf`);
    }
    const written = parts.map((part, i) => this.#writeSchema(part, `${pointer}/${keyword}/${i}`, depth + 1));
    return `(${written.join(" | ")})`;
  }

  /** A value that two schemas of oneOf accept is not valid: they must differ in type, or in a property that both need. */
  #checkDisjoint(parts: readonly unknown[], pointer: string): void {
    for (let i = 0; i < parts.length; i++) {
      for (let j = 0; j < i; j++) {
        if (!areDisjoint(this.#resolve(parts[i], pointer, 0), this.#resolve(parts[j], pointer, 0))) {
          this.#refuse(
            pointer,
            `values may be valid by both ${j} and ${i}: use anyOf, or give them different types or const`,
          );
        }
      }
    }
  }

  #writeEnumeration(values: readonly unknown[], others: JsonObject, pointer: string): string {
    const { enum: listed, const: constant, type, ...more } = others;
    const [unsupported] = Object.keys(more);
    if (unsupported !== undefined) {
      this.#refuse(`${pointer}/${escapePointer(unsupported)}`, "beside enum or const this keyword is not supported");
    }
    const inList = (value: unknown) =>
      !("const" in others) || listed === undefined || this.#listOf(listed, pointer).some((one) => isEqual(one, value));
    const types = type === undefined ? undefined : this.#typesOf(others, pointer);
    const left = values.filter(
      (value) => inList(value) && (types === undefined || types.some((name) => isOfType(value, name))),
    );
    return left.length === 0 ? nothing : `(${left.map((value) => this.#writeValue(value)).join(" | ")})`;
  }

  #writeValue(value: unknown): string {
    if (Array.isArray(value)) {
      return this.#writeList(
        "[",
        value.map((item) => this.#writeValue(item)),
        "]",
      );
    }
    if (isObject(value)) {
      const members = Object.entries(value).map(([key, item]) => `${this.#writeKey(key)} ${this.#writeValue(item)}`);
      return this.#writeList("{", members, "}");
    }
    return quoteText(JSON.stringify(value));
  }

  #writeList(open: string, parts: readonly string[], close: string): string {
    const sp = this.#basic("sp");
    const comma = ` ${this.#basic("comma")} `;
    return `("${open}" ${sp} ${parts.join(comma)} ${sp} "${close}")`;
  }

  #writeKey(key: string): string {
    return `${quoteText(`${JSON.stringify(key)}:`)} ${this.#basic("sp")}`;
  }

  // ---- types

  #typesOf(schema: JsonObject, pointer: string): readonly TypeName[] {
    const { type } = schema;
    if (type === undefined) {
      return typeNames.filter((name) => name !== "integer");
    }
    const named = Array.isArray(type) ? type : [type];
    for (const name of named) {
      if (!typeNames.some((known) => known === name)) {
        this.#refuse(`${pointer}/type`, `expected one of ${typeNames.join(", ")}`);
      }
    }
    return named.filter((name) => name !== "integer" || !named.includes("number")) as TypeName[];
  }

  #writeTypes(schema: JsonObject, pointer: string, depth: number): string {
    const types = this.#typesOf(schema, pointer);
    const written = types.map((type) => this.#writeType(type, schema, pointer, depth));
    return written.length === 1 ? (written[0] ?? nothing) : `(${written.join(" | ")})`;
  }

  #writeType(type: TypeName, schema: JsonObject, pointer: string, depth: number): string {
    const about = type === "integer" ? "number" : type;
    if (!Object.keys(schema).some((keyword) => keywordTypes[keyword] === about)) {
      return type === "integer" ? writeInteger({}) : this.#basic(type);
    }
    switch (type) {
      case "object":
        return this.#writeProperties(schema, pointer, depth);
      case "array":
        return this.#writeItems(schema, pointer, depth);
      case "string":
        return this.#writeString(schema, pointer);
      case "number":
      case "integer":
        return this.#writeNumeric(schema, pointer, type === "integer");
      case "boolean":
      case "null":
        return this.#basic(type);
    }
  }

  #writeNumeric(schema: JsonObject, pointer: string, isInteger: boolean): string {
    const bounds: NumberBounds = {
      least: tighter(this.#bound(schema, "minimum", pointer), this.#bound(schema, "exclusiveMinimum", pointer), 1),
      most: tighter(this.#bound(schema, "maximum", pointer), this.#bound(schema, "exclusiveMaximum", pointer), -1),
    };
    if (schema.multipleOf !== undefined) {
      const hasBounds = bounds.least !== undefined || bounds.most !== undefined;
      return this.#writeMultiples(schema.multipleOf, `${pointer}/multipleOf`, hasBounds);
    }
    return isInteger ? writeInteger(bounds) : writeNumber(bounds);
  }

  #bound(schema: JsonObject, keyword: string, pointer: string): Bound | undefined {
    const value = schema[keyword];
    if (value !== undefined && (typeof value !== "number" || !Number.isFinite(value))) {
      this.#refuse(`${pointer}/${keyword}`, "expected a number");
    }
    return typeof value === "number" ? { value, isExclusive: keyword.startsWith("exclusive") } : undefined;
  }

  /** A rule per remainder: a digit goes from one to the next. */
  #writeMultiples(divisor: unknown, pointer: string, hasBounds: boolean): string {
    if (typeof divisor !== "number" || !Number.isInteger(divisor) || divisor < 1 || divisor > 1000) {
      this.#refuse(pointer, "expected a whole number from 1 to 1000");
    }
    if (hasBounds) {
      this.#refuse(pointer, "multipleOf beside bounds is not supported");
    }
    const names = Array.from({ length: divisor }, () => this.#addRule(nothing));
    const follow = (remainder: number, digits: readonly number[]) =>
      digits.map((digit) => `"${digit}" ${names[(remainder * 10 + digit) % divisor]}`).join(" | ");
    const digits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    for (const [remainder, name] of names.entries()) {
      this.#rules.set(name, `${follow(remainder, digits)}${remainder === 0 ? ' | ""' : ""}`);
    }
    return `("0" | "-"? (${follow(0, digits.slice(1))}))`;
  }

  #writeString(schema: JsonObject, pointer: string): string {
    const [least, most] = this.#range(schema, "minLength", "maxLength", pointer);
    const { pattern, format } = schema;
    if (pattern === undefined && format === undefined) {
      return `"\\"" ${this.#basic("char")}{${least},${most ?? ""}} "\\""`;
    }
    if (pattern !== undefined && format !== undefined) {
      this.#refuse(`${pointer}/format`, "format beside pattern is not supported");
    }
    if (least > 0 || most !== undefined) {
      const keyword = most === undefined ? "minLength" : "maxLength";
      this.#refuse(
        `${pointer}/${keyword}`,
        "a length beside pattern or format is not supported: say it in the pattern",
      );
    }
    const place = `schema, ${pointer}/${pattern === undefined ? "format" : "pattern"}`;
    const known = format === undefined ? pattern : formatPatterns[String(format)];
    if (typeof known !== "string") {
      this.#refuse(`${pointer}/format`, `expected one of ${Object.keys(formatPatterns).join(", ")}`);
    }
    return `"\\"" ${parseRegex(known, place).search("json")} "\\""`;
  }

  #range(schema: JsonObject, least: string, most: string, pointer: string): [number, number | undefined] {
    const read = (keyword: string) => {
      const value = schema[keyword];
      if (value !== undefined && !(Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 100_000)) {
        this.#refuse(`${pointer}/${keyword}`, "expected a whole number from 0 to 100000");
      }
      return value === undefined ? undefined : Number(value);
    };
    const [from = 0, to] = [read(least), read(most)];
    if (to !== undefined && to < from) {
      this.#refuse(`${pointer}/${most}`, `${to} is less than ${least}`);
    }
    return [from, to];
  }

  #writeItems(schema: JsonObject, pointer: string, depth: number): string {
    const [least, most] = this.#range(schema, "minItems", "maxItems", pointer);
    const { prefixItems = [], items = true } = schema;
    const first = this.#listOf(prefixItems, `${pointer}/prefixItems`, true).map((item, i) =>
      this.#addRule(this.#writeSchema(item, `${pointer}/prefixItems/${i}`, depth + 1)),
    );
    const others = items === false ? undefined : this.#addRule(this.#writeSchema(items, `${pointer}/items`, depth + 1));
    const comma = this.#basic("comma");
    const sp = this.#basic("sp");
    // From the end: `rest` is what may follow the items so far, each with its comma.
    const beyond = Math.max(least - first.length, 0);
    const room = most === undefined ? "" : String(Math.max(most - first.length, 0));
    let rest = others === undefined || room === "0" ? '""' : `(${comma} ${others}){${beyond},${room}}`;
    if (others === undefined && beyond > 0) {
      return nothing;
    }
    for (let i = Math.min(first.length, most ?? first.length) - 1; i > 0; i--) {
      const some = `${comma} ${first[i]} ${rest}`;
      rest = i < least ? some : `(${some})?`;
    }
    if (first.length > 0) {
      const all = most === 0 ? '""' : `(${first[0]} ${rest})${least > 0 ? "" : "?"}`;
      return `"[" ${sp} ${all} ${sp} "]"`;
    }
    if (others === undefined || most === 0) {
      return `"[" ${sp} "]"`;
    }
    const more = `(${comma} ${others}){${Math.max(least - 1, 0)},${most === undefined ? "" : most - 1}}`;
    return `"[" ${sp} (${others} ${more})${least > 0 ? "" : "?"} ${sp} "]"`;
  }

  // ---- objects

  #writeProperties(schema: JsonObject, pointer: string, depth: number): string {
    const { properties = {}, required = [] } = schema;
    if (!isObject(properties)) {
      this.#refuse(`${pointer}/properties`, "expected an object");
    }
    const needed = new Set(this.#listOf(required, `${pointer}/required`, true).map(String));
    const names = [...Object.keys(properties), ...[...needed].filter((name) => !Object.hasOwn(properties, name))];
    const members = names.map((name) => ({
      isNeeded: needed.has(name),
      text: this.#writeMember(name, schema, properties, `${pointer}/properties/${escapePointer(name)}`, depth),
    }));
    const additional = this.#writeAdditional(schema, names, pointer, depth);
    const comma = this.#basic("comma");
    const sp = this.#basic("sp");
    // From the end, as two rules for each property: what may follow with members before it, and without any.
    let following = additional === undefined ? '""' : this.#addRule(`(${comma} ${additional})*`);
    let beginning = additional === undefined ? '""' : this.#addRule(`(${additional} ${following})?`);
    for (const { isNeeded, text } of members.reverse()) {
      const begun = `${text} ${following}`;
      beginning = this.#addRule(isNeeded ? begun : `${begun} | ${beginning}`);
      following = this.#addRule(isNeeded ? `${comma} ${text} ${following}` : `(${comma} ${text})? ${following}`);
    }
    return `"{" ${sp} ${beginning} ${sp} "}"`;
  }

  #writeMember(name: string, schema: JsonObject, properties: JsonObject, pointer: string, depth: number): string {
    const declared = Object.hasOwn(properties, name);
    const value = declared ? properties[name] : (schema.additionalProperties ?? true);
    if (schema.patternProperties !== undefined) {
      for (const pattern of Object.keys(schema.patternProperties as object)) {
        if (new RegExp(pattern, "u").test(name)) {
          this.#refuse(pointer, `its name matches the pattern ${pattern} of patternProperties: say both in one schema`);
        }
      }
    }
    return this.#addRule(`${this.#writeKey(name)} ${this.#writeSchema(value, pointer, depth + 1)}`);
  }

  /** Members that are not named; undefined if there are none. */
  #writeAdditional(schema: JsonObject, names: readonly string[], pointer: string, depth: number): string | undefined {
    const { additionalProperties = true, patternProperties } = schema;
    if (patternProperties !== undefined) {
      return this.#writePatternMember(patternProperties, additionalProperties, pointer, depth);
    }
    if (additionalProperties === false) {
      return undefined;
    }
    const value = this.#writeSchema(additionalProperties, `${pointer}/additionalProperties`, depth + 1);
    return this.#addRule(`"\\"" ${writeOtherKey(names)} "\\":" ${this.#basic("sp")} ${value}`);
  }

  #writePatternMember(patterns: unknown, additional: unknown, pointer: string, depth: number): string {
    const entries = isObject(patterns) ? Object.entries(patterns) : [];
    const [[pattern, value] = ["", true]] = entries;
    const place = `${pointer}/patternProperties`;
    if (entries.length !== 1 || additional !== false) {
      this.#refuse(place, "supported is one pattern beside additionalProperties: false");
    }
    const key = parseRegex(pattern, `schema, ${place}`).search("json");
    const written = this.#writeSchema(value, `${place}/${escapePointer(pattern)}`, depth + 1);
    return this.#addRule(`"\\"" ${key} "\\":" ${this.#basic("sp")} ${written}`);
  }

  #listOf(value: unknown, pointer: string, mayBeEmpty = false): readonly unknown[] {
    if (!Array.isArray(value) || (value.length === 0 && !mayBeEmpty)) {
      this.#refuse(pointer, mayBeEmpty ? "expected a list" : "expected a list that is not empty");
    }
    return value;
  }
}

/**
 * The inside of a key that is none of these names. Without escapes, so that it has one spelling: a tree of the names'
 * beginnings, left at any character that does not go on with one.
 */
function writeOtherKey(names: readonly string[]): string {
  const plain = "\\x22\\x5c\\U00000000-\\U0000001f";
  const tails = names.map((name) => [...name]);
  const write = (left: readonly string[][]): string => {
    const heads = [...new Set(left.flatMap(([head]) => (head === undefined ? [] : [head])))];
    const choices = left.some((tail) => tail.length === 0) ? [] : ['""'];
    const escaped = heads.map((head) => `\\U${(head.codePointAt(0) ?? 0).toString(16).padStart(8, "0")}`);
    choices.push(`[^${plain}${escaped.join("")}] [^${plain}]*`);
    for (const [i, head] of heads.entries()) {
      if (JSON.stringify(head).length === head.length + 2) {
        choices.push(`[${escaped[i]}] ${write(left.filter(([first]) => first === head).map((tail) => tail.slice(1)))}`);
      }
    }
    return `(${choices.join(" | ")})`;
  };
  return tails.length === 0 ? `[^${plain}]*` : write(tails);
}

/** The bound that leaves less; `direction` 1: the greater one. */
function tighter(a: Bound | undefined, b: Bound | undefined, direction: 1 | -1): Bound | undefined {
  if (a === undefined || b === undefined) {
    return a ?? b;
  }
  return (b.value - a.value) * direction >= 0 ? b : a; // b is the exclusive one
}

function stripAnnotations(schema: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(schema).filter(([keyword]) => !annotations.has(keyword)));
}

function pick(values: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
