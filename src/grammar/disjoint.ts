// Whether two schemas can be told apart: no value is valid by both. `false` where that is not certain.

import { isEqual, isObject, isOfType, type JsonObject, type TypeName, typeNames } from "./json.js";

export function areDisjoint(a: unknown, b: unknown): boolean {
  if (a === false || b === false) {
    return true;
  }
  if (!isObject(a) || !isObject(b)) {
    return false;
  }
  const valuesOfA = valuesOf(a);
  const valuesOfB = valuesOf(b);
  if (valuesOfA !== undefined && valuesOfB !== undefined) {
    return !valuesOfA.some((value) => valuesOfB.some((other) => isEqual(value, other)));
  }
  if (valuesOfA !== undefined || valuesOfB !== undefined) {
    const values = valuesOfA ?? valuesOfB ?? [];
    const types = possibleTypes(valuesOfA === undefined ? a : b);
    return !values.some((value) => types.some((type) => isOfType(value, type)));
  }
  const types = possibleTypes(b);
  if (!possibleTypes(a).some((type) => types.some((other) => typesMeet(type, other)))) {
    return true;
  }
  return isOnlyObject(a) && isOnlyObject(b) && haveDifferentProperty(a, b);
}

/** A property that both need, with values that cannot be the same. */
function haveDifferentProperty(a: JsonObject, b: JsonObject): boolean {
  const needed = (schema: JsonObject) => (Array.isArray(schema.required) ? schema.required.map(String) : []);
  const property = (schema: JsonObject, name: string) =>
    isObject(schema.properties) ? (schema.properties[name] ?? true) : true;
  return needed(a).some((name) => needed(b).includes(name) && areDisjoint(property(a, name), property(b, name)));
}

function valuesOf(schema: JsonObject): readonly unknown[] | undefined {
  return "const" in schema ? [schema.const] : Array.isArray(schema.enum) ? schema.enum : undefined;
}

function possibleTypes(schema: JsonObject): readonly TypeName[] {
  if (
    schema.$ref !== undefined ||
    schema.anyOf !== undefined ||
    schema.oneOf !== undefined ||
    schema.allOf !== undefined
  ) {
    return typeNames;
  }
  const { type } = schema;
  return type === undefined ? typeNames : ((Array.isArray(type) ? type : [type]) as TypeName[]);
}

function isOnlyObject(schema: JsonObject): boolean {
  return possibleTypes(schema).every((type) => type === "object");
}

function typesMeet(a: TypeName, b: TypeName): boolean {
  const plain = (type: TypeName) => (type === "integer" ? "number" : type);
  return plain(a) === plain(b);
}
