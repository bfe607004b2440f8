// Conversions from end to end: checkpoints and GGUF files in, verified GGUF files out, nothing left behind when they fail.

import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { readModelConfig } from "../../src/checkpoint/config.js";
import { convertCheckpoint } from "../../src/convert/convert.js";
import type { ConvertOptions } from "../../src/convert/options.js";
import type { ConvertProgress, ConvertReport } from "../../src/convert/plan.js";
import { generateDummy } from "../../src/convert/plan-dummy.js";
import { loadModel } from "../../src/engine/model.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { inspectGguf } from "../../src/gguf/inspect.js";
import { BitnetError } from "../../src/system/errors.js";
import { partialPath } from "../../src/system/files.js";
import {
  encodeSafetensors,
  float32,
  frameSafetensors,
  type Json,
  type MadeCheckpoint,
  type MakeOptions,
  makeCheckpoint,
  type RawTensor,
  readTensors,
  shape,
  withFolder,
  writeCheckpoint,
} from "../support/checkpoints.js";
import { findFixture, readFixture, root, runBitnet, tinyModel } from "../support/fixtures.js";
import { readMetadataBytes } from "../support/read-gguf.js";

const packedModel = join(root, "test", "fixtures", "tiny-bitnet-packed");
const masterModel = findFixture("tiny-bitnet", "tiny-bitnet-bf16");

async function convertTo(outfile: string, options: Partial<ConvertOptions>): Promise<ConvertReport> {
  return convertCheckpoint({ source: packedModel, outtype: "i2_s", outfile, ...options });
}

/** The ternary weights of a file, whatever their layout: a hash of the codes of each matrix. */
async function readWeights(folder: string, source: string, kernelConfig?: string): Promise<Map<string, string>> {
  const outfile = join(folder, "weights.gguf");
  await convertTo(outfile, { source, kernelConfig });
  const weights = new Map<string, string>();
  for (const [name, bytes] of readTensors(outfile)) {
    if (/(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight$/.test(name)) {
      const scaleAndPadding = 32;
      weights.set(name, createHash("sha256").update(bytes.subarray(0, -scaleAndPadding)).digest("hex"));
    }
  }
  return weights;
}

describe("the tiny model", () => {
  test("its packed checkpoint makes a file that generates the reference text", async () => {
    await withFolder(async (folder) => {
      const report = await convertTo(join(folder, "out.gguf"), {});
      expect(report.typeHistogram).toEqual({ F16: 1, F32: 17, I2_S: 28 });
      await expectReferenceText(join(folder, "out.gguf"), "packed");
    });
  });

  test.skipIf(masterModel === undefined)("its master makes the bundled file, tensor for tensor", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      const report = await convertTo(outfile, { source: masterModel, modelName: "tiny-bitnet" });
      expect(readFileSync(outfile).equals(readFileSync(tinyModel))).toBe(true);
      expect(report.tensors.every(({ relativeError }) => relativeError === undefined || relativeError < 0.7)).toBe(
        true,
      );
      await expectReferenceText(outfile, "bf16");
    });
  });

  test.skipIf(masterModel === undefined)(
    "its master and its packed checkpoint have the same ternary weights",
    async () => {
      await withFolder(async (folder) => {
        expect(await readWeights(folder, packedModel)).toEqual(await readWeights(folder, masterModel ?? ""));
      });
    },
  );

  test("keeps its weights through every type and back", async () => {
    await withFolder(async (folder) => {
      const original = join(folder, "i2_s.gguf");
      await convertTo(original, {});
      const expected = await readWeights(folder, original);
      expect(expected.size).toBe(28);
      for (const outtype of ["tq1_0", "tq2_0", "iq1_bn", "iq2_bn", "f32", "f16", "bf16"]) {
        const other = join(folder, `${outtype}.gguf`);
        await convertTo(other, { source: original, outtype });
        expect(await readWeights(folder, other), outtype).toEqual(expected);
        const back = join(folder, "back.gguf");
        await convertTo(back, { source: other });
        expect(await readWeights(folder, back), `${outtype} and back`).toEqual(expected);
      }
      const again = join(folder, "again.gguf");
      await convertTo(again, { source: join(folder, "iq2_bn.gguf") }); // the one whose scale is not rounded
      expect(readTensors(again)).toEqual(readTensors(original));
    });
  });

  async function expectReferenceText(path: string, kind: "bf16" | "packed"): Promise<void> {
    const { prompts } = JSON.parse(readFixture("tiny-bitnet", "reference.json").toString()) as {
      prompts: ({ name: string; ids: number[] } & Record<string, { greedy_text: string } | undefined>)[];
    };
    await using model = await loadModel(path);
    for (const prompt of prompts.filter(({ name }) => ["chat_bitnet", "chat_two_turns"].includes(name))) {
      await using session = model.createSession();
      const { text } = await session.complete(prompt.ids, { temperature: 0 });
      expect(text).toBe((prompt[kind] ?? (prompt.bf16 as { greedy_text: string })).greedy_text);
    }
  }
});

const goldenCases: [source: string, options: Partial<ConvertOptions>, expected: string, kernelConfig?: string][] = [
  ["b158-f32.gguf", { outtype: "i2_s" }, "b158-small.gguf"],
  ["b158-f32.gguf", { outtype: "tl1" }, "b158-tl1.gguf", "tl1-kernel_config.ini"],
  ["b158-f32.gguf", { outtype: "tl2" }, "b158-tl2.gguf", "tl2-kernel_config.ini"],
  ["llama-f32.gguf", { outtype: "TQ1_0" }, "llama-TQ1_0.gguf"],
  ["llama-f32.gguf", { outtype: "TQ2_0" }, "llama-TQ2_0.gguf"],
  ...["q8_0", "q6_k", "q5_0", "q4_0"].map((type): [string, Partial<ConvertOptions>, string] => [
    "llama-f32.gguf",
    { outtype: "tq2_0", embeddingType: type },
    `llama-TQ2_0-${type}.gguf`,
  ]),
];

describe("golden files", () => {
  for (const [source, options, expected, config] of goldenCases) {
    const paths = [source, expected, config ?? source].map((name) => findFixture("golden", name));
    test.skipIf(paths.includes(undefined))(
      `${source} becomes ${expected}, byte for byte, and its weights come back`,
      async () => {
        const [sourcePath = "", expectedPath = "", configPath] = paths;
        const kernelConfig = config === undefined ? undefined : configPath;
        await withFolder(async (folder) => {
          const outfile = join(folder, "out.gguf");
          await convertTo(outfile, { source: sourcePath, ...options, kernelConfig });
          const [actual, wanted] = [readTensors(outfile), readTensors(expectedPath)];
          expect([...actual.keys()].sort()).toEqual([...wanted.keys()].sort());
          const types = new Map(
            openGguf(outfile)
              .tensors()
              .map(({ name, type }) => [name, type]),
          );
          for (const [name, bytes] of wanted) {
            // The 28 bytes after the scale of an I2_S tensor are not used, and zero in ours.
            const used = types.get(name) === "I2_S" ? bytes.length - 28 : bytes.length;
            expect(actual.get(name)?.subarray(0, used).equals(bytes.subarray(0, used)), name).toBe(true);
          }
          expect(await readWeights(folder, expectedPath, kernelConfig)).toEqual(await readWeights(folder, sourcePath));
        });
      },
    );
  }
});

describe("families", () => {
  test("a llama checkpoint's query and key rows are reordered, and the others are not", async () => {
    await withFolder(async (folder) => {
      const made = makeCheckpoint({ tied: false });
      const outfile = join(folder, "out.gguf");
      await convertTo(outfile, { source: writeCheckpoint(join(folder, "model"), made), outtype: "f32" });
      const tensors = readTensors(outfile);
      for (const [name, heads] of [
        ["attn_q", shape.heads],
        ["attn_k", shape.kvHeads],
        ["attn_v", 0],
      ] as const) {
        const bytes = tensors.get(`blk.1.${name}.weight`) ?? Buffer.alloc(0);
        const source = made.codes[`model.layers.1.self_attn.${name.slice(5)}_proj.weight`] ?? new Uint8Array();
        const rows = bytes.length / 4 / shape.hidden;
        for (let row = 0; row < rows; row++) {
          const [head, r] = [Math.floor(row / shape.headDim), row % shape.headDim];
          const from = heads === 0 ? row : head * shape.headDim + (r % 2) * (shape.headDim / 2) + Math.floor(r / 2);
          for (let col = 0; col < shape.hidden; col++) {
            const weight = bytes.readFloatLE(4 * (row * shape.hidden + col));
            expect(weight).toBe(((source[from * shape.hidden + col] ?? 9) - 1) / 0.5); // BitLinear divides by its scale
          }
        }
      }
      const metadata = openGguf(outfile).metadata();
      expect(metadata["general.architecture"]).toBe("llama");
      expect(metadata["llama.attention.head_count_kv"]).toBe(2);
      expect(metadata["tokenizer.ggml.pre"]).toBe("llama-bpe");
      expect(tensors.has("output.weight")).toBe(true);
    });
  });

  test("AutoBitLinear multiplies by the scale, BitLinear divides", async () => {
    const scaleOf = async (linearClass: string | undefined) =>
      withFolder(async (folder) => {
        const config = { quantization_config: { quant_method: "bitnet", linear_class: linearClass } };
        const source = writeCheckpoint(join(folder, "model"), makeCheckpoint({ config, scale: 4 }));
        const { tensors } = await convertTo(join(folder, "out.gguf"), { source });
        return tensors.find(({ type }) => type === "I2_S")?.scale;
      });
    expect(await scaleOf("autobitlinear")).toBe(4);
    expect(await scaleOf("bitlinear")).toBe(0.25);
    expect(await scaleOf(undefined)).toBe(0.25);
  });

  const bitnet: [name: string, options: MakeOptions, architecture: string][] = [
    [
      "1bitLLM's names and SiLU",
      {
        config: { architectures: ["BitnetForCausalLM"] },
        weights: "master",
        subNorms: ["self_attn.inner_attn_ln", "mlp.ffn_layernorm"],
      },
      "bitnet",
    ],
    [
      "the newer names and ReLU squared",
      {
        config: { architectures: ["BitNetForCausalLM"], model_type: "bitnet", hidden_act: "relu2" },
        weights: "master",
        subNorms: ["self_attn.attn_sub_norm", "mlp.ffn_sub_norm"],
      },
      "bitnet-b1.58",
    ],
  ];
  test.each(bitnet)("%s are found, and the file runs", async (_, options, architecture) => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint(options));
      const outfile = join(folder, "out.gguf");
      const report = await convertTo(outfile, { source });
      expect(report.tensors.filter(({ relativeError = 0 }) => relativeError > 0).length).toBe(14);
      await using model = await loadModel(outfile);
      expect(model.info.architecture).toBe(architecture);
      await using session = model.createSession();
      expect((await session.complete("Once", { maxTokens: 3, temperature: 0 })).tokens.length).toBeGreaterThan(0);
    });
  });

  const inputNorms = {
    "self_attn.q_norm": shape.headDim,
    "self_attn.k_norm": shape.headDim,
    "self_attn.q_proj.norm": shape.hidden,
    "self_attn.k_proj.norm": shape.hidden,
    "self_attn.v_proj.norm": shape.hidden,
    "self_attn.o_proj.norm": shape.heads * shape.headDim,
    "mlp.gate_proj.norm": shape.hidden,
    "mlp.up_proj.norm": shape.hidden,
    "mlp.down_proj.norm": shape.ffn,
  };

  test("the Qwen3 embedding family keeps its norms, its pooling and its end token", async () => {
    await withFolder(async (folder) => {
      const config = { architectures: ["Qwen3Model"], model_type: "qwen3", head_dim: shape.headDim };
      const made = makeCheckpoint({ config, weights: "master", extraNorms: inputNorms });
      const source = writeCheckpoint(join(folder, "model"), made);
      mkdirSync(join(source, "1_Pooling"));
      writeFileSync(join(source, "1_Pooling", "config.json"), JSON.stringify({ pooling_mode_lasttoken: true }));
      const modules = ["Transformer", "Pooling", "Normalize"].map((type) => ({
        type: `sentence_transformers.models.${type}`,
      }));
      writeFileSync(join(source, "modules.json"), JSON.stringify(modules));
      writeFileSync(
        join(source, "config_sentence_transformers.json"),
        JSON.stringify({ prompts: { query: "Query: ", document: "" }, default_prompt_name: "query" }),
      );
      const { typeHistogram } = await convertTo(join(folder, "out.gguf"), { source });
      expect(typeHistogram).toEqual({ F16: 1, F32: 1 + 2 * 11, I2_S: 14 });
      const metadata = openGguf(join(folder, "out.gguf")).metadata();
      expect(metadata["qwen3.pooling_type"]).toBe(3);
      expect(metadata["qwen3.attention.key_length"]).toBe(shape.headDim);
      expect(inspectGguf(openGguf(join(folder, "out.gguf"))).embedding).toEqual({
        pooling: "last",
        dimensions: shape.hidden,
        prompts: { query: "Query: ", document: "" },
        defaultPrompt: "query",
      });
    });
  });

  test.each([
    [{ pooling_mode: "cls" }, "", 2],
    [{ pooling_mode_mean_tokens: true, pooling_mode_cls_token: false }, "", 1],
    [{ pooling_mode: "max" }, "", /pooling by max; mean, cls or lasttoken alone is supported/],
    [{ pooling_mode_mean_tokens: true, pooling_mode_cls_token: true }, "", /pooling by mean and cls/],
    [
      { pooling_mode: "mean" },
      "sentence_transformers.models.Dense",
      /a module of type sentence_transformers.models.Dense/,
    ],
  ])("a pooling of %j and a module %j: %s", async (pooling, type, expected) => {
    await withFolder(async (folder) => {
      const config = { architectures: ["Qwen3Model"], model_type: "qwen3", head_dim: shape.headDim };
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint({ config }));
      mkdirSync(join(source, "1_Pooling"));
      writeFileSync(join(source, "1_Pooling", "config.json"), JSON.stringify(pooling));
      writeFileSync(join(source, "modules.json"), JSON.stringify(type === "" ? [] : [{ type }]));
      const read = readModelConfig(source);
      await (typeof expected === "number"
        ? expect(read).resolves.toMatchObject({ pooling: expected })
        : expect(read).rejects.toMatchObject({ code: "UNSUPPORTED", message: expect.stringMatching(expected) }));
    });
  });

  test("a Qwen3 model with a head keeps it, and its prompts do not end as a text embedding's do", async () => {
    await withFolder(async (folder) => {
      const config = { architectures: ["Qwen3ForCausalLM"], model_type: "qwen3", head_dim: shape.headDim };
      const extraNorms = { "self_attn.q_norm": shape.headDim, "self_attn.k_norm": shape.headDim };
      const made = makeCheckpoint({ config, tied: false, extraNorms });
      const source = writeCheckpoint(join(folder, "model"), made);
      for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
        const path = join(source, name);
        writeFileSync(path, readFileSync(path, "utf8").replaceAll("<|eot_id|>", "<|endoftext|>"));
      }
      const convert = async (outfile: string) => {
        await convertTo(join(folder, outfile), { source });
        return openGguf(join(folder, outfile));
      };
      const whole = await convert("whole.gguf");
      const last = shape.vocab - 1;
      expect(whole.tensors().map(({ name }) => name)).toContain("output.weight");
      expect(whole.metadata()["qwen3.pooling_type"]).toBeUndefined();
      expect(whole.metadata()["tokenizer.ggml.eos_token_id"]).toBe(last - 1);
      expect(whole.metadata()["tokenizer.ggml.add_eos_token"]).not.toBe(true);

      writeFileSync(join(source, "modules.json"), "[]"); // sentence-transformers' list of what a model is made of
      const pooled = await convert("pooled.gguf");
      expect(pooled.tensors().map(({ name }) => name)).not.toContain("output.weight");
      expect(pooled.metadata()["qwen3.pooling_type"]).toBe(1);
      expect(pooled.metadata()["tokenizer.ggml.eos_token_id"]).toBe(last);
      expect(pooled.metadata()["tokenizer.ggml.add_eos_token"]).toBe(true);
      await using model = await loadModel(join(folder, "pooled.gguf"));
      expect((await model.embed(["a text"])).vectors[0]).toHaveLength(shape.hidden);
    });
  });

  test("the Gemma 3 family's own norms grow by one, those of its linear layers do not", async () => {
    await withFolder(async (folder) => {
      const config = {
        architectures: ["Gemma3TextModel"],
        model_type: "gemma3_text",
        hidden_activation: "gelu_pytorch_tanh",
        hidden_act: undefined,
      };
      const extraNorms = {
        ...inputNorms,
        pre_feedforward_layernorm: shape.hidden,
        post_feedforward_layernorm: shape.hidden,
      };
      const made = makeCheckpoint({ config, weights: "master", extraNorms });
      const source = writeCheckpoint(join(folder, "model"), made);
      await convertTo(join(folder, "out.gguf"), { source });
      const tensors = readTensors(join(folder, "out.gguf"));
      const pairs: Record<string, [name: string, add: number]> = {
        "blk.0.post_attention_norm.weight": ["post_attention_layernorm", 1],
        "blk.0.ffn_norm.weight": ["pre_feedforward_layernorm", 1],
        "blk.0.post_ffw_norm.weight": ["post_feedforward_layernorm", 1],
        "blk.0.attn_q_norm.weight": ["self_attn.q_norm", 1],
        "blk.0.attn_q_norm_in.weight": ["self_attn.q_proj.norm", 0],
        "blk.0.ffn_down_norm_in.weight": ["mlp.down_proj.norm", 0],
      };
      for (const [name, [original, add]] of Object.entries(pairs)) {
        const before = made.tensors[`model.layers.0.${original}.weight`]?.data.readFloatLE(4) ?? Number.NaN;
        expect(tensors.get(name)?.readFloatLE(4), name).toBeCloseTo(before + add, 6);
      }
    });
  });

  test("a checkpoint in several files converts like one in a single file", async () => {
    await withFolder(async (folder) => {
      const made = makeCheckpoint();
      for (const [i, shards] of [1, 3].entries()) {
        await convertTo(join(folder, `${i}.gguf`), {
          source: writeCheckpoint(join(folder, `model${i}`), made, shards),
          modelName: "m",
        });
      }
      expect(readFileSync(join(folder, "0.gguf")).equals(readFileSync(join(folder, "1.gguf")))).toBe(true);
    });
  });
});

describe("metadata", () => {
  test("a checkpoint in the hub's cache says where it came from", async () => {
    await withFolder(async (folder) => {
      const revision = "0123456789abcdef0123456789abcdef01234567";
      const source = join(folder, "models--owner--some-model", "snapshots", revision);
      writeCheckpoint(source, makeCheckpoint());
      await convertTo(join(folder, "out.gguf"), { source });
      const metadata = openGguf(join(folder, "out.gguf")).metadata();
      expect(metadata["general.name"]).toBe("some-model");
      expect(metadata["general.source.huggingface.repository"]).toBe("owner/some-model");
      expect(metadata["general.source.url"]).toBe(`https://huggingface.co/owner/some-model/tree/${revision}`);
    });
  });

  test("a GGUF source keeps every other key, bit by bit and in order", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      await convertTo(outfile, { source: tinyModel, outtype: "tq2_0" });
      const [valuesBefore, valuesAfter] = [readMetadataBytes(tinyModel), readMetadataBytes(outfile)];
      expect([...valuesAfter.keys()]).toEqual([...valuesBefore.keys()]);
      for (const [key, value] of valuesBefore) {
        expect(valuesAfter.get(key)?.equals(value), key).toBe(key !== "general.file_type");
      }
      expect(openGguf(outfile).metadata()["general.file_type"]).toBe(37);
    });
  });

  test("--vocab-only leaves a file that only tokenizes", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      const report = await convertTo(outfile, { vocabOnly: true });
      expect(report.tensors).toEqual([]);
      const { stdout } = await runBitnet(["tokenize", "-m", outfile, "Once upon a time"]);
      const { stdout: expected } = await runBitnet(["tokenize", "-m", tinyModel, "Once upon a time"]);
      expect(stdout).toBe(expected);
    });
  });

  test("an embedding whose rows do not fit the wanted type takes the next one, and says so", async () => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint());
      const { tensors, warnings } = await convertTo(join(folder, "out.gguf"), { source, embeddingType: "q6_k" });
      expect(tensors[0]).toMatchObject({ name: "token_embd.weight", type: "Q8_0" });
      expect(warnings).toEqual([expect.stringContaining("token_embd.weight becomes Q8_0")]);
    });
  });
});

interface Failure {
  name: string;
  code: string;
  message: RegExp;
  make?: MakeOptions;
  /** Damages the checkpoint before (`made`) or after (`folder`) it is written. */
  made?: (made: MadeCheckpoint) => void;
  folder?: (folder: string) => void;
  shards?: number;
  options?: Partial<ConvertOptions>;
}

const weight = "model.layers.1.mlp.up_proj.weight";
const poison = (value: number) => (made: MadeCheckpoint) => {
  made.tensors[weight]?.data.writeFloatLE(value, 4000);
};
const reshape = (name: string, shape: number[]) => (made: MadeCheckpoint) => {
  made.tensors[name] = float32(shape, () => 1);
};
const configured = (config: Json): MakeOptions => ({ config });
const file = (name: string, content: string | Buffer) => (folder: string) => writeFileSync(join(folder, name), content);

const failures: Failure[] = [
  {
    name: "a class that is not supported",
    code: "UNSUPPORTED",
    message: /config\.json: model class GPTNeoXForCausalLM of type gpt_neox is not supported/,
    make: configured({ architectures: ["GPTNeoXForCausalLM"], model_type: "gpt_neox" }),
  },
  {
    name: "another quantization",
    code: "UNSUPPORTED",
    message: /quantization method "gptq"/,
    make: configured({ quantization_config: { quant_method: "gptq" } }),
  },
  {
    name: "a missing shard",
    code: "NOT_FOUND",
    message: /model-00002-of-00003\.safetensors is missing/,
    shards: 3,
    folder: (f) => rmSync(join(f, "model-00002-of-00003.safetensors")),
  },
  {
    name: "a missing shard without an index",
    code: "NOT_FOUND",
    message: /model-00002-of-00003\.safetensors is missing/,
    shards: 3,
    folder: (f) => {
      rmSync(join(f, "model.safetensors.index.json"));
      rmSync(join(f, "model-00002-of-00003.safetensors"));
    },
  },
  {
    name: "no weights",
    code: "NOT_FOUND",
    message: /no weight files/,
    folder: (f) => rmSync(join(f, "model.safetensors")),
  },
  {
    name: "no config.json",
    code: "NOT_FOUND",
    message: /config\.json is missing/,
    folder: (f) => rmSync(join(f, "config.json")),
  },
  {
    name: "a config.json that is no JSON",
    code: "BAD_FILE",
    message: /config\.json: not valid JSON/,
    folder: file("config.json", "{"),
  },
  {
    name: "a config.json without a size",
    code: "BAD_FILE",
    message: /expected a positive integer for hidden_size but got undefined/,
    make: configured({ hidden_size: undefined }),
  },
  {
    name: "a number of layers that no list of tensors has room for",
    code: "BAD_FILE",
    message: /num_hidden_layers is 1000000000; at most 4096 layers expected/,
    make: configured({ num_hidden_layers: 1e9 }),
  },
  {
    name: "a hidden size that the heads do not divide",
    code: "BAD_FILE",
    message: /do not fit together/,
    make: configured({ num_attention_heads: 6 }),
  },
  {
    name: "an activation that its class does not have",
    code: "UNSUPPORTED",
    message: /hidden_act is "gelu"/,
    make: configured({ hidden_act: "gelu" }),
  },
  {
    name: "no tokenizer",
    code: "NOT_FOUND",
    message: /no tokenizer/,
    folder: (f) => rmSync(join(f, "tokenizer.json")),
  },
  {
    name: "a tokenizer with more tokens than the embedding has rows",
    code: "BAD_FILE",
    message: /2048 tokens, but vocab_size in config\.json is 1000/,
    make: configured({ vocab_size: 1000 }),
  },
  {
    name: "NaN in a master",
    code: "BAD_FILE",
    message: /blk\.1\.ffn_up\.weight: row 15 holds NaN or infinity/,
    make: { weights: "master" },
    made: poison(Number.NaN),
    options: { force: true },
  },
  {
    name: "infinity in a master",
    code: "BAD_FILE",
    message: /holds NaN or infinity/,
    make: { weights: "master" },
    made: poison(Number.NEGATIVE_INFINITY),
    options: { force: true },
  },
  {
    name: "NaN in a norm",
    code: "BAD_FILE",
    message: /output_norm\.weight: row 0 holds NaN/,
    made: (m) => m.tensors["model.norm.weight"]?.data.writeFloatLE(Number.NaN, 8),
  },
  {
    name: "a scale of zero",
    code: "BAD_FILE",
    message: /up_proj\.weight_scale is 0; a positive number expected/,
    made: (m) => m.tensors[`${weight}_scale`]?.data.writeFloatLE(0),
  },
  {
    name: "a packed matrix without its scale",
    code: "BAD_FILE",
    message: /is packed but has no/,
    made: (m) => delete m.tensors[`${weight}_scale`],
  },
  {
    name: "a packed code that means nothing",
    code: "BAD_FILE",
    message: /blk\.1\.ffn_up\.weight/,
    made: (m) => m.tensors[weight]?.data.fill(0xff, 100, 101),
  },
  {
    name: "floats with a scale",
    code: "UNSUPPORTED",
    message: /has a scale although it is not packed/,
    make: { weights: "master" },
    made: (m) => {
      m.tensors[`${weight}_scale`] = float32([1], () => 1);
    },
  },
  {
    name: "a norm of another size than config.json says",
    code: "BAD_FILE",
    message: /model\.norm\.weight is F32 \[63\], but by .*config\.json it must be \[64\]/,
    made: reshape("model.norm.weight", [63]),
  },
  {
    name: "a matrix of another shape than config.json says",
    code: "BAD_FILE",
    message: /up_proj\.weight is U8 \[24, 64\], but by .* it must be \[32, 64\]/,
    make: configured({ intermediate_size: 128 }),
    made: (m) => {
      for (const i of [0, 1]) {
        delete m.tensors[`model.layers.${i}.mlp.gate_proj.weight`];
        delete m.tensors[`model.layers.${i}.mlp.gate_proj.weight_scale`];
        m.tensors[`model.layers.${i}.mlp.gate_proj.weight`] = float32([128, 64], () => 1);
      }
    },
  },
  {
    name: "a tensor that is not there",
    code: "BAD_FILE",
    message: /no tensor for blk\.1\.ffn_up\.weight/,
    made: (m) => {
      delete m.tensors[weight];
      delete m.tensors[`${weight}_scale`];
    },
  },
  {
    name: "a tensor that no such model has",
    code: "UNSUPPORTED",
    message: /tensor model\.extra\.weight is none that a llama model has/,
    made: reshape("model.extra.weight", [4]),
  },
  {
    name: "a norm that the family does not have",
    code: "BAD_FILE",
    message: /q_norm\.weight is one too many/,
    made: reshape("model.layers.0.self_attn.q_norm.weight", [16]),
  },
  {
    name: "a norm's bias",
    code: "BAD_FILE",
    message: /input_layernorm\.bias is one too many/,
    made: reshape("model.layers.0.input_layernorm.bias", [64]),
  },
  {
    name: "a head that is not the embedding, though config.json says so",
    code: "UNSUPPORTED",
    message: /lm_head\.weight: by .*config\.json the embedding is the head, but this is another one/,
    made: (m) => {
      m.tensors["lm_head.weight"] = float32([shape.vocab, shape.hidden], (i) => i % 7);
    },
  },
  {
    name: "a head of its own in a family that has none",
    code: "UNSUPPORTED",
    message: /lm_head\.weight: a bitnet model has no head of its own/,
    make: {
      tied: false,
      subNorms: ["self_attn.inner_attn_ln", "mlp.ffn_layernorm"],
      config: { architectures: ["BitnetForCausalLM"] },
    },
  },
  ...["sliding_window", "num_local_experts", "final_logit_softcapping", "partial_rotary_factor"].map((key) => ({
    name: `a ${key} in config.json`,
    code: "UNSUPPORTED",
    message: new RegExp(`config\\.json: ${key} is 0\\.5, which llama models here do not have`),
    make: configured({ [key]: 0.5 }),
  })),
  {
    name: "a layer too many",
    code: "BAD_FILE",
    message: /is one too many/,
    make: configured({ num_hidden_layers: 1 }),
  },
  {
    name: "floats that nothing calls ternary",
    code: "UNSUPPORTED",
    message: /blk\.0\.attn_q\.weight: its weights are not ternary.* \d+ % off/,
    make: { weights: "master" },
  },
  {
    name: "an integer matrix",
    code: "UNSUPPORTED",
    message: /is I32; F32, F16 or BF16 expected/,
    made: (m) => {
      const t = float32([shape.hidden], () => 1);
      m.tensors["model.norm.weight"] = { ...t, dtype: "I32" };
    },
  },
  {
    name: "a file that is cut off",
    code: "BAD_FILE",
    message: /beyond the end of the file/,
    folder: (f) => truncateSync(join(f, "model.safetensors"), 300_000),
  },
  {
    name: "a file that is not safetensors",
    code: "BAD_FILE",
    message: /not a safetensors file|claims/,
    folder: file("model.safetensors", Buffer.alloc(100, 0xff)),
  },
  { name: "an empty file", code: "BAD_FILE", message: /not a safetensors file/, folder: file("model.safetensors", "") },
  {
    name: "a header that is no JSON",
    code: "BAD_FILE",
    message: /safetensors header: not valid JSON at line 1/,
    folder: file("model.safetensors", frameSafetensors("{nonsense", [])),
  },
  {
    name: "an index that leaves its folder",
    code: "BAD_FILE",
    message: /is not a file name/,
    folder: file("model.safetensors.index.json", JSON.stringify({ weight_map: { a: "../../etc/passwd" } })),
  },
  {
    name: "an output type that does not exist",
    code: "USAGE",
    message: /unknown output type "q3_x"; known: f32, f16/,
    options: { outtype: "q3_x" },
  },
  {
    name: "an embedding type that does not exist",
    code: "USAGE",
    message: /unknown embedding type/,
    options: { embeddingType: "i2_s" },
  },
  {
    name: "a type that cannot hold the shapes",
    code: "UNSUPPORTED",
    message: /blk\.0\.attn_q\.weight: .*TQ2_0/,
    options: { outtype: "tq2_0" },
  },
  {
    name: "a shape that is too small for TL2",
    code: "UNSUPPORTED",
    message: /blk\.0\.attn_q\.weight: no TL2 tiles fit a matrix of 64 x 64: it has fewer than 256 columns/,
    options: { outtype: "tl2" },
  },
  {
    name: "a kernel config that is not there",
    code: "NOT_FOUND",
    message: /nowhere\.ini/,
    options: { outtype: "tl1", kernelConfig: "nowhere.ini" },
  },
  {
    name: "a pre-tokenizer that does not exist",
    code: "UNSUPPORTED",
    message: /martian/,
    options: { tokenizerPre: "martian" },
  },
];

describe("refuses, in one line and without leaving a file,", () => {
  test.each(failures)("$name", async ({ code, message, make, made, folder: damage, shards, options }) => {
    await withFolder(async (folder) => {
      const checkpoint = makeCheckpoint(make);
      made?.(checkpoint);
      const source = writeCheckpoint(join(folder, "model"), checkpoint, shards);
      damage?.(source);
      const out = join(folder, "out");
      mkdirSync(out);
      const error = await convertTo(join(out, "out.gguf"), { source, ...options }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(BitnetError);
      expect((error as BitnetError).message).toMatch(message);
      expect((error as BitnetError).message).not.toContain("\n");
      expect((error as BitnetError).code).toBe(code);
      expect(readdirSync(out)).toEqual([]);
    });
  });

  test("weights that --force then ternarizes", async () => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint({ weights: "master" }));
      const { tensors } = await convertTo(join(folder, "out.gguf"), { source, force: true });
      expect(tensors.find(({ type }) => type === "I2_S")?.relativeError).toBeGreaterThan(0.05);
    });
  });

  test("another head than the embedding; the same one once more is not needed", async () => {
    await withFolder(async (folder) => {
      const made = makeCheckpoint({ config: { sliding_window: 64, use_sliding_window: false, logit_scale: 1 } });
      made.tensors["lm_head.weight"] = made.tensors["model.embed_tokens.weight"] as RawTensor;
      const { tensors } = await convertTo(join(folder, "out.gguf"), {
        source: writeCheckpoint(join(folder, "model"), made),
      });
      expect(tensors.map(({ name }) => name)).not.toContain("output.weight");
    });
  });

  test("ternary floats need no declaration", async () => {
    await withFolder(async (folder) => {
      const made = makeCheckpoint({ weights: "ternary" });
      const source = writeCheckpoint(join(folder, "model"), made);
      const { tensors } = await convertTo(join(folder, "out.gguf"), { source });
      expect(tensors.find(({ type }) => type === "I2_S")).toMatchObject({ scale: 0.25 });
    });
  });

  test("a source that is the output", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "model.gguf");
      await convertTo(path, {});
      const before = readFileSync(path);
      await expect(convertTo(path, { source: path, outtype: "tq2_0" })).rejects.toThrow(
        "both the source and the output",
      );
      expect(readFileSync(path).equals(before)).toBe(true);
    });
  });

  test("a conversion that is stopped, before and in the middle", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      await expect(convertTo(outfile, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
      const controller = new AbortController();
      const running = convertTo(outfile, { signal: controller.signal });
      setImmediate(() => controller.abort());
      await running.then(
        () => expect(existsSync(outfile)).toBe(true), // it was faster
        (error: unknown) => expect(error).toMatchObject({ code: "ABORTED" }),
      );
      expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([]);
    });
  });

  test("a dummy model that is stopped while it is written", async () => {
    await withFolder(async (folder) => {
      const controller = new AbortController();
      const seen: ConvertProgress[] = [];
      const writing = generateDummy({
        outfile: join(folder, "out.gguf"),
        size: "350M",
        outtype: "f32",
        signal: controller.signal,
        onProgress: (progress) => {
          seen.push(progress);
          controller.abort();
        },
      });
      await expect(writing).rejects.toMatchObject({ code: "ABORTED" });
      const [{ doneBytes = 0, totalBytes = 0 } = {}] = seen;
      expect(doneBytes).toBeLessThan(totalBytes);
      expect(readdirSync(folder)).toEqual([]);
    });
  });

  test.skipIf(process.platform !== "linux")("a disk that is full before the end", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      symlinkSync("/dev/full", partialPath(outfile));
      await expect(convertTo(outfile, {})).rejects.toMatchObject({
        code: "NO_SPACE",
        message: `${outfile}: cannot write: No space left on device`,
      });
      expect(readdirSync(folder)).toEqual([]);
    });
  });

  test.each([
    ["a folder that is not there", "none/out.gguf", "NOT_FOUND", "no such file or directory"],
    ["a folder", ".", "USAGE", "it is a directory"],
    ["a device", "/dev/null", "USAGE", "it is not a regular file"],
  ])("an output that is %s", async (_, name, code, reason) => {
    await withFolder(async (folder) => {
      await expect(convertTo(resolve(folder, name), {})).rejects.toMatchObject({
        code,
        message: expect.stringContaining(reason),
      });
      expect(readdirSync(folder)).toEqual([]);
    });
  });

  test("an older file stays when the new one fails", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      writeFileSync(outfile, "precious");
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint({ weights: "master" }));
      await expect(convertTo(outfile, { source })).rejects.toThrow("not ternary");
      expect(readFileSync(outfile, "utf8")).toBe("precious");
    });
  });
});

describe("bitnet convert", () => {
  test("names the file on stdout and tells the rest on stderr", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      const { status, stdout, stderr } = await runBitnet([
        "convert",
        packedModel,
        "--outtype",
        "TQ2_0",
        "--outfile",
        outfile,
        "--quant-embd",
        "--model-name",
        "x",
      ]);
      expect(stdout).toBe(`${outfile}\n`);
      expect(stderr).toContain("46 tensors: 1 F16, 17 F32, 28 TQ2_0");
      expect(stderr).toMatch(/ternary weights: 33\.3 % -1, 33\.5 % 0, 33\.2 % \+1/);
      expect(status).toBe(0);
    });
  });

  test("--json is the report", async () => {
    await withFolder(async (folder) => {
      const outfile = join(folder, "out.gguf");
      const { stdout } = await runBitnet([
        "convert",
        packedModel,
        "-o",
        outfile,
        "--json",
        "--token-embedding-type",
        "q8_0",
      ]);
      const report = JSON.parse(stdout) as ConvertReport;
      expect(report).toMatchObject({ outfile, warnings: [], typeHistogram: { Q8_0: 1, I2_S: 28 } });
      const { minus, zero, plus } = report.ternary;
      expect(minus + zero + plus).toBe(
        report.tensors
          .filter(({ type }) => type === "I2_S")
          .reduce((sum, t) => sum + t.shape.reduce((a, b) => a * b, 1), 0),
      );
    });
  });

  test("puts the file beside its source by default, under bitnet.cpp's name", async () => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint());
      expect((await runBitnet(["convert", source])).stdout).toBe(`${join(source, "ggml-model-i2_s.gguf")}\n`);
      renameSync(join(source, "ggml-model-i2_s.gguf"), join(folder, "a.gguf"));
      const second = await runBitnet(["convert", join(folder, "a.gguf"), "--outtype", "f16"]);
      expect(second.stdout).toBe(`${join(folder, "a-f16.gguf")}\n`);
    });
  });

  test("says calmly that master weights are rounded, and warns where --force makes it a loss", async () => {
    await withFolder(async (folder) => {
      const says = { quantization_config: { quant_method: "bitnet", linear_class: "bitlinear" } };
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint({ weights: "master", config: says }));
      const { status, stderr } = await runBitnet(["convert", source]);
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(stderr).toMatch(/^\d+ matrices of master weights rounded to ternary, as the model itself does$/m);
      expect(stderr).not.toMatch(/% off|note:/);
      const silent = writeCheckpoint(join(folder, "other"), makeCheckpoint({ weights: "master" }));
      const forced = await runBitnet(["convert", silent, "--force"]);
      expect(forced.stderr).toMatch(
        /^note: --force: \d+ matrices rounded to ternary weights, \d+ % off on average: useless/m,
      );
    });
  });

  test("--quiet says nothing but errors", async () => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint());
      const { status, stdout, stderr } = await runBitnet(["convert", source, "--quiet", "--use-temp-file"]);
      expect({ status, stdout, stderr }).toEqual({
        status: 0,
        stdout: `${join(source, "ggml-model-i2_s.gguf")}\n`,
        stderr: "",
      });
    });
  });

  test.each(["convert", "dummy"])("%s answers every flag of the converters", async (command) => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint());
      const outfile = join(folder, "out.gguf");
      const flags = ["--use-temp-file", "--vocab-only", "-o", outfile];
      const { status, stderr } = await runBitnet([command, source, ...flags]);
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(stderr).toMatch(/note: --use-temp-file has no effect: it is not needed here\n0 tensors: metadata only\n/);
      for (const [flag, why] of [
        ["--bigendian", /little-endian only/],
        ["--awq-path=x", /no use for the scales of AWQ/],
        ["--ctx=2048", /config\.json/],
        ["--dump", /bitnet inspect/],
        ["--no-vocab", /--vocab-only/],
        ["--imatrix=x", /without an importance matrix/],
        ["--outtype=q4_k_m", /expected one of f32, .*i2_s/],
      ] as const) {
        expect(await runBitnet([command, source, flag])).toMatchObject({
          status: 2,
          stderr: expect.stringMatching(why),
        });
      }
    });
  });

  test("no file of the source is overwritten", async () => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint());
      const before = readFileSync(join(source, "model.safetensors"));
      for (const [command, name] of [
        ["convert", "model.safetensors"],
        ["dummy", "model.safetensors"],
        ["dummy", "config.json"],
      ] as const) {
        const { status, stderr } = await runBitnet([command, source, "-o", join(source, name)]);
        expect({ status, stderr }).toMatchObject({
          status: 1,
          stderr: expect.stringMatching(/is a file of the source/),
        });
      }
      expect(readFileSync(join(source, "model.safetensors")).equals(before)).toBe(true);
    });
  });

  test("a failure is one line and exit status 1", async () => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "model"), makeCheckpoint());
      writeFileSync(join(source, "model.safetensors"), encodeSafetensors({}));
      const { status, stdout, stderr } = await runBitnet(["convert", source]);
      expect(status).toBe(1);
      expect(stdout).toBe("");
      expect(stderr).toMatch(/^error: .*no tensor for token_embd\.weight.*\n$/);
      expect(readdirSync(source).some((name) => name.endsWith(".gguf") || name.endsWith(".partial"))).toBe(false);
      expect((await runBitnet(["convert", join(folder, "nowhere")])).stderr).toContain("no such file or directory");
    });
  });
});
