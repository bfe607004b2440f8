// What the package says where its files are not where they were: in a bundle of somebody else.

import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { root } from "../support/fixtures.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-bundle-"));
  mkdirSync(join(folder, "dist", "system"), { recursive: true });
  for (const name of ["package.js", "package.js.map", "errors.js", "errors.js.map"]) {
    cpSync(join(root, "dist", "system", name), join(folder, "dist", "system", name));
  }
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

it.each([
  ["there is no package.json", undefined, /it cannot read its package\.json: ENOENT/],
  ["it is that of a project", { name: "shop", version: "1.0.0" }, /the package\.json that it finds is of shop$/],
])("where %s, it says that it is in a bundle and how to leave it out", async (_, manifest, reason) => {
  writeFileSync(join(folder, "dist", "package.json"), '{ "type": "module" }');
  if (manifest !== undefined) {
    writeFileSync(join(folder, "package.json"), JSON.stringify(manifest));
  }
  const { packageVersion } = await import(pathToFileURL(join(folder, "dist", "system", "package.js")).href);
  expect(packageVersion).toThrow(
    expect.objectContaining({
      code: "UNSUPPORTED",
      message: expect.stringMatching(reason),
      hint: 'leave it out: external: ["bitnet-cli"]',
    }),
  );
});
