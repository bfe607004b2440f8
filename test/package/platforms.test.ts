// The table of platforms, the document about it, and the hash of the sources that an addon is built from.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { platformName } from "../../src/native/platform.js";
import { root } from "../support/fixtures.js";

interface Platform {
  name: string;
  os: string;
  cpu: string;
  libc?: string;
}

const node = (...args: string[]) => execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });

describe("the table of platforms", () => {
  const script = 'import { platforms } from "./scripts/platforms.mjs"; console.log(JSON.stringify(platforms))';
  const platforms = JSON.parse(node("--input-type=module", "-e", script)) as Platform[];
  const names = platforms.map(({ name }) => name);

  test("calls them as the loader does", () => {
    const named = platforms.map(({ os, cpu, libc }) => `${os}${libc === "musl" ? "musl" : ""}-${cpu}`);
    expect(names).toEqual(named);
    expect(new Set(names).size).toBe(names.length);
  });

  test("has every platform of which Node's own downloads are common", () => {
    const systems = ["linux", "linuxmusl", "darwin", "win32"];
    expect(names.toSorted()).toEqual(systems.flatMap((system) => [`${system}-arm64`, `${system}-x64`]).sort());
  });

  test("is that of the document", () => {
    const page = readFileSync(join(root, "docs/platforms.md"), "utf8");
    expect([...page.matchAll(/^\| ((?:linux|darwin|win32)\S*) \|/gm)].map(([, name]) => name)).toEqual(names);
  });

  test.runIf(["linux", "darwin", "win32"].includes(process.platform))("has this one", () => {
    expect(names).toContain(platformName());
  });
});

describe("the hash of the sources", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "bitnet-hash-"));
    mkdirSync(join(folder, "native", "base"), { recursive: true });
    mkdirSync(join(folder, "scripts"));
    cpSync(join(root, "scripts/native-sources.mjs"), join(folder, "scripts/native-sources.mjs"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** The hash of these files, and of nothing else. */
  function hash(files: Record<string, string>): string {
    rmSync(join(folder, "native"), { recursive: true });
    mkdirSync(join(folder, "native", "base"), { recursive: true });
    for (const [path, text] of Object.entries({ "CMakeLists.txt": "project(a)\n", ...files })) {
      writeFileSync(join(folder, path), text);
    }
    return execFileSync(process.execPath, [join(folder, "scripts/native-sources.mjs")], { encoding: "utf8" }).trim();
  }

  test("tells what is built from what", () => {
    const one = { "native/base/a.cpp": "int a;\n", "native/base/b.h": "int b;\n" };
    const hashes = [
      hash(one),
      hash({ ...one, "native/base/a.cpp": "int c;\n" }),
      hash({ ...one, "CMakeLists.txt": "project(b)\n" }),
      hash({ "native/base/a.cpp": "int a;\n", "native/b.h": "int b;\n" }),
      hash({ "native/base/a.cpp": "int a;\nint b;\n", "native/base/b.h": "" }),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(hashes[0]).toMatch(/^[0-9a-f]{64}$/);
  });

  test("is the same for documents that change, and for the line ends of Windows", () => {
    const one = { "native/base/a.cpp": "int a;\n" };
    expect(hash({ ...one, "native/README.md": "# New\n" })).toBe(hash(one));
    expect(hash({ "CMakeLists.txt": "project(a)\r\n", "native/base/a.cpp": "int a;\r\n" })).toBe(hash(one));
  });
});
