// Dummy models: the same bytes for a seed, every size planned, every family readable.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type DummyOptions, dummySizes, generateDummy } from "../../src/convert/plan-dummy.js";
import { writeModel } from "../../src/convert/write.js";
import { loadModel } from "../../src/engine/model.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { inspectGguf } from "../../src/gguf/inspect.js";
import { makeCheckpoint, withFolder, writeCheckpoint } from "../support/checkpoints.js";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";

const packedModel = join(root, "test", "fixtures", "tiny-bitnet-packed");

/** A dummy in the shape of the tiny model. */
async function makeTiny(folder: string, options: Partial<DummyOptions> = {}): Promise<{ path: string; hash: string }> {
  const path = join(folder, "dummy.gguf");
  await generateDummy({ model: packedModel, outfile: path, ...options });
  return { path, hash: createHash("sha256").update(readFileSync(path)).digest("hex") };
}

describe("generateDummy", () => {
  test("a seed gives the same file with any number of threads, and another seed another file", async () => {
    await withFolder(async (folder) => {
      const { hash } = await makeTiny(folder, { threads: 1, seed: 7 });
      expect((await makeTiny(folder, { threads: 3, seed: 7 })).hash).toBe(hash);
      expect((await makeTiny(folder, { threads: 3, seed: 8 })).hash).not.toBe(hash);
      // On every machine: this is what the generator is to give for ever.
      expect(hash).toMatchInlineSnapshot(`"81bc839c70677c5295e80eaba0586cd996d4dfca11917454be773e89b1dbd036"`);
    });
  });

  test("its weights are ternary in equal parts, and it runs", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "dummy.gguf");
      const { ternary } = await generateDummy({ model: packedModel, outfile: path, outtype: "tq2_0" });
      const total = ternary.minus + ternary.zero + ternary.plus;
      for (const count of Object.values(ternary)) {
        expect(count / total).toBeCloseTo(1 / 3, 1);
      }
      await using model = await loadModel(path);
      await using session = model.createSession();
      await session.prefill([1, 2, 3]);
      expect(session.logits().every(Number.isFinite)).toBe(true);
    });
  });

  test.each(["bitnet", "bitnet-b1.58", "llama", "qwen3", "gemma3"] as const)(
    "the family %s has its tensors",
    async (architecture) => {
      await withFolder(async (folder) => {
        const source = writeCheckpoint(join(folder, "model"), makeCheckpoint());
        const { path } = await makeTiny(folder, { architecture, model: source });
        const report = inspectGguf(openGguf(path));
        const perLayer = { bitnet: 11, "bitnet-b1.58": 11, llama: 9, qwen3: 18, gemma3: 20 }[architecture];
        const outside = architecture === "llama" ? 3 : 2;
        expect(report.architecture).toBe(architecture);
        expect(report.tensors.length).toBe(2 * perLayer + outside);
      });
    },
  );

  test("the tokenizer may come from a GGUF file, or be made up to size", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "dummy.gguf");
      await generateDummy({ model: tinyModel, outfile: path, size: "125M", architecture: "bitnet-b1.58" });
      const gguf = openGguf(path);
      expect(gguf.metadataArray("tokenizer.ggml.tokens")).toEqual(
        openGguf(tinyModel).metadataArray("tokenizer.ggml.tokens"),
      );
      expect(gguf.metadata()["bitnet-b1.58.vocab_size"]).toBe(2048);
      const made = await makeTiny(folder, { model: undefined, vocabSize: 5000, size: "125M" });
      const tokens = openGguf(made.path).metadataArray("tokenizer.ggml.tokens");
      expect(new Set(tokens).size).toBe(5000);
      const { stdout } = await runBitnet(["tokenize", "-m", made.path, "--decode", "400,4000,80"]);
      expect(stdout.length).toBeGreaterThan(3);
    });
  });

  test("there is every size of generate-dummy-bitnet-model.py and of the public models", () => {
    const names = "125M 350M 1B 1.5B 2.7B 3.8B 7B 13B 30B 70B 100B".split(" ");
    expect(Object.keys(dummySizes).slice(0, names.length)).toEqual(names);
    expect(Object.keys(dummySizes)).toContain("BitNet-b1.58-2B-4T");
    for (const { hidden, heads, kvHeads, headDim = hidden / heads } of Object.values(dummySizes)) {
      expect(Number.isInteger(headDim) && heads % kvHeads === 0).toBe(true);
    }
  });

  test.each<[Partial<DummyOptions>, string]>([
    [{ size: "8T", model: undefined }, 'unknown model size "8T"'],
    [{ seed: -1 }, "expected a seed"],
    [{ seed: 0.5 }, "expected a seed"],
    [{ outtype: "q9" }, "unknown output type"],
    [{ size: "125M", model: undefined, vocabSize: 100 }, "at least 258"],
  ])("refuses %j", async (options, message) => {
    await withFolder(async (folder) => {
      await expect(makeTiny(folder, options)).rejects.toThrow(message);
    });
  });

  test("a model larger than the free disk is refused before anything is written", async () => {
    await withFolder(async (folder) => {
      const tensor = {
        name: "token_embd.weight",
        shape: [2 ** 20, 2 ** 29], // 2 PB
        type: "F32",
        sourceType: "random",
        source: { kind: "random" as const },
        ternary: false,
        declared: false,
        ropeHeads: 0,
        add: 0,
      };
      const plan = { sources: [], metadata: [], tensors: [tensor], warnings: [] };
      const writing = writeModel(plan, { outfile: join(folder, "huge.gguf") });
      await expect(writing).rejects.toMatchObject({
        code: "NO_SPACE",
        message: expect.stringMatching(/needs \d+ MB, but only \d+ MB are free/),
      });
      expect(readdirSync(folder)).toEqual([]);
    });
  });
});

describe("bitnet dummy", () => {
  test("takes the flags of generate-dummy-bitnet-model.py", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "d.gguf");
      const args = ["dummy", packedModel, "--outfile", outfile, "--outtype", "f16", "--model-name", "x"];
      expect((await runBitnet(args)).stdout).toBe(`${outfile}\n`);
      expect(openGguf(outfile).metadata()["general.name"]).toBe("x");
      const { status, stderr } = await runBitnet(["dummy", "--model-size", "8T", "-o", outfile]);
      expect(status).toBe(1);
      expect(stderr).toMatch(/unknown model size.*\nhint: known: 125M/);
    });
  });
});
