// TL1 and TL2 for every shape: tiles that are chosen by rule, said by the file and by a kernel_config.ini beside it.

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { readModelConfig } from "../../src/checkpoint/config.js";
import { convertCheckpoint } from "../../src/convert/convert.js";
import { forecastCheckpoint } from "../../src/convert/forecast.js";
import { dummySizes, generateDummy } from "../../src/convert/plan-dummy.js";
import { loadModel } from "../../src/engine/model.js";
import { supportedKernels } from "../../src/engine/tuning.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { registeredModels } from "../../src/hub/registry.js";
import type { WeightLayout } from "../../src/native/addon.js";
import { withFolder } from "../support/checkpoints.js";
import { findFixture, root, runBitnet } from "../support/fixtures.js";

const packedModel = join(root, "test", "fixtures", "tiny-bitnet-packed");
const types = ["tl1", "tl2"] as const;

/** The config.json of a size, as checkpoints of that shape have it. */
function writeConfig(folder: string, size: string): void {
  const shape = dummySizes[size];
  if (shape === undefined) {
    throw new Error(`no size ${size}`);
  }
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: shape.hidden,
    intermediate_size: shape.ffn,
    num_hidden_layers: 1,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    head_dim: shape.headDim,
    vocab_size: shape.vocab,
    max_position_embeddings: shape.context,
    rms_norm_eps: shape.epsilon,
    quantization_config: { quant_method: "bitnet" },
  };
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}

/** A model whose matrices have shapes that no model of bitnet.cpp has: 320 x 320, 64 x 320, 800 x 320, 320 x 800. */
function writeOddModel(folder: string): string {
  const model = join(folder, "odd");
  mkdirSync(model);
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    cpSync(join(packedModel, name), join(model, name));
  }
  const config = JSON.parse(readFileSync(join(packedModel, "config.json"), "utf8"));
  const odd = { hidden_size: 320, intermediate_size: 800, num_attention_heads: 5, num_key_value_heads: 1 };
  writeFileSync(join(model, "config.json"), JSON.stringify({ ...config, ...odd, num_hidden_layers: 2 }));
  return model;
}

async function firstLogits(path: string, kernel: string, layout: WeightLayout): Promise<Float32Array> {
  await using model = await loadModel(path, { kernel, layout, threads: 2 });
  await using session = model.createSession();
  await session.prefill([1, 2, 3, 4, 5]);
  return session.logits();
}

/** What is known of a conversion before the weights are there. */
async function forecast(folder: string, outtype: string): Promise<number> {
  return forecastCheckpoint(await readModelConfig(folder), { outtype });
}

describe("tiles", () => {
  test.each(types)("of %s fit every dummy size but the one whose sides 32 does not divide", async (outtype) => {
    await withFolder(async (folder) => {
      const refused: string[] = [];
      for (const size of Object.keys(dummySizes)) {
        writeConfig(folder, size);
        await forecast(folder, outtype).catch((error: Error) => refused.push(`${size}: ${error.message}`));
      }
      expect(refused).toEqual([
        `bitnet_b1_58-xl: tensor blk.0.ffn_gate.weight: no ${outtype.toUpperCase()} tiles fit a matrix of 5460 x 2048: ` +
          "its rows are no multiple of 32 (I2_S needs no tiles)",
      ]);
    });
  });

  test.each(types)("of %s fit every registered model", async (outtype) => {
    await withFolder(async (folder) => {
      const sizes = Object.keys(dummySizes).sort((a, b) => b.length - a.length);
      for (const { repo } of registeredModels) {
        const size = sizes.find((name) => basename(repo).startsWith(name));
        expect(size, repo).toBeDefined();
        writeConfig(folder, size ?? "");
        await forecast(folder, outtype);
      }
    });
  });

  test.each(types)("of %s files with odd shapes need no kernel_config.ini to be read", async (outtype) => {
    await withFolder(async (folder) => {
      const model = writeOddModel(folder);
      const make = (type: string) => join(folder, `${type}.gguf`);
      await generateDummy({ model, outfile: make("i2_s"), outtype: "i2_s" });
      const report = await convertCheckpoint({ source: make("i2_s"), outfile: make(outtype), outtype });
      expect(report.typeHistogram[outtype.toUpperCase()]).toBe(14);
      const back = await convertCheckpoint({ source: make(outtype), outfile: make("back"), outtype: "i2_s" });
      expect(back.kernelConfig).toBeUndefined();
      expect(readFileSync(make("back")).equals(readFileSync(make("i2_s")))).toBe(true);
      for (const kernel of supportedKernels()) {
        for (const layout of ["i2_s", outtype === "tl1" ? "pairs" : "triples"] as const) {
          const expected = await firstLogits(make("i2_s"), kernel, "i2_s");
          expect(await firstLogits(make(outtype), kernel, layout), `${kernel}, ${layout}`).toEqual(expected);
        }
      }
    });
  });

  test("between the two types the sizes of the source read it, and those of the output are written", async () => {
    await withFolder(async (folder) => {
      const model = writeOddModel(folder);
      const make = (type: string) => join(folder, `${type}.gguf`);
      await generateDummy({ model, outfile: make("tl1"), outtype: "tl1" });
      await convertCheckpoint({ source: make("tl1"), outfile: make("tl2"), outtype: "tl2" });
      const keys = Object.keys(openGguf(make("tl2")).metadata()).filter((key) => key.endsWith(".tiles"));
      expect(keys).toEqual(["bitnet.tl2.tiles"]);
      expect(openGguf(make("tl2")).metadataArray("bitnet.tl2.tiles").slice(0, 5)).toEqual([320, 320, 64, 96, 32]);
      await convertCheckpoint({ source: make("tl2"), outfile: make("again"), outtype: "tl1" });
      expect(readFileSync(make("again")).equals(readFileSync(make("tl1")))).toBe(true);
    });
  });

  test("are in a kernel_config.ini with the arguments of bitnet.cpp's generator, and it gives the same file", async () => {
    await withFolder(async (folder) => {
      const model = writeOddModel(folder);
      const outfile = join(folder, "model.gguf");
      const { kernelConfig = "" } = await generateDummy({ model, outfile, outtype: "tl2" });
      expect(kernelConfig).toBe(join(folder, "kernel_config.ini"));
      const text = readFileSync(kernelConfig, "utf8");
      expect(text).toContain("codegen_tl2.py --BM 64,32,160,64 --BK 96,96,96,96 --bm 32,32,32,32\n");
      expect(text).toContain("[Kernels_2]\nm = 800\nk = 320\nbm = 160\nbk = 96\nbmm = 32\n");
      const other = join(folder, "other.gguf");
      const again = await generateDummy({ model, outfile: other, outtype: "tl2", kernelConfig });
      expect(again.kernelConfig).toBe(kernelConfig);
      expect(readFileSync(other).equals(readFileSync(outfile))).toBe(true);
    });
  });

  test("of another model leave a kernel_config.ini alone that says something else", async () => {
    await withFolder(async (folder) => {
      const model = writeOddModel(folder);
      writeFileSync(join(folder, "kernel_config.ini"), "mine");
      const { kernelConfig } = await generateDummy({ model, outfile: join(folder, "a.gguf"), outtype: "tl1" });
      expect(kernelConfig).toBe(join(folder, "a-kernel_config.ini"));
      expect(readFileSync(join(folder, "kernel_config.ini"), "utf8")).toBe("mine");
    });
  });

  test("that a kernel config names go before the rule, and the file keeps them against another config", async () => {
    await withFolder(async (folder) => {
      const model = writeOddModel(folder);
      const ini = (tile: number) =>
        [320, 64, 800].map((m) => `[K_${m}]\nm=${m}\nk=320\nbm=${tile}\nbk=192\nbmm=32\n`).join("");
      const [given, wrong] = [join(folder, "given.ini"), join(folder, "wrong.ini")];
      writeFileSync(given, ini(32));
      writeFileSync(wrong, ini(64));
      const outfile = join(folder, "out.gguf");
      await generateDummy({ model, outfile, outtype: "tl2", kernelConfig: given });
      expect(openGguf(outfile).metadataArray("bitnet.tl2.tiles").slice(0, 5)).toEqual([320, 320, 32, 192, 32]);
      const plain = join(folder, "plain.gguf");
      await generateDummy({ model, outfile: plain, outtype: "i2_s" });
      await using loaded = await loadModel(outfile, { kernelConfig: wrong });
      await using session = loaded.createSession();
      await session.prefill([1, 2, 3]);
      await using reference = await loadModel(plain);
      await using other = reference.createSession();
      await other.prefill([1, 2, 3]);
      expect(session.logits()).toEqual(other.logits());
    });
  });

  test("of bitnet.cpp's own models add nothing to the file or beside it", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "large.gguf");
      const options = { size: "bitnet_b1_58-large", layers: 1, vocabSize: 300, outtype: "tl2", outfile };
      expect((await generateDummy(options)).kernelConfig).toBeUndefined();
      expect(Object.keys(openGguf(outfile).metadata()).filter((key) => key.endsWith(".tiles"))).toEqual([]);
      expect(readdirSync(folder)).toEqual(["large.gguf"]);
    });
  });

  const [golden, ini] = ["b158-tl2.gguf", "tl2-kernel_config.ini"].map((name) => findFixture("golden", name) ?? "");
  test("that nobody says are not guessed: a wrong guess would be another model", async () => {
    await expect(loadModel(golden ?? "")).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringMatching(/blk\.0\.\S+: neither the file .* give the kernel_config\.ini/),
    });
    await using model = await loadModel(golden ?? "", { kernelConfig: ini });
    expect(model.info.weightType).toBe("TL2");
  });

  test("the generator's line of bitnet.cpp works as it is typed", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "dummy.gguf");
      const line = [packedModel, "--outfile", outfile, "--outtype", "tl1", "--model-size", "125M"];
      const { status, stderr } = await runBitnet(["dummy", ...line]);
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(existsSync(join(folder, "kernel_config.ini"))).toBe(true);
    });
  });
});
