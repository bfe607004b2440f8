// Where a JSON pointer leads to in a schema.

const tables = new Set(["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"]);
const lists = new Set(["allOf", "anyOf", "oneOf", "prefixItems"]);

/** How many schemas are around the place; undefined if it is a list or a table of schemas. */
function measure(steps: readonly string[]): number | undefined {
  let depth = 0;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i] ?? "";
    if (tables.has(step) || lists.has(step)) {
      i += 1; // a name or a number
      if (i === steps.length) {
        return undefined;
      }
    }
    depth += 1;
  }
  return depth;
}

export function depthOf(pointer: string): number {
  return measure(pointer.split("/").slice(1)) ?? 0;
}

/** Whether the steps of a pointer lead to a schema and not to a list or a table of schemas. */
export function isSchemaPlace(steps: readonly string[]): boolean {
  return measure(steps) !== undefined;
}
