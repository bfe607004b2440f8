// The published package as it is staged: what is in it, and that it runs with nothing around it.

import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root } from "../support/fixtures.js";

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
let home: string;
let modules: string;
let files: string[]; // of the package, with "/"

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "bitnet-staged-"));
  modules = join(home, "node_modules");
  const script = `import { stagePackage } from ${JSON.stringify(join(root, "scripts", "stage-package.mjs"))}; await stagePackage(process.argv[1]);`;
  execFileSync(process.execPath, ["--input-type=module", "-e", script, join(modules, "bitnet-cli")], { stdio: "pipe" });
  files = readdirSync(join(modules, "bitnet-cli"), { recursive: true, encoding: "utf8" }).map((name) =>
    name.replaceAll("\\", "/"),
  );
});
afterAll(() => {
  rmSync(home, { recursive: true, force: true });
});

const read = (path: string) => readFileSync(join(modules, "bitnet-cli", path), "utf8");
const own = () => files.filter((name) => !name.startsWith("node_modules/"));

describe("its package.json", () => {
  it("has no scripts, the native parts at its own version, and the user's list of packages beside it", () => {
    const manifest = JSON.parse(read("package.json"));
    expect(Object.keys(manifest)).not.toContain("scripts");
    expect(Object.keys(manifest)).not.toContain("devDependencies");
    expect(Object.keys(manifest.dependencies).sort()).toEqual([
      "@huggingface/hub",
      "chalk",
      "cli-progress",
      "commander",
      "ora",
    ]);
    expect(manifest.bundleDependencies.sort()).toEqual(Object.keys(manifest.dependencies).sort());
    expect(Object.keys(manifest.optionalDependencies).sort()).toEqual(
      "darwin-arm64 darwin-x64 linux-arm64 linux-x64 linuxmusl-arm64 linuxmusl-x64 win32-arm64 win32-x64"
        .split(" ")
        .map((name) => `@bitnet-cli/${name}`),
    );
    expect(new Set(Object.values(manifest.optionalDependencies))).toEqual(new Set([version]));
  });

  it("names files that are there", () => {
    const { main, types, man, bin, exports } = JSON.parse(read("package.json"));
    const named = [
      main,
      types,
      man,
      ...Object.values(bin),
      ...(JSON.stringify(exports).match(/\.\/[\w./-]+(?=")/g) ?? []),
    ];
    expect(named.length).toBeGreaterThan(8);
    const paths = named.filter((name) => name !== "./serve");
    expect(paths.filter((name) => !existsSync(join(modules, "bitnet-cli", name)))).toEqual([]);
  });
});

it("has no source map, and nothing of the repository that it does not need", () => {
  expect(own().filter((name) => /\.map$|\.ts$/.test(name) && !/\.d\.ts$/.test(name))).toEqual([]);
  expect(own().some((name) => name.startsWith("dist/") && read2(name).includes("sourceMappingURL"))).toBe(false);
  expect(own().filter((name) => /^(src|test|docs|build)(\/|$)/.test(name))).toEqual([]);
});

const read2 = (name: string) => (/\.(js|d\.ts)$/.test(name) ? read(name) : "");

// The bundles are checked when they are made: what cannot be bundled fails there.
it("imports what it has, what it depends on, and optional peers alone", () => {
  const { dependencies, peerDependencies } = JSON.parse(read("package.json"));
  const known = [...builtinModules, ...Object.keys(dependencies), ...Object.keys(peerDependencies)];
  const strange = own()
    .filter((name) => /^dist\/(?!ui\/|bundled\/).*\.(js|cjs|d\.ts|d\.cts)$/.test(name))
    .flatMap((name) => ts.preProcessFile(read(name), true, true).importedFiles.map(({ fileName }) => fileName))
    .filter((name) => !name.startsWith(".") && !name.startsWith("node:") && !known.includes(name));
  expect([...new Set(strange)]).toEqual([]);
});

it("its page's links lead to the repository, and all of them do", () => {
  const links = [...read("README.md").matchAll(/\]\(([^)#][^)]*)\)/g)].map(([, target]) => target);
  expect(links.length).toBeGreaterThan(10);
  expect(links.filter((link) => !link?.startsWith("https://"))).toEqual([]);
  expect(read("README.md")).toContain(`(https://github.com/bitnet-cli/bitnet/blob/v${version}/docs/install.md)`);
});

it("runs in an empty home, with the native part beside it: text, the library, and a server with page and metrics", () => {
  const addon = join(modules, "bitnet-cli", "build", "Release"); // where a clone has it
  mkdirSync(addon, { recursive: true });
  cpSync(join(root, "build", "Release", "bitnet.node"), join(addon, "bitnet.node"));
  const bin = join(modules, "bitnet-cli", "bin", "bitnet.js");
  const env = { HOME: home, PATH: "" };
  const text = spawnSync(process.execPath, [bin, "run", "-p", "Once upon a time", "-n", "4", "--quiet"], {
    env,
    encoding: "utf8",
  });
  expect(text).toMatchObject({ status: 0, stderr: "", stdout: expect.stringContaining("Once upon a time, there") });
  writeFileSync(
    join(home, "server.mjs"),
    `import { startServer } from "bitnet-cli/serve";
    const modelPath = ${JSON.stringify(join(modules, "bitnet-cli", "models", "tiny-bitnet.gguf"))};
    const server = await startServer({ modelPath, port: 0 });
    await server.ready;
    const [url] = server.urls;
    const answers = await Promise.all(["/", "/metrics", "/v1/models"].map((path) => fetch(url + path)));
    console.log(answers.map(({ status, headers }) => status + " " + headers.get("content-type")).join(", "));
    await server.close();`,
  );
  const served = spawnSync(process.execPath, [join(home, "server.mjs")], { env, encoding: "utf8" });
  expect(served).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^200 text\/html.*, 200 text\/plain.*, 200 application\/json/),
  });
});

it("the notices name everything that is bundled and linked in", () => {
  const script = join(root, "scripts", "write-notices.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});
