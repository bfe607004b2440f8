// The manual page and the tables of the docs are what the tables of commands and options say.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { manualPage, referenceTables } from "../../src/cli/manual.js";
import { loadProgram } from "../../src/cli/program.js";
import { describeProgram } from "../../src/cli/reference.js";
import { packageVersion } from "../../src/system/package.js";
import { root } from "../support/fixtures.js";

const page = join(root, "man", "bitnet.1");
const again = "run `npm run build:reference`";

test("man/bitnet.1 is fresh", async () => {
  const fresh = manualPage(packageVersion(), describeProgram(await loadProgram()));
  expect(readFileSync(page, "utf8") === fresh, again).toBe(true);
});

test("docs/command-line.md has the tables of all commands", async () => {
  const [, tables = ""] = readFileSync(join(root, "docs", "command-line.md"), "utf8").split("<!-- tables -->\n\n");
  expect(tables === referenceTables(describeProgram(await loadProgram())), again).toBe(true);
});

test("the package carries the page, for man", () => {
  const { man, files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  expect({ man, files }).toEqual({ man: "man/bitnet.1", files: expect.arrayContaining(["man"]) });
});

const hasGroff = spawnSync("groff", ["--version"]).status === 0;
test.skipIf(!hasGroff)("groff reads the page without a warning", () => {
  const { status, stdout, stderr } = spawnSync("groff", ["-man", "-Tascii", "-P-cbou", "-ww", page], {
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toContain("--n-predict <n>");
});
