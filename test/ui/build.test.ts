// The files of the page, as they are packed.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { root } from "../support/fixtures.js";

const folder = join(root, "dist/ui");
const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));

test("the whole page is not more than 90 kB, compressed", () => {
  const sizes = files.map((file) => gzipSync(readFileSync(file)).length);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(90_000);
});

test("names of scripts, styles and pictures have a hash, so that they may be cached for ever", () => {
  const loose = files
    .map((file) => file.slice(folder.length + 1))
    .filter((file) => !/^assets\/\w+-[\w-]{8}\.\w+$/.test(file));
  expect(loose.toSorted()).toEqual(["index.html", "offline.js"]);
});

test("the document has no scripts and styles within it and names no other host", () => {
  const html = readFileSync(join(folder, "index.html"), "utf8");
  expect(html).not.toMatch(/<style|style=|\son\w+=|<script(?![^>]*\ssrc=")/);
  const addresses = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address = ""]) => address);
  expect(addresses.length).toBeGreaterThan(2);
  expect(addresses.filter((address) => !address.startsWith("./"))).toEqual([]);
});
