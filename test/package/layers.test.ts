import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const made = mkdtempSync(join(tmpdir(), "bitnet-layers-"));
afterAll(() => rmSync(made, { recursive: true, force: true }));

/** What the check says about a tree of these files, a line each; the last line counts them. */
function check(files: Record<string, string>): string[] {
  const root = mkdtempSync(join(made, "tree-"));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const run = spawnSync(process.execPath, ["scripts/check-layers.mjs", root], { encoding: "utf8" });
  const lines = run.stderr.split("\n").filter((line) => line !== "");
  expect(run.status).toBe(lines.length > 0 ? 1 : 0);
  return lines.slice(0, -1);
}

const table = '#include "kernels/table.inl"\n';
const instructionSet = (outside: string) =>
  `#include <immintrin.h>\n\nnamespace bitnet {\nnamespace {\n\nint hidden() { return 1; }\n${table}\n}  // namespace\n\n${outside}\n}  // namespace bitnet\n`;

describe("the check of the layers", () => {
  it("passes imports that go down, within a folder, and to packages", () => {
    expect(
      check({
        "src/index.ts": 'export { a } from "./engine/a.js";\nexport type { B } from "./gguf/b.js";\n',
        "src/cli/main.ts": 'import { Command } from "commander";\nawait import("./commands/run.js");\n',
        "src/cli/commands/run.ts": 'import "../../engine/a.js";\nimport "../terminal/output.js";\n',
        "src/cli/terminal/output.ts": 'import chalk from "chalk";\n',
        "src/engine/a.ts":
          'import { readFileSync } from "node:fs";\nimport type { B } from "../gguf/b.js";\nimport "./c.js";\n',
        "src/engine/c.ts": "",
        "src/gguf/b.ts": '// import "../engine/a.js";\nconst text = \'import "../engine/a.js";\';\n',
        "native/node/addon.cpp": '#include <napi.h>\n#include "run/session.h"\n',
        "native/run/session.h": '#include <vector>\n#include "base/error.h"\n',
        "native/base/error.h": "",
      }),
    ).toEqual([]);
  });

  it("fails on an import that goes up, of a type alone and when it runs too", () => {
    const files = {
      "src/engine/a.ts": 'import type { Options } from "../cli/options.js";\n',
      "src/system/b.ts": 'export const load = () => import("../hub/c.js");\n',
      "src/hub/c.ts": "",
      "src/cli/options.ts": "",
      "native/formats/d.cpp": '#include "model/e.h"\n',
      "native/model/e.h": "",
    };
    expect(check(files)).toEqual([
      "src/engine/a.ts imports src/cli/options.ts, but src/cli stands above src/engine",
      "src/system/b.ts imports src/hub/c.ts, but src/hub stands above src/system",
      "native/formats/d.cpp imports native/model/e.h, but native/model stands above native/formats",
    ]);
  });

  it("fails on an import to a folder beside: features, commands, kernels and gguf", () => {
    const files = {
      "src/bench/a.ts": 'import "../models/b.js";\n',
      "src/models/b.ts": "",
      "src/cli/commands/run.ts": 'import "./bench.js";\n',
      "src/cli/commands/bench.ts": "",
      "native/kernels/c.cpp": '#include "gguf/d.h"\n',
      "native/gguf/d.h": "",
    };
    expect(check(files)).toEqual([
      "src/bench/a.ts imports src/models/b.ts, but src/models stands beside src/bench",
      "src/cli/commands/run.ts imports src/cli/commands/bench.ts: commands do not know each other; what they share belongs to src/cli/",
      "native/kernels/c.cpp imports native/gguf/d.h, but native/gguf stands beside native/kernels",
    ]);
  });

  it("names a circle of folders on both sides", () => {
    const files = {
      "src/convert/a.ts": 'import "../checkpoint/b.js";\n',
      "src/checkpoint/b.ts": 'import "../gguf/c.js";\n',
      "src/gguf/c.ts": 'import "../convert/d.js";\n',
      "src/convert/d.ts": "",
      "native/run/a.cpp": '#include "model/b.h"\n',
      "native/model/b.h": '#include "run/c.h"\n',
      "native/run/c.h": "",
    };
    const said = check(files);
    expect(said).toContain("a circle of folders: src/checkpoint -> src/gguf -> src/convert -> src/checkpoint");
    expect(said).toContain("a circle of folders: native/model -> native/run -> native/model");
  });

  it("fails on a circle of files within a folder", () => {
    const files = {
      "src/chat/a.ts": 'export * from "./b.js";\n',
      "src/chat/b.ts": 'import type { A } from "./a.js";\n',
      "native/base/c.h": '#include "base/d.h"\n',
      "native/base/d.h": '#include "base/c.h"\n',
    };
    expect(check(files)).toEqual([
      "a circle of files: src/chat/a.ts -> src/chat/b.ts -> src/chat/a.ts",
      "a circle of files: native/base/c.h -> native/base/d.h -> native/base/c.h",
    ]);
  });

  it("fails on a file that lies on no floor, and on an import of a file that is not there", () => {
    const noFloor = "lies on no floor: name its folder in scripts/check-layers.mjs and in docs/architecture.md";
    const files = {
      "src/loose.ts": "",
      "src/utils/a.ts": "",
      "native/loose.h": "",
      "native/base/b.h": '#include "error.h"\n',
    };
    expect(check(files)).toEqual([
      `src/loose.ts ${noFloor}`,
      `src/utils/a.ts ${noFloor}`,
      "native/base/b.h imports native/error.h, which does not exist",
      `native/loose.h ${noFloor}`,
    ]);
  });

  it("keeps the web page apart: it imports only itself, styles and packages, and nothing imports it", () => {
    expect(
      check({
        "src/ui/main.tsx": 'import { render } from "preact";\nimport "./styles/base.css";\nimport "./view/page.js";\n',
        "src/ui/view/page.tsx": 'import type { A } from "../../engine/a.js";\nimport "../app/app.js";\n',
        "src/ui/app/app.ts": 'import "../view/page.js";\n',
        "src/engine/a.ts": "",
        "src/cli/commands/serve.ts": 'import "../../ui/app/app.js";\n',
      }),
    ).toEqual([
      "src/cli/commands/serve.ts imports src/ui/app/app.ts: the web page runs in browsers and knows the server by its interface alone",
      "src/ui/app/app.ts imports src/ui/view/page.tsx, but src/ui/view stands above src/ui/app",
      "src/ui/view/page.tsx imports src/engine/a.ts: the web page runs in browsers and knows the server by its interface alone",
      "a circle of folders: src/ui/app -> src/ui/view -> src/ui/app",
      "a circle of files: src/ui/app/app.ts -> src/ui/view/page.tsx -> src/ui/app/app.ts",
    ]);
  });

  it("leaves the terminal's packages to src/cli, and the host's headers to native/node", () => {
    expect(
      check({
        "src/engine/a.ts": 'import ora from "ora";\nimport { undici } from "undici";\n',
        "native/run/b.cpp": "#include <napi.h>\n",
      }),
    ).toEqual([
      "src/engine/a.ts imports ora, which only src/cli/ may: a library neither prints nor reads arguments",
      "native/run/b.cpp includes <napi.h>, which only native/node/ may",
    ]);
  });

  it("holds src/index.ts to re-exports, which nobody in src/ imports", () => {
    expect(
      check({
        "src/index.ts": 'export { a } from "./system/a.js";\nexport const version = "1";\n',
        "src/system/a.ts": "",
        "src/cli/main.ts": 'import "../index.js";\n',
      }),
    ).toEqual([
      "src/cli/main.ts imports src/index.ts, the face of the library; import the file that has the thing",
      'src/index.ts has "export const version = "1";", but only re-exports',
    ]);
  });

  it("has intrinsics only in files of instruction sets, which export their table alone", () => {
    const kernels = "extern constinit const Kernels kAvx9 = kernel_table(\n    1);\n";
    expect(
      check({
        "native/kernels/avx9.cpp": instructionSet(kernels),
        "native/kernels/avx10.cpp": instructionSet(`${kernels}int shared() { return 2; }\n`),
        "native/kernels/packing.cpp": "#include <arm_neon.h>\n",
        "native/kernels/table.inl": "#include <vector>\n",
      }),
    ).toEqual([
      'native/kernels/avx10.cpp has to export one "extern constinit const Kernels" and nothing else, not "extern constinit const Kernels kAvx9 = kernel_table(", "int shared() { return 2; }"',
      "native/kernels/packing.cpp includes <arm_neon.h>, which only files of instruction sets may (those with kernels/table.inl)",
      "native/kernels/table.inl includes <vector> inside the namespace that it is pasted into: the .cpp includes headers",
    ]);
  });
});
