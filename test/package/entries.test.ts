// What a program gets from the package's entries: by import, by require(), and as types.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { expect, it } from "vitest";
import { root } from "../support/fixtures.js";

const bin = join(root, "bin", "bitnet.js");

it.each(["", "serve"])("'bitnet-cli/%s': require() gives the instance that import gives", (entry) => {
  const name = entry === "" ? "bitnet-cli" : `bitnet-cli/${entry}`;
  const script = `import(${JSON.stringify(name)}).then((m) => console.log(Object.keys(m).length > 0 && m === require("${name}")))`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=commonjs", "-e", script], {
    cwd: root,
    encoding: "utf8",
  });
  expect({ stdout, stderr: stderr.replace(/^.*(ExperimentalWarning|--trace-warnings).*\n/gm, "") }).toEqual({
    stdout: "true\n",
    stderr: "",
  });
});

it("a Node that cannot require() modules is told what can be done", () => {
  const script = 'require("bitnet-cli")';
  const args = ["--no-experimental-require-module", "--input-type=commonjs", "-e", script];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
  expect(status).toBe(1);
  expect(stderr).toContain(
    `Error: Node ${process.versions.node} cannot require() "bitnet-cli": use await import("bitnet-cli"), or Node 20.19, 22.12 or newer`,
  );
});

it("a Node that is too old is told so in one line", () => {
  const script = `
    Object.defineProperty(process.versions, "node", { value: "18.20.8" });
    import(${JSON.stringify(bin)});`;
  const result = spawnSync(process.execPath, ["--input-type=commonjs", "-e", script], { encoding: "utf8" });
  expect(result).toMatchObject({
    status: 1,
    stdout: "",
    stderr: expect.stringMatching(/^error: bitnet needs Node 20\.17 or newer, and this is Node 18\.20\.8\nhint: .*\n$/),
  });
});

// A program in CommonJS and one in ESM that use values and types of both entries, with declarations checked as well.
const program = `
import { Gguf, type Generation, loadModel, type Session } from "bitnet-cli";
import { type ServeOptions, startServer } from "bitnet-cli/serve";
export async function use(options: ServeOptions, generation: Generation<number, string>): Promise<Gguf | undefined> {
  const model = await loadModel("model.gguf");
  const session: Session = model.createSession({});
  await startServer(options);
  session.close();
  for await (const item of generation) { item.toFixed(); }
  // @ts-expect-error: nothing is any
  session.nonsense();
  return undefined;
}`;

it("TypeScript projects in ESM and in CommonJS compile against the entries", () => {
  const project = mkdtempSync(join(tmpdir(), "bitnet-entries-"));
  try {
    mkdirSync(join(project, "node_modules"));
    symlinkSync(root, join(project, "node_modules", "bitnet-cli"), "junction");
    const files = ["use.mts", "use.cts"].map((name) => join(project, name));
    for (const file of files) {
      writeFileSync(file, program);
    }
    const options: ts.CompilerOptions = {
      module: ts.ModuleKind.Node16,
      moduleResolution: ts.ModuleResolutionKind.Node16,
      target: ts.ScriptTarget.ES2022,
      lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
      strict: true,
      noEmit: true,
      skipDefaultLibCheck: true,
      types: ["node"],
      typeRoots: [join(root, "node_modules", "@types")],
    };
    const faults = ts.getPreEmitDiagnostics(ts.createProgram(files, options));
    const texts = faults.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " "));
    expect(texts).toEqual([]);
  } finally {
    rmSync(project, { recursive: true });
  }
});
