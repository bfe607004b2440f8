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

/** The folders of the table in scripts/check-layers.mjs that exist, a list per floor. */
function floorsOf(top: string): string[][] {
  const script = readFileSync(join(root, "scripts/check-layers.mjs"), "utf8");
  const table = new RegExp(`folder: "${top}",.*?floors: \\[(.*?)\\n {2}\\],`, "s").exec(script)?.[1] ?? "";
  const floors = [...table.matchAll(/\[([^\]]+)\]/g)].map(([, names = ""]) => names.match(/[^", ]+/g) ?? []);
  const folders = new Set(foldersBelow(top));
  return floors
    .map((names) => names.filter((name) => folders.has(`${top}/${name}/`)))
    .filter(({ length }) => length > 0);
}

test.each(["src", "native"])("the floors of %s/ are those that the check of the layers holds", (top) => {
  const isPart = (name: string) => /^(cli|ui)\//.test(name);
  const floors = floorsOf(top)
    .filter((names) => !names.some(isPart)) // told in sentences of their own
    .map((names) => names.map((name) => `\`${name}\``).join(", "));
  expect(floors.length).toBeGreaterThan(6);
  expect(text.replaceAll("\n", " ")).toContain(`Floors from the top: ${floors.join(" > ")}.`);
});
