// Reading a body that came from outside: each field by name and kind, with its bounds; null counts as absent. What was
// never asked for is known at the end.

import { ApiError, invalid } from "./errors.js";

export interface NumberRange {
  min: number;
  max: number;
}

/** The fields of a JSON object; `path` is where it stands in the body: "" or "messages[0]". */
export class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #known = new Set<string>();
  /** Objects within, which were read as such; each is the same one however often it is asked for. */
  readonly #within = new Map<string, Fields[]>();

  constructor(value: unknown, path = "") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw path === ""
        ? new ApiError("invalid_request_error", `expected a JSON object as the body, got ${describe(value)}`, {
            code: "invalid_value",
          })
        : invalid(path, `expected an object, got ${describe(value)}`);
    }
    this.#values = value as Record<string, unknown>;
    this.#path = path;
  }

  /** How errors call a field. */
  pathOf(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }

  /** The value, whatever it is; undefined if there is none. */
  value(name: string): unknown {
    this.#known.add(name);
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? undefined) : undefined;
  }

  has(name: string): boolean {
    return this.value(name) !== undefined;
  }

  /** The first of these names that has a value, all of which then count as known. */
  firstOf(names: readonly string[]): string {
    return names.filter((name) => this.has(name))[0] ?? names[0] ?? "";
  }

  text(name: string, { maxLength = Number.POSITIVE_INFINITY } = {}): string | undefined {
    const value = this.value(name);
    if (value === undefined) {
      return undefined;
    }
    if (typeof value !== "string") {
      throw invalid(this.pathOf(name), `expected a string, got ${describe(value)}`);
    }
    if (value.length > maxLength) {
      throw invalid(this.pathOf(name), `expected at most ${maxLength} characters, got ${value.length}`);
    }
    return value;
  }

  number(name: string, { min, max }: NumberRange): number | undefined {
    const value = this.value(name);
    if (value === undefined) {
      return undefined;
    }
    if (typeof value !== "number" || !Number.isFinite(value) || value < min || value > max) {
      throw invalid(this.pathOf(name), `expected a number from ${min} to ${max}, got ${describe(value)}`);
    }
    return value;
  }

  integer(name: string, range: NumberRange): number | undefined {
    const value = this.number(name, range);
    if (value !== undefined && !Number.isInteger(value)) {
      throw invalid(this.pathOf(name), `expected an integer from ${range.min} to ${range.max}, got ${value}`);
    }
    return value;
  }

  boolean(name: string): boolean | undefined {
    const value = this.value(name);
    if (value !== undefined && typeof value !== "boolean") {
      throw invalid(this.pathOf(name), `expected true or false, got ${describe(value)}`);
    }
    return value;
  }

  choice<const T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.value(name);
    if (value !== undefined && !choices.includes(value as T)) {
      throw invalid(this.pathOf(name), `expected one of ${choices.join(", ")}, got ${describe(value)}`);
    }
    return value as T | undefined;
  }

  list(name: string, { min = 0, max = Number.POSITIVE_INFINITY } = {}): readonly unknown[] | undefined {
    const value = this.value(name);
    if (value === undefined) {
      return undefined;
    }
    if (!Array.isArray(value)) {
      throw invalid(this.pathOf(name), `expected a list, got ${describe(value)}`);
    }
    if (value.length < min || value.length > max) {
      const count = max === Number.POSITIVE_INFINITY ? `at least ${min}` : `${min} to ${max}`;
      throw invalid(this.pathOf(name), `expected ${count} entries, got ${value.length}`);
    }
    return value;
  }

  object(name: string): Fields | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : this.#open(name, () => [new Fields(value, this.pathOf(name))])[0];
  }

  /** An object that is passed on as it is: whatever it has is known to whom it goes. */
  plain(name: string): Readonly<Record<string, unknown>> | undefined {
    const value = this.value(name);
    return value === undefined ? undefined : new Fields(value, this.pathOf(name)).#values;
  }

  /** The list's entries as objects. */
  objects(name: string, range?: { min?: number; max?: number }): readonly Fields[] | undefined {
    const list = this.list(name, range);
    return list && this.#open(name, () => list.map((value, i) => new Fields(value, `${this.pathOf(name)}[${i}]`)));
  }

  #open(name: string, create: () => Fields[]): readonly Fields[] {
    const known = this.#within.get(name);
    const fields = known ?? create();
    if (known === undefined) {
      this.#within.set(name, fields);
    }
    return fields;
  }

  /** Counts as known though nobody reads it. */
  ignore(...names: readonly string[]): void {
    for (const name of names) {
      this.#known.add(name);
    }
  }

  /** Fields that have a value and that nobody knows, also of the objects within: "colour", "messages[0].colour". */
  unknown(): string[] {
    const own = Object.keys(this.#values).filter((name) => this.#values[name] !== null && !this.#known.has(name));
    const within = [...this.#within.values()].flatMap((fields) => fields.flatMap((each) => each.unknown()));
    return [...own.map((name) => this.pathOf(name)), ...within];
  }
}

/** A value for an error message: short, and in one line. */
export function describe(value: unknown): string {
  if (value === undefined) {
    return "nothing";
  }
  if (Array.isArray(value)) {
    return "a list";
  }
  if (typeof value === "object" && value !== null) {
    return "an object";
  }
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
