// JSON for other programs, of every value that a result may hold.

// Nothing here is deeper; more would be a circle.
const maxDepth = 100;

/**
 * As JSON.stringify, but for what that cannot do: integers of 64 bits keep all their digits, as bare numbers; NaN and the
 * infinities, which JSON has not, are the strings "NaN", "Infinity" and "-Infinity"; times in milliseconds (names that end
 * with "Ms") have three decimals; control characters of all kinds are escaped, so that a terminal may show the text.
 */
export function stringifyJson(value: unknown, indent = 0): string {
  return write(value, "", " ".repeat(indent), 0) ?? "null";
}

function write(value: unknown, key: string, step: string, depth: number): string | undefined {
  switch (typeof value) {
    case "bigint":
      return String(value);
    case "number":
      return Number.isFinite(value) ? String(key.endsWith("Ms") ? roundTime(value) : value) : `"${value}"`;
    case "string":
      return writeText(value);
    case "boolean":
      return String(value);
    case "object":
      return value === null ? "null" : writeObject(value, step, depth);
    default:
      return undefined;
  }
}

function roundTime(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function writeText(text: string): string {
  return JSON.stringify(text).replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, (unit) => {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function writeObject(value: object, step: string, depth: number): string {
  if (depth > maxDepth) {
    throw new RangeError("a value that is nested too deep for JSON");
  }
  if (Array.isArray(value)) {
    const items = value.map((item: unknown) => write(item, "", step, depth + 1) ?? "null");
    return enclose("[", items, "]", step, depth);
  }
  const colon = step === "" ? ":" : ": ";
  const entries = Object.entries(value).flatMap(([key, item]: [string, unknown]) => {
    const text = write(item, key, step, depth + 1);
    return text === undefined ? [] : [writeText(key) + colon + text];
  });
  return enclose("{", entries, "}", step, depth);
}

function enclose(open: string, parts: readonly string[], close: string, step: string, depth: number): string {
  if (step === "" || parts.length === 0) {
    return open + parts.join(",") + close;
  }
  const line = `\n${step.repeat(depth + 1)}`;
  return `${open}${line}${parts.join(`,${line}`)}\n${step.repeat(depth)}${close}`;
}
