// Embeddings against those of llama.cpp and of a reference in double precision, whatever the kernel, the threads, the pooling
// and the neighbours.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  BitnetError,
  type EmbedOptions,
  type EmbedProgress,
  type LoadOptions,
  listKernels,
  loadModel,
  type Model,
} from "../../src/index.js";
import { relativeRms, root, tinyModel } from "../support/fixtures.js";

const folder = join(root, "test", "fixtures", "eval", "embed");

type Pooled = "mean" | "last" | "cls";
interface Golden {
  ids: (number[] | { count: number; first: number[]; last: number[] })[];
  pooled: Record<Pooled, number[][]>;
  one_token?: { ids: number[]; hidden: number[][] };
}
const texts: string[] = JSON.parse(readFileSync(join(folder, "texts.json"), "utf8"));
const golden: Record<string, Golden> = JSON.parse(readFileSync(join(folder, "embed.json"), "utf8")).models;

function goldenOf(name: string): Golden {
  const found = golden[name];
  if (found === undefined) {
    throw new Error(`no golden data of ${name}`);
  }
  return found;
}

const load = (name: string, options: LoadOptions = {}) => loadModel(join(folder, `${name}.gguf`), options);
const raw: EmbedOptions = { normalize: -1, parseSpecial: true };

const sum = (values: ArrayLike<number>, of: (value: number, i: number) => number) =>
  Array.from(values).reduce((total, value, i) => total + of(value, i), 0);

function angle(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return 1 - sum(a, (x, i) => x * (b[i] ?? 0)) / Math.sqrt(sum(a, (x) => x * x) * sum(b, (x) => x * x));
}

function usage(message: RegExp) {
  return expect.objectContaining({ name: "BitnetError", code: "USAGE", message: expect.stringMatching(message) });
}

function checkIds({ tokenizer }: Model, expected: Golden["ids"]): void {
  for (const [i, ids] of expected.entries()) {
    const actual = Array.from(tokenizer.encode(texts[i] ?? "", { parseSpecial: true }));
    if (Array.isArray(ids)) {
      expect(actual).toEqual(ids);
    } else {
      const { count, first, last } = ids;
      expect(actual).toHaveLength(count);
      expect([actual.slice(0, first.length), actual.slice(-last.length)]).toEqual([first, last]);
    }
  }
}

/** Token ids of any length that need no text. */
const idsOf = (length: number) => Array.from({ length }, (_, i) => (i * 37) % 300);

const kernels = listKernels()
  .filter(({ supported }) => supported)
  .map(({ name }) => name);

describe("embeddings of float models", () => {
  test.each([
    ["qwen3-float", 1e-4],
    ["gemma3-float", 1e-3],
  ])("%s: ids and vectors are llama.cpp's to %d", async (name, tolerance) => {
    const { ids, pooled } = goldenOf(name);
    for (const kernel of kernels) {
      await using model = await load(name, { kernel, threads: kernel === "scalar" ? 1 : 2 });
      checkIds(model, ids);
      for (const [pooling, expected] of Object.entries(pooled)) {
        const { vectors } = await model.embed(texts, { ...raw, pooling: pooling as Pooled });
        for (const [i, vector] of vectors.entries()) {
          expect(relativeRms(vector, expected[i] ?? []), `${kernel} ${pooling} ${i}`).toBeLessThan(tolerance);
        }
      }
    }
  });
});

describe("embeddings of ternary models with a norm before every projection", () => {
  test.each(["qwen3-bitnet", "gemma3-bitnet"])("%s agrees with the reference", async (name) => {
    const { ids, pooled, one_token: one } = goldenOf(name);
    for (const kernel of kernels) {
      await using model = await load(name, { kernel, threads: kernel === "scalar" ? 1 : 2 });
      checkIds(model, ids);
      const { vectors: hidden } = await model.embed(one?.ids.map((id) => [id]) ?? [], { ...raw, pooling: "none" });
      expect(hidden).toHaveLength(5);
      for (const [i, vector] of hidden.entries()) {
        expect(relativeRms(vector, one?.hidden[i] ?? []), `${kernel} token ${i}`).toBeLessThan(5e-4);
      }
      for (const [pooling, expected] of Object.entries(pooled)) {
        const { vectors } = await model.embed(texts, { ...raw, pooling: pooling as Pooled });
        for (const [i, vector] of vectors.entries()) {
          const bound = pooling === "mean" ? 2e-4 : 1e-3;
          expect(angle(vector, expected[i] ?? []), `${kernel} ${pooling} ${i}`).toBeLessThan(bound);
        }
      }
    }
  });
});

describe("embed", () => {
  const withModel = async (work: (model: Model) => Promise<void>, options: LoadOptions = {}) => {
    await using model = await load("qwen3-bitnet", options);
    await work(model);
  };

  test("says what was computed: the file's pooling, tokens with the one that ends a text, vectors of length 1", async () => {
    await withModel(async (model) => {
      const { ids, pooled } = goldenOf("qwen3-bitnet");
      expect(model.info).toMatchObject({ pooling: "mean", embedsOnly: true });
      const result = await model.embed(texts);
      expect(result).toMatchObject({ pooling: "mean", dimensions: 128 });
      expect(result.tokens).toEqual(ids.map((one) => (Array.isArray(one) ? one.length : one.count)));
      for (const [i, vector] of result.vectors.entries()) {
        expect(sum(vector, (x) => x * x)).toBeCloseTo(1, 5);
        expect(angle(vector, pooled.mean[i] ?? [])).toBeLessThan(2e-4);
      }
    });
  });

  test("a vector has the same bits alone, beside others, with other threads and in other steps", async () => {
    const all = [idsOf(1), idsOf(255), idsOf(256), idsOf(257), idsOf(410), idsOf(17), idsOf(3), idsOf(64)];
    for (const pooling of ["mean", "none"] as const) {
      let expected: Float32Array[] = [];
      await withModel(
        async (model) => {
          expected = (await model.embed(all, { pooling })).vectors;
          for (const [i, ids] of all.entries()) {
            expect((await model.embed([ids], { pooling })).vectors[0]).toEqual(expected[i]);
          }
        },
        { threads: 1 },
      );
      await withModel(
        async (model) => {
          expect((await model.embed(all, { pooling })).vectors).toEqual(expected);
        },
        { threads: 2, stepRows: 7 },
      );
    }
  });

  test("inputs are as long as the context; longer ones are refused with their place, or cut before their end", async () => {
    await withModel(async (model) => {
      const context = model.info.contextLength;
      expect((await model.embed([idsOf(context)])).tokens).toEqual([context]);
      await expect(model.embed([idsOf(3), idsOf(context + 1)])).rejects.toEqual(
        usage(/^inputs\[1\] has 1025 tokens, more than the context of 1024$/),
      );
      const end = model.tokenizer.info.eos;
      const long = [...idsOf(context + 5), end];
      const { vectors, tokens } = await model.embed([long], { truncate: true });
      expect(tokens).toEqual([context]);
      expect(vectors).toEqual((await model.embed([[...long.slice(0, context - 1), end]])).vectors);
    });
  });

  test("an empty text is the token that ends it, no ids are refused, no inputs are no vectors", async () => {
    await withModel(async (model) => {
      const end = model.tokenizer.info.eos;
      expect((await model.embed([""])).vectors).toEqual((await model.embed([[end]])).vectors);
      await expect(model.embed(["a", []])).rejects.toEqual(usage(/^inputs\[1\] has no tokens/));
      expect((await model.embed([])).vectors).toEqual([]);
    });
  });

  test("dimensions are cut before vectors are normalized, without pooling those of each token", async () => {
    await withModel(async (model) => {
      const { vectors } = await model.embed(["a text"], { normalize: -1, pooling: "none" });
      const cut = await model.embed(["a text"], { dimensions: 5, pooling: "none" });
      const [whole = Float32Array.of()] = vectors;
      const [short = Float32Array.of()] = cut.vectors;
      expect(cut.dimensions).toBe(5);
      expect(short).toHaveLength(5 * (cut.tokens[0] ?? 0));
      for (let token = 0; token < (cut.tokens[0] ?? 0); token++) {
        const row = short.subarray(token * 5, token * 5 + 5);
        expect(sum(row, (x) => x * x)).toBeCloseTo(1, 5);
        expect(angle(row, whole.subarray(token * 128, token * 128 + 5))).toBeLessThan(1e-6);
      }
    });
  });

  test.each([
    [{ pooling: "rank" }, /pooling must be one of none, mean, cls, last/],
    [{ dimensions: 129 }, /dimensions: expected an integer from 1 to 128/],
    [{ normalize: -2 }, /normalize must be/],
  ])("refuses %j", async (options, message) => {
    await withModel(async (model) => {
      await expect(model.embed(["a"], options as EmbedOptions)).rejects.toEqual(usage(message));
    });
  });

  test("ids outside the vocabulary are refused before anything is computed", async () => {
    await withModel(async (model) => {
      await expect(model.embed([[1], [320]])).rejects.toEqual(usage(/320 is not a token id/));
      expect(model.stats().rows).toBe(0);
    });
  });

  test("tells its progress to the end, and stops where it is told to", async () => {
    await withModel(async (model) => {
      const seen: EmbedProgress[] = [];
      await model.embed([idsOf(3), idsOf(400)], { onProgress: (progress) => seen.push({ ...progress }) });
      expect(seen.map(({ inputs }) => inputs)).toEqual([1, 2]);
      expect(seen.at(-1)).toEqual({ inputs: 2, tokens: 403, totalInputs: 2, totalTokens: 403 });

      const controller = new AbortController();
      const many = Array.from({ length: 200 }, () => idsOf(300));
      let done = 0;
      const stopped = model.embed(many, {
        signal: controller.signal,
        onProgress: () => {
          done += 1;
          controller.abort();
        },
      });
      await expect(stopped).rejects.toMatchObject({ code: "ABORTED" });
      expect(done).toBeLessThan(many.length);
      expect((await model.embed(["again"])).vectors).toHaveLength(1);
      expect(model.stats().heldBytes).toBe(0);
    });
  });

  test("a model for embeddings gives no text, and says what does embed", async () => {
    await withModel(async (model) => {
      expect(() => model.createSession()).toThrow(BitnetError);
      expect(() => model.createSession()).toThrow(
        expect.objectContaining({ code: "UNSUPPORTED", hint: expect.stringContaining("bitnet embed") }),
      );
    });
  });

  test("a model that predicts text has vectors, too", async () => {
    await using model = await loadModel(tinyModel);
    expect(model.info).toMatchObject({ pooling: "none", embedsOnly: false });
    const { vectors } = await model.embed(["Once upon a time"], { pooling: "last" });
    expect(vectors[0]).toHaveLength(model.info.embeddingLength);
  });
});
