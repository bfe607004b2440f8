// Every metric that the pages and the files for operators name is one that the server has.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../support/fixtures.js";

const kubernetes = join(root, "deploy", "kubernetes");
const files = [
  join(root, "docs", "operators.md"),
  ...readdirSync(kubernetes, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".yaml"))
    .map((name) => join(kubernetes, name)),
];
const named = new Set(
  files.flatMap((file) =>
    [...readFileSync(file, "utf8").matchAll(/\b(?:vllm|bitnet|llamacpp):[a-z_]+/g)].map(([name]) =>
      name.replace(/_(?:bucket|sum|count)$/, ""),
    ),
  ),
);
const source = readFileSync(join(root, "src", "serve", "metrics.ts"), "utf8");

test("the pages name metrics", () => {
  expect(named.size).toBeGreaterThan(8);
});

test.each([...named])("%s", (name) => {
  expect(source).toContain(`"${name}"`);
});
