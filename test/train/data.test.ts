import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Chalk } from "chalk";
import { afterAll, describe, expect, it } from "vitest";
import { modelFormat } from "../../src/chat/format.js";
import { displayWidth } from "../../src/cli/terminal/width.js";
import { formatDataReport } from "../../src/cli/training-data-report.js";
import { openTokenizer } from "../../src/engine/tokenizer.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { Batches } from "../../src/train/data/batches.js";
import { type LoadDataOptions, loadTrainingData } from "../../src/train/data/load.js";
import { ignoredLabel } from "../../src/train/data/render.js";
import { describeData } from "../../src/train/data/report.js";
import { root, tinyModel } from "../support/fixtures.js";
import { mutateBytes, mutateJson } from "../support/mutate.js";
import { createRandom } from "../support/random.js";

const tokenizer = openTokenizer(tinyModel);
const format = modelFormat(String(openGguf(tinyModel).metadata()["tokenizer.chat_template"]), tokenizer);
const rendering = { tokenizer, format, trainOn: "assistant" as const };
const samples = join(root, "test", "fixtures", "train", "data", "samples.jsonl");

const folder = mkdtempSync(join(tmpdir(), "bitnet-train-data-"));
afterAll(() => rmSync(folder, { recursive: true }));

function load(rows: object[], options: Partial<LoadDataOptions> = {}, weight = 1) {
  return loadTrainingData([{ name: "rows", rows, weight }], rendering, { maxLength: 48, ...options });
}

const numbered = (count: number) => Array.from({ length: count }, (_, i) => ({ text: `number ${i}` }));

const batchesOf = (data: Awaited<ReturnType<typeof load>>, options = {}) =>
  new Batches(data.documents, data.training, { length: 48, packing: true, seed: 1, rowsPerStep: 4, ...options });

describe("training data", () => {
  it("is cut at the end to the longest length, and what has nothing left to learn is left out and counted", async () => {
    const long = "word ".repeat(60);
    const { documents, sources } = await load([
      { input: "hi", output: long },
      { input: long, output: "lost" },
      { input: "hi", output: "Hello!" },
    ]);
    expect(documents.count).toBe(2);
    expect(documents.lengthOf(0)).toBe(48);
    expect(sources[0]).toMatchObject({ examples: 3, documents: 2, cut: 2, emptied: 1 });
    await expect(load([{ input: long, output: "lost" }])).rejects.toThrow("the answer lies behind the longest length");
  });

  it("goes on with a long plain text in windows, where each token is learned once", async () => {
    const text = Array.from({ length: 100 }, (_, i) => `w${i}`).join(" ");
    const { documents, sources } = await load([{ text }]);
    const { ids } = (await load([{ text }], { maxLength: 1000 })).documents.read(0);
    const learned = Array.from({ length: documents.count }, (_, i) => [...documents.read(i).labels])
      .flat()
      .filter((label) => label !== ignoredLabel);
    expect(documents.count).toBeGreaterThan(3);
    expect(learned).toEqual([...ids.slice(1)]);
    expect(sources[0]?.cut).toBe(0);
    expect((await load([{ text }], { longTexts: "cut" })).sources[0]).toMatchObject({ documents: 1, cut: 1 });
  });

  it("keeps the place of each document", async () => {
    const { documents } = await loadTrainingData([{ name: samples }, { name: "rows", rows: numbered(2) }], rendering, {
      maxLength: 48,
    });
    expect(documents.originOf(9)).toEqual({ file: samples, number: 10, unit: "line" });
    expect(documents.originOf(11)).toEqual({ file: "rows", number: 2, unit: "row" });
  });

  it("is split for evaluation by the seed and the contents: equal examples stay together", async () => {
    const rows = [...numbered(40), ...numbered(40)];
    const split = (seed: number) => load(rows, { evalSplit: 0.1, seed });
    const { evaluation, training, duplicates, documents } = await split(1);
    const text = (i: number) => tokenizer.decode(documents.read(i).ids);
    expect(evaluation).toHaveLength(8);
    expect(training[0]?.documents).toHaveLength(72);
    const trained = new Set(Array.from(training[0]?.documents ?? [], text));
    expect(evaluation.filter((i) => trained.has(text(i)))).toEqual([]);
    expect(duplicates).toBe(0);
    expect((await split(1)).evaluation).toEqual(evaluation);
    expect((await split(2)).evaluation).not.toEqual(evaluation);
  });

  it("leaves at least one example on either side of a split", async () => {
    const { evaluation, training } = await load(numbered(3), { evalSplit: 0.05 });
    expect([evaluation.length, training[0]?.documents.length]).toEqual([1, 2]);
    await expect(load([{ text: "a" }, { text: "a" }], { evalSplit: 0.5 })).rejects.toThrow("two different examples");
  });

  it("tells examples that evaluate and are trained, too", async () => {
    const evalData = [{ name: "eval", rows: [...numbered(2), { text: "another" }] }];
    const { evaluation, duplicates, training } = await load(numbered(5), { evalData });
    expect(evaluation).toHaveLength(3);
    expect(duplicates).toBe(2);
    expect(training[0]?.documents).toHaveLength(5);
  });

  it.each([
    [{ evalSplit: 0.1, evalData: [] }, "evaluation data and a split of the training data exclude each other"],
    [{ evalSplit: 1 }, "evalSplit: expected a share above 0 and below 1, got 1"],
    [{ maxLength: 1 }, "maxLength: expected an integer from 2 to 1048576, got 1"],
    [{ maxSamples: 0 }, "maxSamples: expected a positive integer, got 0"],
  ])("refuses options that mean nothing: %j", async (options, message) => {
    await expect(load(numbered(2), options)).rejects.toThrow(message);
  });

  it("names a source that gives nothing", async () => {
    await expect(load([])).rejects.toThrow("rows: no examples");
    await expect(load([{ x: 1 }], { skipBad: true })).rejects.toThrow("rows: all 1 examples are wrong; the first one:");
  });
});

describe("the rows of an epoch", () => {
  it("have every document once, another order in each epoch, and the same in each run", async () => {
    const data = await load(numbered(300));
    const seen = (epoch: number) => {
      const plan = batchesOf(data).planOf(epoch);
      return Array.from({ length: plan.rowCount }, (_, row) => plan.row(row).sources).flat();
    };
    expect([...seen(0)].sort((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, i) => i));
    expect(seen(0)).toEqual(seen(0));
    expect(seen(1)).not.toEqual(seen(0));
    expect([...seen(1)].sort((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, i) => i));
  });

  it("are a function of the step, so that a run goes on where it stopped", async () => {
    const data = await load(numbered(100));
    const whole = batchesOf(data);
    const steps = whole.countSteps(3);
    const all = Array.from({ length: steps }, (_, step) => whole.rowsOf(step));
    for (const step of [steps - 1, 3, 0, whole.stepsOf(0), 5]) {
      expect(batchesOf(data).rowsOf(step)).toEqual(all[step]);
    }
    expect(all.flat().flatMap(({ sources }) => sources)).toHaveLength(300);
    expect(whole.countSteps(1.5)).toBe(whole.stepsOf(0) + Math.ceil(whole.stepsOf(1) / 2));
  });

  it("hold documents side by side, none above the length, with labels that begin anew at each", async () => {
    const batches = batchesOf(await load(numbered(100)));
    for (const { ids, labels, documents } of batches.rowsOf(0)) {
      expect(ids.length).toBeLessThanOrEqual(48);
      expect(ids.length).toBeGreaterThan(36);
      expect(documents[0]).toBe(0);
      for (const start of documents) {
        expect([ids[start], labels[start]]).toEqual([tokenizer.info.bos, ignoredLabel]);
      }
    }
    const single = batchesOf(await load(numbered(100)), { packing: false });
    expect(single.planOf(0).rowCount).toBe(100);
    expect(single.rowsOf(0)[0]?.documents).toHaveLength(1);
  });

  it("draw from files by their weights, in turn over the epochs", async () => {
    const data = await load(numbered(10), {}, 0.3);
    const seen = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((epoch) => {
      const plan = batchesOf(data).planOf(epoch);
      return Array.from({ length: plan.rowCount }, (_, row) => plan.row(row).sources).flat();
    });
    expect(seen).toHaveLength(30);
    const counts = Array.from({ length: 10 }, (_, i) => seen.filter((document) => document === i).length);
    expect(counts).toEqual(Array(10).fill(3));
    const twice = batchesOf(await load(numbered(10), {}, 2)).planOf(0);
    expect(twice.tokenCount).toBe(2 * batchesOf(await load(numbered(10))).planOf(0).tokenCount);
  });

  it("join a share of the documents to one, as long as a row", async () => {
    const data = await load(numbered(400));
    const rows = (joinShare: number) => {
      const plan = batchesOf(data, { joinShare, packing: false }).planOf(0);
      return Array.from({ length: plan.rowCount }, (_, row) => plan.row(row));
    };
    const joined = rows(0.1).filter(({ sources }) => sources.length > 1);
    expect(joined.length).toBeGreaterThan(5);
    for (const { ids, labels, documents } of joined.slice(0, -1)) {
      expect([ids.length, documents.length]).toEqual([48, 1]);
      expect([...labels.slice(1)]).toEqual([...ids.slice(1)]);
    }
    expect(rows(0).filter(({ sources }) => sources.length > 1)).toEqual([]);
  });

  it("are an error if weights leave no document", async () => {
    const data = await load(numbered(1), {}, 0.1);
    expect(() => batchesOf(data)).toThrow("no documents to train on");
  });
});

describe("the report about data", () => {
  async function report() {
    const path = join(folder, "mixed.jsonl");
    writeFileSync(path, `${readFileSync(samples, "utf8")}{"text":3}\n{"input":"q","output":"${"word ".repeat(80)}"}\n`);
    const sources = [{ name: path }, { name: "more", rows: numbered(5), weight: 0.4 }];
    const evalData = [{ name: "eval", rows: numbered(1) }];
    const data = await loadTrainingData(sources, rendering, { maxLength: 48, skipBad: true, evalData, maxSamples: 11 });
    return describeData(data, batchesOf(data), tokenizer, { rowLength: 48 });
  }

  it("has the numbers of the data", async () => {
    const { documents, tokens, lengths, epoch, previews, padding, duplicates, fill } = await report();
    expect(documents).toBe(16);
    expect(lengths).toMatchObject({ least: 6, most: 48 });
    expect(lengths.half).toBeLessThanOrEqual(lengths.ninety);
    expect(tokens).toBeGreaterThan(epoch.tokens);
    expect(fill).toBeCloseTo(epoch.tokens / (epoch.rows * 48), 12);
    expect([padding, duplicates, previews.length]).toEqual([0, 1, 3]);
  });

  it("shows what is learned in colour, or between marks", async () => {
    const text = formatDataReport(await report(), { colors: new Chalk({ level: 0 }) });
    expect(text).toContain(
      "\n  <|begin_of_text|>User: what does a cow say<|eot_id|>Assistant: «The cow says moo.<|eot_id|>»\n",
    );
    expect(text).toContain("mixed.jsonl: 1 document cut at the end; a larger --max-seq-length keeps more");
    expect(text).toContain("mixed.jsonl: 1 example skipped; the first one: ");
    expect(text).toContain("1 example of the evaluation are trained, too");
    const coloured = formatDataReport(await report(), { colors: new Chalk({ level: 1 }) });
    expect(coloured).toContain("\u001b[32mThe cow says moo.<|eot_id|>\u001b[39m");
    expect(coloured).not.toContain("«");
  });

  it.each([60, 80, 120])("fits %i columns", async (width) => {
    const text = formatDataReport(await report(), { width, colors: new Chalk({ level: 0 }) });
    expect(text.split("\n").filter((line) => displayWidth(line) > width)).toEqual([]);
  });
});

describe("training data of strangers", () => {
  const forms = readFileSync(samples, "utf8")
    .trim()
    .split("\n")
    .map((line): unknown => JSON.parse(line));
  const whole = openTokenizer(tinyModel).info.vocabSize;

  it("in any form, with anything in any place, is trained or refused with the file's name", async () => {
    const random = createRandom(29);
    const outcomes = { trained: 0, refused: 0 };
    for (let round = 0; round < 250; round++) {
      const rows = forms.map((form) => (random() < 0.2 ? mutateJson(form, random) : form));
      const text = round % 2 === 0 ? JSON.stringify(rows) : rows.map((row) => JSON.stringify(row)).join("\n");
      const bytes = round % 3 === 0 ? mutateBytes(Buffer.from(text), random) : Buffer.from(text);
      const isPacked = round % 5 === 0;
      const name = join(folder, isPacked ? "strange.json.gz" : round % 7 === 0 ? "strange.txt" : "strange.jsonl");
      const packed = isPacked ? gzipSync(bytes) : bytes;
      writeFileSync(name, isPacked && round % 10 === 0 ? mutateBytes(packed, random) : packed);
      const trainOn = (["assistant", "last", "all"] as const)[round % 3] ?? "all";
      const options = { maxLength: 48, skipBad: round % 4 !== 0 };
      try {
        const { documents } = await loadTrainingData([{ name }], { ...rendering, trainOn }, options);
        for (let i = 0; i < documents.count; i++) {
          const { ids, labels } = documents.read(i);
          expect(ids.length).toBeLessThanOrEqual(48);
          expect(ids.every((id) => id >= 0 && id < whole)).toBe(true);
          expect(labels.every((label, t) => label === ignoredLabel || label === ids[t])).toBe(true);
        }
        outcomes.trained++;
      } catch (error) {
        expect(error).toMatchObject({ name: "BitnetError", code: "BAD_FILE", message: expect.stringContaining(name) });
        outcomes.refused++;
      }
    }
    expect(Math.min(outcomes.trained, outcomes.refused)).toBeGreaterThan(25); // both ways are gone
  });

  it.each([
    ["a line", '{"text":"', "line 1: longer than 16 MiB"],
    ["an item of a list", '[{"text":"', "item 1: longer than 16 MiB"],
  ])("is never held whole, where %s unpacks to 256 MiB", async (_, begin, message) => {
    const name = join(folder, "bomb.json.gz");
    const mega = gzipSync(Buffer.alloc(2 ** 20, "a"));
    writeFileSync(name, Buffer.concat([gzipSync(begin), ...Array.from({ length: 256 }, () => mega), gzipSync('"}]')]));
    let most = 0;
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage().arrayBuffers);
    }, 1);
    const error = await loadTrainingData([{ name }], rendering, { maxLength: 48 }).catch((thrown: unknown) => thrown);
    clearInterval(timer);
    expect(error).toMatchObject({ code: "BAD_FILE", message: expect.stringContaining(message) });
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(128 * 2 ** 20);
  });
});
