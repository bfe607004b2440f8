// docs/architecture.md has a row for every folder of the sources.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../support/fixtures.js";

const text = readFileSync(join(root, "docs/architecture.md"), "utf8");

function foldersBelow(top: string): string[] {
  return readdirSync(join(root, top), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? [`${top}/${entry.name}/`, ...foldersBelow(`${top}/${entry.name}`)] : [],
  );
}

test.each(["src", "native"])("every folder of %s/ has a row, and every row a folder", (top) => {
  const rows = [...text.matchAll(/^\| `([^`]+\/)` \|/gm)].flatMap(([, path = ""]) => path);
  const rowsOfTop = rows.filter((path) => path.startsWith(`${top}/`));
  expect(rowsOfTop.toSorted()).toEqual(foldersBelow(top).toSorted());
});

test("nothing lies loose beside the folders but the face of the library", () => {
  const loose = ["src", "native"].flatMap((top) =>
    readdirSync(join(root, top), { withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => `${top}/${entry.name}`),
  );
  expect(loose).toEqual(["src/index.ts"]);
});
