// docs/library.md names every code of an error, and every option of loading, of sessions and of a prefill.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../support/fixtures.js";

const read = (path: string) => readFileSync(join(root, path), "utf8");
const text = read("docs/library.md");

test("the table of errors has every code and no other", () => {
  const rows = [...text.matchAll(/^\| `([A-Z_]+)` \|/gm)].flatMap(([, code]) => code ?? []);
  const codes = [...read("src/system/errors.ts").matchAll(/^ {2}([A-Z_]+): \{ exit:/gm)].flatMap(
    ([, code]) => code ?? [],
  );
  expect(codes).toContain("INTERNAL");
  expect(rows.toSorted()).toEqual(codes.toSorted());
});

test.each(["LoadOptions", "SessionOptions", "PrefillOptions"])("every option of %s is named", (type) => {
  const source = read("src/engine/model.ts");
  const body = new RegExp(`export interface ${type} \\{\n(.*?)\n\\}`, "s").exec(source)?.[1] ?? "";
  const names = [...body.matchAll(/^ {2}(\w+)\?:/gm)].flatMap(([, name]) => name ?? []);
  expect(names.length).toBeGreaterThan(1);
  expect(names.filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([]);
});
