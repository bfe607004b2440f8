// A file of a folder of models is never taken for another repository's or revision's model of the same name.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openHub, type SetupOptions, type SetupResult, setupModel } from "../../src/index.js";
import { FakeHub, sha256 } from "../support/fake-hub.js";
import { tinyModel } from "../support/fixtures.js";

const tiny = readFileSync(tinyModel);
const other = Buffer.from(tiny); // the same shape, another model
other[other.length - 1] = (other[other.length - 1] ?? 0) ^ 1;

let fake: FakeHub;
let folder: string;
beforeEach(async () => {
  fake = await FakeHub.start();
  folder = await mkdtemp(join(tmpdir(), "bitnet-provenance-"));
  fake.repositories.set("me/tiny", {
    files: { "ggml-model-i2_s.gguf": tiny },
    revisions: ["main", "v2", "pr/1"],
  });
  fake.repositories.set("you/tiny", { files: { "ggml-model-i2_s.gguf": other } });
});
afterEach(async () => {
  await fake.stop();
  await rm(folder, { recursive: true });
});

const models = () => join(folder, "models");
const fileOf = (name: string) => join(models(), name, "ggml-model-i2_s.gguf");

interface Outcome extends SetupResult {
  notes: string[];
}

async function setup(repository: string, options: Partial<SetupOptions> = {}, offline = false): Promise<Outcome> {
  const notes: string[] = [];
  const hub = await openHub({
    environment: { endpoint: fake.url, cacheDir: join(folder, "cache"), offline },
    retry: { attempts: 1, baseDelayMs: 1 },
  });
  const onNote = (text: string) => notes.push(text);
  const result = await setupModel({ repository, modelDir: models(), hub, onNote, ...options });
  return { ...result, notes };
}

/** A file that no note tells of. */
function putUnknown(content: Buffer, name = "tiny"): string {
  mkdirSync(dirname(fileOf(name)), { recursive: true });
  writeFileSync(fileOf(name), content);
  return fileOf(name);
}

describe("a model of the same name", () => {
  test("of another owner gets a folder of its own, and each is found again without a word to the hub", async () => {
    expect(await setup("me/tiny")).toMatchObject({ origin: "published", path: fileOf("tiny") });
    expect(await setup("you/tiny")).toMatchObject({ origin: "published", path: fileOf("you--tiny") });
    fake.seen.length = 0;
    expect(await setup("me/tiny")).toMatchObject({ origin: "existing", path: fileOf("tiny") });
    expect(await setup("you/tiny")).toMatchObject({ origin: "existing", path: fileOf("you--tiny") });
    expect(fake.seen).toEqual([]);
    expect([readFileSync(fileOf("tiny")).equals(tiny), readFileSync(fileOf("you--tiny")).equals(other)]).toEqual([
      true,
      true,
    ]);
  });

  test("of an owner that the hub does not know is an error", async () => {
    await setup("me/tiny");
    await expect(setup("nobody/tiny")).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(readdirSync(models())).toEqual(["tiny"]);
  });

  test("of another revision gets one, too; the commit that was taken is the same model", async () => {
    await setup("me/tiny");
    expect(await setup("me/tiny@v2")).toMatchObject({ path: fileOf("me--tiny@v2") });
    expect(await setup("me/tiny@pr/1")).toMatchObject({ path: fileOf("me--tiny@pr--1") });
    expect(await setup(`me/tiny@${fake.commitOf("me/tiny")}`)).toMatchObject({
      origin: "existing",
      path: fileOf("tiny"),
    });
  });

  test("in another type stays with its owner", async () => {
    await setup("me/tiny");
    const type = { type: "tq2_0" };
    expect(await setup("you/tiny", type)).toMatchObject({
      origin: "converted",
      path: join(models(), "you--tiny", "ggml-model-tq2_0.gguf"),
    });
    expect(await setup("me/tiny", type)).toMatchObject({ path: join(models(), "tiny", "ggml-model-tq2_0.gguf") });
  });
});

test("a note beside the file says where it came from", async () => {
  await setup("me/tiny");
  expect(JSON.parse(readFileSync(`${fileOf("tiny")}.json`, "utf8"))).toEqual({
    format: "bitnet-model-source",
    version: 1,
    repository: "me/tiny",
    revision: "main",
    source: {
      repository: "me/tiny",
      commit: fake.commitOf("me/tiny"),
      files: [{ path: "ggml-model-i2_s.gguf", bytes: tiny.length, hash: `sha256:${sha256(tiny)}` }],
    },
    made: "published",
    type: "i2_s",
    bytes: tiny.length,
    modified: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
  });
});

describe("a file of unknown origin", () => {
  test("that the repository publishes is taken, after its contents were compared", async () => {
    putUnknown(tiny);
    const result = await setup("me/tiny");
    expect(result).toMatchObject({ origin: "existing", path: fileOf("tiny"), commit: fake.commitOf("me/tiny") });
    fake.seen.length = 0;
    expect(await setup("me/tiny")).toMatchObject({ origin: "existing" });
    expect(fake.seen).toEqual([]);
  });

  test("that it does not publish stays as it is, and the model gets another folder", async () => {
    const path = putUnknown(other);
    const { notes, ...result } = await setup("me/tiny");
    expect(result).toMatchObject({ origin: "published", path: fileOf("me--tiny") });
    expect(notes.join("\n")).toMatch(
      /tiny\/ggml-model-i2_s\.gguf is of unknown origin, and not what me\/tiny publishes/,
    );
    expect(readFileSync(path).equals(other)).toBe(true);
  });

  test("is used with a note where the hub is out of reach", async () => {
    putUnknown(other);
    await fake.stop();
    for (const offline of [true, false]) {
      const { notes, ...result } = await setup("me/tiny", {}, offline);
      expect(result).toMatchObject({ origin: "existing", path: fileOf("tiny") });
      expect(result.source).toBeUndefined();
      expect(notes.join("\n")).toMatch(/is of unknown origin: the hub cannot be asked whether it is me\/tiny/);
    }
    fake = await FakeHub.start();
  });

  test("is what the cache has of the repository, if it is a second name of that", async () => {
    await setup("me/tiny");
    rmSync(`${fileOf("tiny")}.json`); // as earlier versions left it
    fake.seen.length = 0;
    expect(await setup("me/tiny")).toMatchObject({ origin: "existing", path: fileOf("tiny") });
    expect(fake.seen).toEqual([]);
    expect(await setup("you/tiny")).toMatchObject({ path: fileOf("you--tiny") });
  });

  test.each([
    ["", "\n"],
    [", also on Windows", "\r\n"],
  ])(
    "that hf download fetched is known by what that program noted%s, as long as it was not changed",
    async (_, end) => {
      const path = putUnknown(other);
      const note = join(models(), "tiny", ".cache", "huggingface", "download", "ggml-model-i2_s.gguf.metadata");
      mkdirSync(dirname(note), { recursive: true });
      const time = 1_700_000_000;
      // The hash is that of the published file, so that only the note can make the two the same.
      writeFileSync(note, `${fake.commitOf("me/tiny")}${end}${sha256(tiny)}${end}${time}.5${end}`);
      utimesSync(path, time, time);
      expect(await setup("me/tiny")).toMatchObject({ origin: "existing", path });
      rmSync(`${path}.json`);
      utimesSync(path, time, time + 60);
      expect(await setup("me/tiny")).toMatchObject({ path: fileOf("me--tiny") });
    },
  );

  test("is one that was put in the place of a file with a note", async () => {
    await setup("me/tiny");
    rmSync(fileOf("tiny"));
    writeFileSync(fileOf("tiny"), other);
    utimesSync(fileOf("tiny"), 1, 1);
    expect(await setup("me/tiny")).toMatchObject({ path: fileOf("me--tiny") });
  });
});

test.each([
  ["half", (note: string) => note.slice(0, note.length / 2)],
  ["empty", () => ""],
  ["an array", () => "[]"],
  ["of other kinds", (note: string) => note.replace('"me/tiny"', "7")],
  ["with a name that is none", (note: string) => note.replace('"me/tiny"', '"../../etc"')],
  ["without files", (note: string) => note.replace(/"files": \[[^\]]*\]/, '"files": null')],
  ["of a later version", (note: string) => note.replace('"version": 1', '"version": 2')],
  ["huge", (note: string) => `${note}${" ".repeat(2 ** 20)}`],
])("a note that is %s is as good as none", async (_, damage) => {
  await setup("me/tiny");
  copyFileSync(fileOf("tiny"), `${fileOf("tiny")}.copy`); // no second name of the cached file
  rmSync(fileOf("tiny"));
  copyFileSync(`${fileOf("tiny")}.copy`, fileOf("tiny"));
  const note = `${fileOf("tiny")}.json`;
  writeFileSync(note, damage(readFileSync(note, "utf8")));
  expect(await setup("me/tiny")).toMatchObject({ origin: "existing", commit: fake.commitOf("me/tiny") });
  expect(JSON.parse(readFileSync(note, "utf8"))).toMatchObject({ version: 1, repository: "me/tiny" });
});

test("two that set up the same model take turns: the second finds it done", async () => {
  const both = await Promise.all([setup("me/tiny"), setup("me/tiny")]);
  expect(both.map(({ origin }) => origin).sort()).toEqual(["existing", "published"]);
  const waited = both.find(({ origin }) => origin === "existing");
  expect(waited?.notes.join("\n")).toMatch(/tiny: another process is setting it up; waiting/);
  expect(readdirSync(models())).toEqual(["tiny"]);
});

test("two of one name and different owners take turns, too", async () => {
  await Promise.all([setup("me/tiny"), setup("you/tiny")]);
  const [mine, yours] = [await setup("me/tiny"), await setup("you/tiny")];
  expect(readFileSync(mine.path).equals(tiny)).toBe(true);
  expect(readFileSync(yours.path).equals(other)).toBe(true);
});

test("a certain file of a repository is taken as it is, and nothing but a GGUF file", async () => {
  fake.repositories.set("me/many", { files: { "a/x-Q8.GGUF": tiny, "b/x-Q8.GGUF": other, "notes.txt": "hello" } });
  const first = await setup("me/many", { file: "a/x-Q8.GGUF" });
  expect(first).toMatchObject({ origin: "published", type: "i2_s", path: join(models(), "many", "a--x-Q8.GGUF") });
  expect(await setup("me/many", { file: "b/x-Q8.GGUF" })).toMatchObject({
    origin: "published",
    path: join(models(), "many", "b--x-Q8.GGUF"),
  });
  expect(await setup("me/many", { file: "a/x-Q8.GGUF" })).toMatchObject({ origin: "existing", path: first.path });
  await expect(setup("me/many", { file: "notes.txt" })).rejects.toMatchObject({ code: "USAGE" });
  await expect(setup("me/many", { file: "c.gguf" })).rejects.toMatchObject({
    code: "NOT_FOUND",
    hint: "its GGUF files: a/x-Q8.GGUF, b/x-Q8.GGUF",
  });
});

describe("before the download", () => {
  test("a first match that is no GGUF file gives way to the next", async () => {
    const files = { "a-i2_s.gguf": "no model".repeat(1000), "good-ggml-i2_s.gguf": tiny };
    fake.repositories.set("me/two", { files });
    const { notes, ...result } = await setup("me/two");
    expect(result).toMatchObject({ origin: "published" });
    expect(notes.join("\n")).toMatch(/not using me\/two\/a-i2_s\.gguf: /);
  });

  test("what is to be run and cannot be is refused", async () => {
    const use = "run" as const;
    await expect(setup("microsoft/bitnet-embedding-0.6b", { use })).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("makes embeddings"),
    });
    expect(fake.seen).toEqual([]);
  });

  const config = (sizes: object) => ({
    architectures: ["BitNetForCausalLM"],
    model_type: "bitnet",
    hidden_act: "relu2",
    num_attention_heads: 16,
    num_hidden_layers: 2,
    vocab_size: 1000,
    ...sizes,
  });

  test.each([
    [
      "a type that its shapes do not take",
      config({ hidden_size: 192, intermediate_size: 512 }),
      { type: "tq2_0" },
      { code: "UNSUPPORTED", message: expect.stringMatching(/blk\.0\..*TQ2_0/i) },
    ],
    [
      "a disk that has no room for what it becomes",
      config({ hidden_size: 2 ** 17, intermediate_size: 2 ** 19, num_hidden_layers: 200 }),
      {},
      {
        code: "NO_SPACE",
        message: expect.stringMatching(/no room for .*models.big.ggml-model-i2_s\.gguf: it takes \d+ MB/),
      },
    ],
  ])("%s is refused, and nothing is left", async (_, json, options, error) => {
    fake.repositories.set("me/big", { files: { "config.json": JSON.stringify(json), "model.safetensors": "weights" } });
    await expect(setup("me/big", options)).rejects.toMatchObject(error);
    expect(fake.seen.some(({ path }) => path.endsWith("model.safetensors"))).toBe(false);
    expect(existsSync(models())).toBe(false);
  });

  test("what is in the cache is not said to be downloaded", async () => {
    const plans: number[] = [];
    const onPlan = ({ missingBytes }: { missingBytes: number }) => plans.push(missingBytes);
    const first = await setup("me/tiny", { onPlan });
    rmSync(models(), { recursive: true });
    const second = await setup("me/tiny", { onPlan });
    expect(first.notes).toContain("downloading me/tiny/ggml-model-i2_s.gguf");
    expect(second.notes).toContain("me/tiny/ggml-model-i2_s.gguf is in the cache");
    expect(plans).toEqual([tiny.length, 0]);
  });
});
