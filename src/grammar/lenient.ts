// Leaves out what a schema asks for and a grammar cannot hold to.

import type { GrammarError, IgnoredKeyword } from "./error.js";
import { escapePointer, isObject, unescapePointer } from "./json.js";
import { combining, keywords } from "./keywords.js";
import { isSchemaPlace } from "./pointer.js";

// Wrong however the schema is read.
const structural = new Set(["$ref", "type", "enum", "properties", "required", ""]);
// Inside of these, leaving something out would allow less, not more: they are left out themselves.
const turning = new Set(["not", "if", "dependentSchemas", "contains"]);

export interface Weakened {
  schema: unknown;
  ignored: IgnoredKeyword;
}

/** The schema without what an error is about; undefined if it cannot be left out. */
export function weaken(schema: unknown, error: GrammarError): Weakened | undefined {
  const steps = error.problem.pointer.split("/").slice(1).map(unescapePointer);
  const place = outermost(schema, steps) ?? steps;
  const keyword = place.at(-1) ?? "";
  const copy: unknown = structuredClone(schema);
  const holder = find(copy, place.slice(0, -1));
  if (!isObject(holder) || !Object.hasOwn(holder, keyword) || structural.has(keyword)) {
    return undefined;
  }
  const changed = holder as Record<string, unknown>;
  if (keyword === "oneOf" && changed.anyOf === undefined) {
    changed.anyOf = changed.oneOf; // at least one of them
  }
  delete changed[keyword];
  const pointer = place.map((step) => `/${escapePointer(step)}`).join("");
  return { schema: copy, ignored: { keyword, pointer, reason: error.message } };
}

/** The first keyword on the way that turns around what is inside of it. */
function outermost(schema: unknown, steps: readonly string[]): readonly string[] | undefined {
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i] ?? "";
    const isKeyword = (combining.has(step) || Object.hasOwn(keywords, step)) && isSchemaPlace(steps.slice(0, i));
    if (isKeyword && (turning.has(step) || step === "oneOf") && isObject(find(schema, steps.slice(0, i)))) {
      return steps.slice(0, i + 1);
    }
  }
  return undefined;
}

function find(schema: unknown, steps: readonly string[]): unknown {
  return steps.reduce<unknown>(
    (found, step) =>
      typeof found === "object" && found !== null && Object.hasOwn(found, step)
        ? (found as Record<string, unknown>)[step]
        : undefined,
    schema,
  );
}
