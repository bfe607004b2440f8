import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { builtinFormat } from "../../src/chat/format.js";
import { openTokenizer } from "../../src/engine/tokenizer.js";
import { BitnetError } from "../../src/system/errors.js";
import { Batches } from "../../src/train/data/batches.js";
import { ignoredLabel } from "../../src/train/data/render.js";
import { ShardWriter } from "../../src/train/data/shard-writer.js";
import { openShards, type ShardVocabulary } from "../../src/train/data/shards.js";
import { tokenizeToShards } from "../../src/train/data/tokenize.js";
import { tinyModel } from "../support/fixtures.js";
import { createRandom } from "../support/random.js";

const tokenizer = openTokenizer(tinyModel);
const format = builtinFormat("bitnet", tokenizer);
const folder = mkdtempSync(join(tmpdir(), "bitnet-train-shards-"));
afterAll(() => rmSync(folder, { recursive: true }));

const vocabulary = (vocabSize: number, bos = -1, eos = -1): ShardVocabulary => ({ vocabSize, bos, eos });

/** A shard as another program writes it, with nothing beside it. */
function foreign(
  name: string,
  ids: number[],
  { bytes = 2, magic = 20240520, version = 1, tokens = ids.length } = {},
): string {
  const header = new Uint32Array(256);
  header.set([magic, version, tokens]);
  const body = bytes === 2 ? Uint16Array.from(ids) : Uint32Array.from(ids);
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat([Buffer.from(header.buffer), Buffer.from(body.buffer)]));
  return path;
}

async function write(name: string, documents: number[][], vocabSize = 100, shardTokens?: number): Promise<string[]> {
  const writer = new ShardWriter({ folder, name, vocabSize, shardTokens });
  for (const ids of documents) {
    await writer.add(Int32Array.from(ids));
  }
  return writer.finish();
}

async function read(paths: string[], words: ShardVocabulary): Promise<number[][]> {
  const shards = await openShards(paths, words);
  try {
    return Array.from({ length: shards.count }, (_, i) => [...shards.read(i).ids]);
  } finally {
    shards.close();
  }
}

describe("shards", () => {
  it("have llm.c's header and width, and give back the documents that were written", async () => {
    const documents = [[1, 2, 3], [4], [5, 99]];
    const [path = ""] = await write("narrow", documents);
    const bytes = readFileSync(path);
    const header = new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 1024));
    expect([...header.slice(0, 4), header[255]]).toEqual([20240520, 1, 6, 0, 0]);
    expect([...new Uint16Array(bytes.buffer.slice(bytes.byteOffset + 1024, bytes.byteOffset + bytes.length))]).toEqual(
      documents.flat(),
    );
    expect(await read([path], vocabulary(100))).toEqual(documents);
    const [wide = ""] = await write("wide", [[1, 70000]], 70001);
    expect(readFileSync(wide).readUInt32LE(0)).toBe(20240801);
    expect(readFileSync(wide).readUInt32LE(4)).toBe(7);
    expect(await read([wide], vocabulary(70001))).toEqual([[1, 70000]]);
  });

  it("are several files if there are many tokens, and older ones beyond them go", async () => {
    const documents = Array.from({ length: 10 }, (_, i) => [i, i + 1, i + 2]);
    const paths = await write("many", documents, 100, 6);
    expect(paths.map((path) => path.slice(-10))).toEqual([
      "-00000.bin",
      "-00001.bin",
      "-00002.bin",
      "-00003.bin",
      "-00004.bin",
    ]);
    expect(await read(paths, vocabulary(100))).toEqual(documents);
    expect(await write("many", documents, 100)).toHaveLength(1);
    expect(readdirSync(folder).filter((name) => name.startsWith("many-"))).toEqual([
      "many-00000.bin",
      "many-00000.idx",
      "many-00000.json",
    ]);
  });

  it("learn every token but the first of a document", async () => {
    const shards = await openShards(await write("labels", [[1, 2, 3]]), vocabulary(100));
    expect([...shards.read(0).labels]).toEqual([ignoredLabel, 2, 3]);
    expect([...shards.read(0, 1, 3).ids]).toEqual([2, 3]);
    expect(shards.originOf(0)).toMatchObject({ number: 1, unit: "document" });
    shards.close();
  });

  it.each([
    ["at BOS", [7, 1, 2, 7, 3, 7], vocabulary(10, 7, 9), [[7, 1, 2], [7, 3], [7]]],
    ["behind EOS", [1, 2, 9, 3, 9, 4], vocabulary(10, -1, 9), [[1, 2, 9], [3, 9], [4]]],
    [
      "once, where EOS and BOS meet",
      [7, 1, 9, 7, 2, 9],
      vocabulary(10, 7, 9),
      [
        [7, 1, 9],
        [7, 2, 9],
      ],
    ],
    [
      "at the token that is both",
      [9, 1, 2, 9, 3],
      vocabulary(10, 9, 9),
      [
        [9, 1, 2],
        [9, 3],
      ],
    ],
    ["nowhere, if there is neither", [1, 2, 3], vocabulary(10), [[1, 2, 3]]],
  ])("of other programs are divided %s", async (name, ids, words, expected) => {
    expect(await read([foreign(`${name.replace(/\W/g, "")}.bin`, ids)], words)).toEqual(expected);
    const wide = foreign("wide-foreign.bin", ids, { bytes: 4, magic: 20240801, version: 7 });
    expect(await read([wide], words)).toEqual(expected);
  });

  it("are read in windows where a document is longer than a row", async () => {
    const ids = Array.from({ length: 50 }, (_, i) => i);
    const shards = await openShards(await write("windows", [ids]), vocabulary(100));
    const options = { length: 16, packing: true, seed: 1, rowsPerStep: 100 };
    const rows = new Batches(shards, [{ documents: [0], weight: 1 }], options).rowsOf(0);
    const learned = rows.flatMap(({ labels }) => [...labels].filter((label) => label !== ignoredLabel));
    expect(learned.sort((a, b) => a - b)).toEqual(ids.slice(1));
    shards.close();
  });

  it.each([
    ["short.bin", () => writeTo("short.bin", Buffer.alloc(100)), "100 bytes, shorter than the header of a shard"],
    ["magic.bin", () => foreign("magic.bin", [1], { magic: 5 }), "no shard: it begins with 5"],
    ["version.bin", () => foreign("version.bin", [1], { version: 2 }), "version 2 of shards; 1 is read"],
    ["cut.bin", () => foreign("cut.bin", [1, 2], { tokens: 3 }), "3 tokens make 1030 bytes, but it has 1028"],
    ["long.bin", () => foreign("long.bin", [1, 2], { tokens: 1 }), "1 tokens make 1026 bytes, but it has 1028"],
    ["empty.bin", () => foreign("empty.bin", []), "0 tokens make 1024 bytes"],
    ["huge.bin", () => foreign("huge.bin", [1], { tokens: 2 ** 32 - 1 }), "4294967295 tokens make"],
    ["id.bin", () => foreign("id.bin", [1, 10, 3]), "token 1 is 10, but the vocabulary has 10 entries"],
  ])("that are wrong are refused: %s", async (_, make, message) => {
    await expect(openShards([make()], vocabulary(10))).rejects.toThrow(message);
  });

  it.each([
    [[0, 2, 2, 3]],
    [[0, 4]],
    [[1, 3]],
    [[3, 0]],
    [[]],
    [[0]],
    [[0, 2 ** 32 - 1, 3]],
    [Array.from({ length: 100 }, (_, i) => i)],
  ])("with a wrong index are refused: %j", async (offsets) => {
    const path = foreign("indexed.bin", [1, 2, 3]);
    writeTo("indexed.idx", Buffer.from(Uint32Array.from(offsets).buffer));
    await expect(openShards([path], vocabulary(10))).rejects.toThrow("expected where documents begin in 3 tokens");
  });

  it("that have changed since they were written are refused", async () => {
    const [path = ""] = await write("changed", [[1, 2, 3]]);
    const bytes = readFileSync(path);
    bytes[1024] = 9;
    writeFileSync(path, bytes);
    await expect(openShards([path], vocabulary(100))).rejects.toThrow("it is not what");
  });

  it("of any bytes are opened or refused with an error that says why", async () => {
    const next = createRandom(11);
    const [path = ""] = await write("fuzzed", [[1, 2, 3], [4, 5], [6]]);
    const files = [path, path.replace(/bin$/, "idx"), path.replace(/bin$/, "json")];
    const whole = files.map((file) => readFileSync(file));
    for (let round = 0; round < 300; round++) {
      for (const [i, file] of files.entries()) {
        const bytes = Buffer.from(whole[i] ?? []);
        for (let flips = Math.floor(next() * 3); flips > 0; flips--) {
          bytes[Math.floor(next() ** 3 * bytes.length)] = Math.floor(next() * 256);
        }
        writeFileSync(file, next() < 0.1 ? bytes.subarray(0, Math.floor(next() * bytes.length)) : bytes);
      }
      const error = await read([path], vocabulary(100)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error !== undefined) {
        expect(error).toBeInstanceOf(BitnetError);
        expect((error as BitnetError).code).not.toBe("INTERNAL");
      }
    }
  });
});

describe("texts to shards", () => {
  const rows = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({ text: `story ${from + i}` }));

  it("have a file for each source, and a split that the contents decide", async () => {
    const out = join(folder, "out");
    const sources = [
      { name: "a", rows: rows(0, 200) },
      { name: "b", rows: [...rows(150, 100), { input: "hi", output: "Hello!" }], weight: 0.5 },
    ];
    const data = await tokenizeToShards(out, sources, { tokenizer, format }, { evalSplit: 0.1, seed: 3 });
    expect(data.training.map(({ weight }) => weight)).toEqual([1, 0.5]);
    expect(data.documents).toBe(301);
    const words = vocabulary(tokenizer.info.vocabSize, tokenizer.info.bos, tokenizer.info.eos);
    const trained = (
      await read(
        data.training.flatMap(({ paths }) => paths),
        words,
      )
    ).map((ids) => tokenizer.decode(ids));
    const evaluating = (await read(data.evaluation, words)).map((ids) => tokenizer.decode(ids));
    expect(trained.length + evaluating.length).toBe(301);
    expect(evaluating.length).toBeGreaterThan(10);
    expect(evaluating.filter((text) => trained.includes(text))).toEqual([]);
    expect(trained).toContain("User: hiAssistant: Hello!");
    const shards = await openShards(
      data.training.flatMap(({ paths }) => paths),
      words,
    );
    const [first, second] = data.training.map(({ paths }) => shards.documentsOf(paths));
    expect([first?.[0], second?.[0]]).toEqual([0, first?.length]);
    shards.close();
    const about = JSON.parse(readFileSync(join(out, "train1-00000.json"), "utf8"));
    expect(about).toMatchObject({ documents: first?.length, vocabSize: 2048, sources: [{ rows: "a" }, { rows: "b" }] });
  });

  it("leave nothing half-written behind when something is wrong", async () => {
    const out = join(folder, "broken");
    const sources = [{ name: "a", rows: [...rows(0, 3), { text: 1 }] }];
    await expect(tokenizeToShards(out, sources, { tokenizer, format })).rejects.toThrow(
      "a, row 4: text: expected a text",
    );
    expect(existsSync(out) ? readdirSync(out) : []).toEqual([]);
  });
});

function writeTo(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}
