// What a user types for a model, and which model that is.

import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { convertCheckpoint, registeredModels, resolveModel } from "../../src/index.js";
import { tinyModel } from "../support/fixtures.js";

let folder: string;
const models = () => join(folder, "models");
const fileOf = (name: string, type = "i2_s") => join(models(), name, `ggml-model-${type}.gguf`);

function put(path: string, source = tinyModel): string {
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync(source, path);
  return path;
}

function note(path: string, repository: string, revision = "main", commit = "ab".repeat(20)): void {
  const { length } = readFileSync(path);
  const text = JSON.stringify({
    format: "bitnet-model-source",
    version: 1,
    repository,
    revision,
    source: { repository, commit, files: [{ path: "x.gguf", bytes: length }] },
    made: "published",
    type: "i2_s",
    bytes: length,
    modified: new Date().toISOString(),
  });
  writeFileSync(`${path}.json`, text);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-resolve-"));
  vi.stubEnv("HF_HUB_CACHE", join(folder, "cache"));
  vi.stubEnv("HF_ENDPOINT", "https://hub.example.org/base");
  note(put(fileOf("tiny")), "me/tiny");
  note(put(fileOf("you--tiny")), "you/tiny");
  note(put(fileOf("me--tiny@v2")), "me/tiny", "v2", "cd".repeat(20));
  const types = join(models(), "two");
  put(join(types, "ggml-model-i2_s.gguf"));
  await convertCheckpoint({ source: tinyModel, outfile: join(types, "ggml-model-tq2_0.gguf"), outtype: "tq2_0" });
  linkSync(fileOf("tiny"), join(models(), "second-name.gguf"));
  put(join(folder, "cache", "models--them--cached", "snapshots", "ef".repeat(20), "a.gguf"));
  mkdirSync(join(folder, "cache", "models--them--cached", "refs"));
  writeFileSync(join(folder, "cache", "models--them--cached", "refs", "main"), "ef".repeat(20));
  put(join(folder, "here", "2b"));
  put(join(folder, "here", "one", "x.gguf"));
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const resolve = (text: string) => resolveModel(text, { modelDir: models() });

test.each([
  ["tiny", () => fileOf("tiny")],
  ["TINY", () => fileOf("tiny")],
  ["tiny:i2_s", () => fileOf("tiny")],
  ["you--tiny", () => fileOf("you--tiny")],
  ["me--tiny@v2", () => fileOf("me--tiny@v2")],
  ["me/tiny", () => fileOf("tiny")],
  ["me/tiny:I2_S", () => fileOf("tiny")],
  ["me/tiny@main", () => fileOf("tiny")],
  ["me/tiny@v2", () => fileOf("me--tiny@v2")],
  [`me/tiny@${"ab".repeat(20)}`, () => fileOf("tiny")],
  ["you/tiny", () => fileOf("you--tiny")],
  ["hf:you/tiny", () => fileOf("you--tiny")],
  ["two:tq2_0", () => fileOf("two", "tq2_0")],
  ["second-name", () => join(models(), "second-name.gguf")],
  ["them/cached", () => join(folder, "cache", "models--them--cached", "snapshots", "ef".repeat(20), "a.gguf")],
  ["cached", () => join(folder, "cache", "models--them--cached", "snapshots", "ef".repeat(20), "a.gguf")],
  ["models/tiny", () => fileOf("tiny")],
  ["models/tiny/ggml-model-i2_s.gguf", () => fileOf("tiny")],
  ["two/ggml-model-tq2_0.gguf", () => fileOf("two", "tq2_0")],
])("%s is on this machine", async (text, path) => {
  expect(await resolve(text)).toEqual({ kind: "path", path: path() });
});

describe("paths", () => {
  test("one that exists wins over every name", async () => {
    const before = process.cwd();
    process.chdir(join(folder, "here"));
    try {
      expect(await resolve("2b")).toEqual({ kind: "path", path: "2b" });
      expect(await resolve("one")).toEqual({ kind: "path", path: join("one", "x.gguf") });
    } finally {
      process.chdir(before);
    }
  });

  test("a folder with one GGUF file means that file, one with several names them", async () => {
    expect(await resolve(join(folder, "here", "one"))).toEqual({
      kind: "path",
      path: join(folder, "here", "one", "x.gguf"),
    });
    await expect(resolve(join(models(), "two"))).rejects.toMatchObject({
      code: "USAGE",
      hint: "name one of ggml-model-i2_s.gguf, ggml-model-tq2_0.gguf",
    });
  });

  test.each([
    ["./tiny", /no such file/],
    ["/nowhere/tiny.gguf", /no such file/],
    ["~/nowhere/tiny.gguf", /no such file/],
    ["models/nowhere", /no such file/],
    ["tinny.gguf", /no such file/],
    ["", /no such file/],
  ])("%s is one that is not there, never a name", async (text, message) => {
    await expect(resolve(text)).rejects.toMatchObject({ code: "NOT_FOUND", message: expect.stringMatching(message) });
  });
});

const commit = "12".repeat(20);
test.each([
  ["2b", { repository: "microsoft/BitNet-b1.58-2B-4T", revision: "main" }],
  ["2B:tl2", { repository: "microsoft/BitNet-b1.58-2B-4T", revision: "main", type: "tl2" }],
  ["2b:latest", { repository: "microsoft/BitNet-b1.58-2B-4T", revision: "main" }],
  ["BitNet-b1.58-2B-4T", { repository: "microsoft/BitNet-b1.58-2B-4T", revision: "main" }],
  ["me/other", { repository: "me/other", revision: "main" }],
  ["me/other@v1.0:TQ2_0", { repository: "me/other", revision: "v1.0", type: "tq2_0" }],
  ["me/tiny:tq2_0", { repository: "me/tiny", revision: "main", type: "tq2_0" }],
  ["me/other@pr/1", { repository: "me/other", revision: "pr/1" }],
  ["hf:me/other", { repository: "me/other", revision: "main" }],
  ["hf://me/other@v1", { repository: "me/other", revision: "v1" }],
  ["hf:me/other:i2_s", { repository: "me/other", revision: "main", type: "i2_s" }],
  ["hf:me/other/sub/x.gguf", { repository: "me/other", revision: "main", file: "sub/x.gguf" }],
  ["hf://me/other@v1/x.gguf", { repository: "me/other", revision: "v1", file: "x.gguf" }],
  ["huggingface:me/other", { repository: "me/other", revision: "main" }],
  ["hf.co/me/other", { repository: "me/other", revision: "main" }],
  ["hf.co/me/other:i2_s", { repository: "me/other", revision: "main", type: "i2_s" }],
  ["https://huggingface.co/me/other", { repository: "me/other", revision: "main" }],
  ["https://huggingface.co/me/other/", { repository: "me/other", revision: "main" }],
  ["https://huggingface.co/me/other/tree/v1", { repository: "me/other", revision: "v1" }],
  [
    `https://huggingface.co/me/other/blob/${commit}/a/x.gguf`,
    { repository: "me/other", revision: commit, file: "a/x.gguf" },
  ],
  [
    "https://huggingface.co/me/other/resolve/main/a%20b.gguf?download=true",
    { repository: "me/other", revision: "main", file: "a b.gguf" },
  ],
  [
    "https://huggingface.co/me/other/resolve/refs/pr/1/x.gguf",
    { repository: "me/other", revision: "refs/pr/1", file: "x.gguf" },
  ],
  ["https://hub.example.org/base/me/other/tree/v2", { repository: "me/other", revision: "v2" }],
])("%s is a model of the hub", async (text, reference) => {
  expect(await resolve(text)).toEqual({ kind: "hub", ...reference });
});

test.each([
  ["https://example.com/me/other", /not the hub/],
  ["https://huggingface.co/datasets/me/other", /no model of the hub/],
  ["https://huggingface.co/", /no model of the hub/],
  ["https://huggingface.co/me/%zz", /no model of the hub/],
  ["hf:me", /no model of the hub/],
  ["hf:me/..", /not the name of a repository/],
  ["a/b/c", /neither a file .* nor the name of a repository/],
  ["-x/y", /neither a file/],
  ["me/other:q4_k_m", /no type q4_k_m/],
  ["me/other@", /neither a file/],
])("%s is malformed", async (text, message) => {
  await expect(resolve(text)).rejects.toMatchObject({
    code: "USAGE",
    message: expect.stringMatching(message),
    hint: expect.any(String),
  });
});

test("a name of several models is an error that names them", async () => {
  await expect(resolve("two")).rejects.toMatchObject({
    code: "USAGE",
    message: "two is the name of 2 models",
    hint: "name one: two:i2_s, two:tq2_0",
  });
});

test.each([
  ["tiney", /did you mean tiny\?/],
  ["falcon-e-1", /did you mean falcon-e-1b\?/],
  ["zzzzzzzzzzzz", /bitnet list shows/],
])("%s is unknown, with a hint", async (text, hint) => {
  await expect(resolve(text)).rejects.toMatchObject({ code: "NOT_FOUND", hint: expect.stringMatching(hint) });
});

test("as a source of a conversion a repository is its checkpoint, and a folder is one", async () => {
  expect(await resolveModel("me/tiny", { modelDir: models(), want: "source" })).toMatchObject({ kind: "hub" });
  expect(await resolveModel(models(), { want: "source" })).toEqual({ kind: "path", path: models() });
});

test("no two known models share a name, short or long", () => {
  const names = registeredModels.flatMap(({ repo, short }) => [...new Set([short, repo.split("/")[1]?.toLowerCase()])]);
  expect(new Set(names).size).toBe(names.length);
  for (const { short } of registeredModels) {
    expect(short).toMatch(/^[a-z0-9][a-z0-9.-]*$/);
  }
});
