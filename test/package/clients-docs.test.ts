// The JavaScript of docs/clients.md runs as it is printed, against a server with the bundled model.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ServerProcess, startServer } from "../../src/bench/serve-process.js";
import { root } from "../support/fixtures.js";

const page = readFileSync(join(root, "docs", "clients.md"), "utf8");
const programs = [...page.matchAll(/^## ([^\n]+)\n(?:(?!^## ).*\n)*?```js\n([\s\S]*?)^```$/gm)].map(
  ([, title = "", code = ""]) => ({ title, code }),
);
const folder = mkdtempSync(join(tmpdir(), "bitnet-clients-"));

let server: ServerProcess;
beforeAll(async () => {
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  const options = ["-m", join(root, "models", "tiny-bitnet.gguf"), "-n", "8"];
  server = await startServer(options, new AbortController().signal);
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

test("the page has programs", () => {
  expect(programs.map(({ title }) => title)).toEqual(["OpenAI's JavaScript library", "Vercel AI SDK"]);
});

test.each(programs)("$title", async ({ title, code }) => {
  const file = join(folder, `${title.replace(/\W/g, "-")}.mjs`);
  expect(code).toContain("http://127.0.0.1:8080");
  writeFileSync(file, code.replaceAll("http://127.0.0.1:8080", server.url));
  const child = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "pipe"] });
  const output = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  expect({ status, stderr: output.stderr }).toEqual({ status: 0, stderr: "" });
  expect(output.stdout.trim()).toMatch(/\w/);
});
