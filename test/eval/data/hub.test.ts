// Data sets of a hub on the loopback interface: which files are a split, what is asked for, what the cache is good for.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isSplitCached, type LoadSplitOptions, loadSplit } from "../../../src/eval/data/load.js";
import { scanCache } from "../../../src/hub/cache.js";
import type { DatasetSource } from "../../../src/hub/dataset.js";
import type { DownloadProgress } from "../../../src/hub/download.js";
import type { Hub } from "../../../src/hub/http.js";
import { FakeHub, type FakeHubOptions, openFakeHub } from "../../support/fake-hub.js";
import { root } from "../../support/fixtures.js";

const parquet = readFileSync(join(root, "test", "fixtures", "eval", "data", "many.parquet")); // 2500 rows
const arc = { id: "allenai/ai2_arc", config: "ARC-Challenge" };
const converted = "datasets/allenai/ai2_arc@refs/convert/parquet";

let fake: FakeHub;
let cacheDir: string;
let notes: string[];

beforeEach(async () => {
  fake = await FakeHub.start();
  cacheDir = mkdtempSync(join(tmpdir(), "bitnet-datasets-"));
  notes = [];
  fake.repositories.set("datasets/allenai/ai2_arc", { files: { "README.md": "# ARC" } });
  fake.repositories.set(converted, { files: { "ARC-Challenge/test/0000.parquet": parquet } });
});
afterEach(async () => {
  await fake.stop();
  rmSync(cacheDir, { recursive: true, force: true });
});

function hubWith(options: FakeHubOptions = {}): Promise<Hub> {
  return openFakeHub(fake, { cacheDir, notes }, { retry: { attempts: 3 }, ...options });
}

async function load(source: DatasetSource, split: string, options: LoadSplitOptions = {}) {
  return loadSplit(source, split, { hub: options.hub ?? (await hubWith()), ...options });
}

async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.unreachable("it succeeded"),
    (error) => error,
  );
}

const contentsAsked = () => fake.seen.filter(({ sent }) => sent > 0).map(({ path }) => path);

describe("a split of a data set", () => {
  test("comes from the hub's Parquet files into the cache, as Python's huggingface_hub would put it there", async () => {
    const progress: DownloadProgress[] = [];
    const { documents, revision, path } = await load(arc, "test", { onProgress: (p) => progress.push({ ...p }) });
    expect(documents).toHaveLength(2500);
    expect(documents[2]).toEqual({ i: 2, text: "row 2" });
    expect(revision).toBe(fake.commitOf(converted));
    const folder = join(cacheDir, "datasets--allenai--ai2_arc");
    expect(path).toBe(join(folder, "snapshots", fake.commitOf(converted), "ARC-Challenge", "test", "0000.parquet"));
    expect(readFileSync(path).equals(parquet)).toBe(true);
    expect(readFileSync(join(folder, "refs", "refs", "convert", "parquet"), "utf8")).toBe(revision);
    expect(progress.at(-1)?.allDoneBytes).toBe(parquet.length);
    expect(await scanCache(cacheDir)).toEqual([]); // of models
  });

  test("comes from the JSON lines of its makers where one file is surely the split", async () => {
    fake.repositories.set("datasets/allenai/ai2_arc", {
      files: {
        "ARC-Challenge/test.jsonl": '{"q": 1}\n{"q": 2}\n',
        "ARC-Easy/test.jsonl": '{"q": 3}\n',
        "data/ARC-Easy/dev.jsonl": '{"q": 4}\n',
      },
    });
    const { documents, revision } = await load(arc, "test");
    expect(documents).toEqual([{ q: 1 }, { q: 2 }]);
    expect(revision).toBe(fake.commitOf("datasets/allenai/ai2_arc"));
    expect((await load({ ...arc, config: "ARC-Easy" }, "validation")).documents).toEqual([{ q: 4 }]);
    expect(fake.seen.some(({ path }) => path.includes("refs/convert"))).toBe(false);
    fake.repositories.set("datasets/google/IFEval", { files: { "input_data.jsonl": '{"q": 5}\n' } });
    expect((await load({ id: "google/IFEval" }, "train")).documents).toEqual([{ q: 5 }]);
  });

  test("is not guessed from JSON lines that may be another one", async () => {
    fake.repositories.set("datasets/a/b", {
      files: { "test_de.jsonl": '{"q": 1}\n', "data/test.jsonl": '{"q": 2}\n', "test.jsonl": '{"q": 3}\n' },
    });
    fake.repositories.set("datasets/a/b@refs/convert/parquet", { files: { "default/test/0000.parquet": parquet } });
    expect((await load({ id: "a/b" }, "test")).documents).toHaveLength(2500);
  });

  test("may be in several files, of the only configuration, or of the makers alone", async () => {
    const names = ["plain/test/0000.parquet", "plain/test/0001.parquet", "plain/train/0000.parquet"];
    fake.repositories.set("datasets/a/b", { files: {} });
    fake.repositories.set("datasets/a/b@refs/convert/parquet", {
      files: Object.fromEntries(names.map((name) => [name, parquet])),
    });
    expect((await load({ id: "a/b" }, "test")).documents).toHaveLength(5000);
    fake.repositories.delete("datasets/a/b@refs/convert/parquet");
    fake.repositories.set("datasets/a/c", { files: { "data/test-00000-of-00001.parquet": parquet } });
    expect((await load({ id: "a/c" }, "test")).documents).toHaveLength(2500);
  });

  test("is asked for once, its listings too, whatever else of the data set is loaded", async () => {
    const hub = await hubWith();
    fake.repositories.set(converted, {
      files: { "ARC-Challenge/test/0000.parquet": parquet, "ARC-Easy/test/0000.parquet": parquet },
    });
    await load(arc, "test", { hub });
    await load({ ...arc, config: "ARC-Easy" }, "test", { hub });
    await load(arc, "test", { hub });
    expect(contentsAsked()).toHaveLength(1); // both have the same contents
    expect(fake.seen.filter(({ path }) => path.startsWith("/api/"))).toHaveLength(4); // two branches, each: commit, files
  });

  test("that has another number of documents than is known is told", async () => {
    await load(arc, "test", { expected: 1172 });
    expect(notes).toEqual(['allenai/ai2_arc: 2500 documents of "test", where 1172 are known']);
  });

  test("that is not there is refused, with those that are", async () => {
    expect(await failure(load(arc, "tset"))).toMatchObject({
      code: "NOT_FOUND",
      message: 'the hub has no files of the split "tset" of allenai/ai2_arc (ARC-Challenge) that can be read',
      hint: "its splits are test",
    });
    expect(await failure(load({ ...arc, config: "ARC" }, "test"))).toMatchObject({
      hint: "its configurations are ARC-Challenge",
    });
    expect(await failure(load({ id: "no/body" }, "test"))).toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("there is no repository datasets/no/body on"),
    });
  });

  test("of which the hub has only a part is refused", async () => {
    fake.repositories.set(converted, {
      files: { "ARC-Challenge/partial-train/0000.parquet": parquet, "ARC-Challenge/test/0001.parquet": parquet },
    });
    for (const split of ["train", "test"]) {
      expect(await failure(load(arc, split))).toMatchObject({ code: "NOT_FOUND" });
    }
  });

  test("that may not be read by everybody needs the token, and says so", async () => {
    const files = { "test.jsonl": '{"q": 1}\n' };
    fake.repositories.set("datasets/a/gated", { files, token: "hf_right", gated: true });
    expect(await failure(load({ id: "a/gated" }, "test"))).toMatchObject({
      code: "NETWORK",
      hint: expect.stringContaining(`accept it at ${fake.url}/datasets/a/gated, then set HF_TOKEN`),
    });
    const hub = await hubWith({ token: "hf_right" });
    expect((await load({ id: "a/gated" }, "test", { hub })).documents).toEqual([{ q: 1 }]);
  });

  test("is resumed where the connection was cut, and checked", async () => {
    fake.faults.push({ path: "0000.parquet", cutAt: 5000 });
    fake.faults.push({ path: "0000.parquet", ranged: true, flipAt: 6000 });
    expect((await load(arc, "test")).documents).toHaveLength(2500);
    expect(notes).toContainEqual(expect.stringMatching(/its checksum is wrong; downloading it again/));
  });
});

describe("without a network", () => {
  test("the cache is used, and says clearly what it does not have", async () => {
    const hub = await hubWith({ offline: true });
    expect(await failure(load(arc, "test", { hub }))).toMatchObject({
      code: "NOT_FOUND",
      message: 'the split "test" of allenai/ai2_arc (ARC-Challenge) is not in the cache, and HF_HUB_OFFLINE is set',
      hint: expect.stringContaining(`unset HF_HUB_OFFLINE to download it (cache: ${cacheDir})`),
    });
    expect(fake.seen).toEqual([]);
    expect(existsSync(join(cacheDir, "datasets--allenai--ai2_arc"))).toBe(false);

    const { revision } = await load(arc, "test");
    const before = fake.seen.length;
    expect(await load(arc, "test", { hub })).toMatchObject({ revision, documents: { length: 2500 } });
    expect(fake.seen).toHaveLength(before);
  });

  test("of a hub that does not answer, what was downloaded before is used, with a note", async () => {
    const { revision } = await load(arc, "test");
    fake.lastingFaults.push({ status: 503 });
    notes = [];
    expect(await load(arc, "test")).toMatchObject({ revision, documents: { length: 2500 } });
    expect(notes.join("\n")).toMatch(/using the files in the cache/);
    expect(await failure(load(arc, "train"))).toMatchObject({ code: "NETWORK" });
  });

  test("whether a split is in the cache is known without asking", async () => {
    expect(await isSplitCached({ cacheDir }, arc, "test")).toBe(false);
    await load(arc, "test");
    const before = fake.seen.length;
    expect(await isSplitCached({ cacheDir }, arc, "test")).toBe(true);
    expect(await isSplitCached({ cacheDir }, arc, "train")).toBe(false);
    expect(await isSplitCached({ cacheDir: undefined }, arc, "test")).toBe(false);
    expect(fake.seen).toHaveLength(before);
  });
});
