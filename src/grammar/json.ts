// What JSON values and schemas are made of.

export type JsonObject = Readonly<Record<string, unknown>>;

export const typeNames = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
export type TypeName = (typeof typeNames)[number];

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The same text for equal values: members of objects may come in any order. */
export function valueKey(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    isObject(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part,
  );
}

const keysOfLists = new WeakMap<readonly unknown[], ReadonlySet<string>>();

/** Whether a list has a value; the list must not change. */
export function hasValue(list: readonly unknown[], value: unknown): boolean {
  let keys = keysOfLists.get(list);
  if (keys === undefined) {
    keys = new Set(list.map(valueKey));
    keysOfLists.set(list, keys);
  }
  return keys.has(valueKey(value));
}

/** Without those that are equal to an earlier one. */
export function distinctValues(values: readonly unknown[]): readonly unknown[] {
  return [...new Map([...values].reverse().map((value) => [valueKey(value), value])).values()].reverse();
}

/** A step of a JSON pointer (RFC 6901). */
export function escapePointer(key: string): string {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** The key that a step of a pointer in a URL names; undefined if it is none. */
export function decodePointer(step: string): string | undefined {
  let text: string;
  try {
    text = decodeURIComponent(step);
  } catch {
    return undefined;
  }
  return unescapePointer(text);
}

export function unescapePointer(step: string): string {
  return step.replaceAll("~1", "/").replaceAll("~0", "~");
}
