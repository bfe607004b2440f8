// The files of deploy/ and what stands in them.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { root } from "./fixtures.js";
import type { Yaml } from "./read-yaml.js";

export const deploy = join(root, "deploy");

export function read(...path: string[]): string {
  return readFileSync(join(deploy, ...path), "utf8");
}

/** What stands at a path of keys and numbers; throws where nothing does. */
export function at(value: Yaml | undefined, ...path: (string | number)[]): Yaml {
  const found = path.reduce<Yaml | undefined>(
    (inner, key) => (inner as Record<string | number, Yaml> | null | undefined)?.[key],
    value,
  );
  if (found === undefined) {
    throw new Error(`nothing at ${path.join(".")} of ${JSON.stringify(value).slice(0, 300)}`);
  }
  return found;
}

export function texts(value: Yaml): string[] {
  return (value as Yaml[]).map(String);
}

/** What `list` has after `option`. */
export function valueAfter(list: readonly string[], option: string): string {
  expect(list).toContain(option);
  return list[list.indexOf(option) + 1] ?? "";
}
