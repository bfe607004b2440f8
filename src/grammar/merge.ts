// One schema for the values that two schemas accept.

import { isEqual, isObject, type JsonObject } from "./json.js";

type Refuse = (keyword: string, problem: string) => never;

// Keywords whose value of both schemas is one of the two: the greater, the smaller.
const greater = new Set(["minimum", "exclusiveMinimum", "minLength", "minItems"]);
const smaller = new Set(["maximum", "exclusiveMaximum", "maxLength", "maxItems"]);

export function mergeSchemas(a: unknown, b: unknown, refuse: Refuse): unknown {
  if (a === true || b === true) {
    return a === true ? b : a;
  }
  if (!isObject(a) || !isObject(b)) {
    return false;
  }
  closeObjects(a, b, refuse);
  const merged: Record<string, unknown> = { ...a };
  for (const [keyword, value] of Object.entries(b)) {
    merged[keyword] = Object.hasOwn(a, keyword) ? mergeKeyword(keyword, a[keyword], value, refuse) : value;
  }
  return merged;
}

function mergeKeyword(keyword: string, a: unknown, b: unknown, refuse: Refuse): unknown {
  if (isEqual(a, b)) {
    return a;
  }
  if (greater.has(keyword) || smaller.has(keyword)) {
    return greater.has(keyword) ? Math.max(Number(a), Number(b)) : Math.min(Number(a), Number(b));
  }
  switch (keyword) {
    case "type":
      return mergeTypes(listOf(a), listOf(b), refuse);
    case "required":
      return [...new Set([...listOf(a), ...listOf(b)])];
    case "enum":
      return listOf(a).filter((value) => listOf(b).some((other) => isEqual(value, other)));
    case "properties":
      return mergeProperties(a as JsonObject, b as JsonObject, refuse);
    case "items":
    case "additionalProperties":
      return mergeSchemas(a, b, refuse);
    default:
      return refuse(keyword, "two schemas say different things about it, which cannot be joined");
  }
}

function mergeTypes(a: readonly unknown[], b: readonly unknown[], refuse: Refuse): readonly unknown[] {
  const has = (types: readonly unknown[], type: unknown) =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  const merged = [...new Set([...a.filter((type) => has(b, type)), ...b.filter((type) => has(a, type))])];
  return merged.length === 0 ? refuse("type", "no type is left") : merged;
}

function mergeProperties(a: JsonObject, b: JsonObject, refuse: Refuse): JsonObject {
  const merged: Record<string, unknown> = { ...a };
  for (const [name, schema] of Object.entries(b)) {
    merged[name] = Object.hasOwn(a, name) ? mergeSchemas(a[name], schema, refuse) : schema;
  }
  return merged;
}

/** Where one schema limits the properties that it does not name, the other one must not name more. */
function closeObjects(a: JsonObject, b: JsonObject, refuse: Refuse): void {
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const named = isObject(one.properties) ? one.properties : {};
    const others = isObject(other.properties) ? Object.keys(other.properties) : [];
    const isLimited = one.additionalProperties !== undefined && one.additionalProperties !== true;
    if ((isLimited || one.patternProperties !== undefined) && others.some((name) => !Object.hasOwn(named, name))) {
      refuse("additionalProperties", "it is about properties that another schema names, which cannot be joined");
    }
  }
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}
