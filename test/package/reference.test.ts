// The manual page and the tables of the docs are what the tables of commands and options say.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { manualPage, referenceTables, variableTable } from "../../src/cli/manual.js";
import { loadProgram } from "../../src/cli/program.js";
import { describeProgram } from "../../src/cli/reference.js";
import { variables } from "../../src/cli/variables.js";
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

test("docs/command-line.md has the table of variables", () => {
  const [, rest = ""] = readFileSync(join(root, "docs", "command-line.md"), "utf8").split("<!-- variables -->\n\n");
  expect(rest.startsWith(variableTable()), again).toBe(true);
});

describe("the table of variables", () => {
  const listed = variables.flatMap(({ names }) => names.map((name) => name.replace("*", "")));
  const sources = readFiles(join(root, "src"), ".ts").concat(readFiles(join(root, "native"), ".cpp"));
  const others = sources.filter((path) => !path.endsWith(join("cli", "variables.ts")));
  const code = others.map((path) => readFileSync(path, "utf8")).join("\n");
  /** Read by Node or by what it has of the system. */
  const ofNode: Record<string, string> = { HOME: "homedir", TMPDIR: "tmpdir", NODE_EXTRA_CA_CERTS: "fetch" };
  /** Set by package managers for the programs that they start. */
  const notSetByUsers = ["npm_config_user_agent"];

  test("has every variable that the program reads", () => {
    const direct = [...code.matchAll(/\benv\.([A-Za-z_]+)|getenv\("(\w+)"\)|\benv\["(\w+)"\]/g)].flatMap((match) =>
      match.slice(1).filter(Boolean),
    );
    const taken = [...code.matchAll(/\{([^{}]*)\} = (?:process\.)?env\b/g)].flatMap(([, names = ""]) =>
      names.split(/[\s,]+/),
    );
    const quoted = [...code.matchAll(/"((?:BITNET|HF|HUGGING_?FACE|XDG|TRANSFORMERS)_[A-Z_]+|\w+_proxy)"/g)].map(
      ([, name = ""]) => name,
    );
    const read = new Set([...direct, ...taken, ...quoted].filter((name) => /^[A-Z_]{4,}$|_/.test(name)));
    expect(read.size).toBeGreaterThan(20);
    expect([...read].filter((name) => !listed.includes(name) && !notSetByUsers.includes(name))).toEqual([]);
  });

  test("has no variable that nothing reads", () => {
    const unread = listed.filter((name) => !new RegExp(`\\b${ofNode[name] ?? name}\\b`).test(code));
    expect(unread).toEqual([]);
  });
});

function readFiles(folder: string, ending: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}

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
