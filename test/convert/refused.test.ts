// A GGUF file that cannot run is not converted either, and what is written can be opened as `run` would.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { convertCheckpoint, loadModel, openGguf } from "../../src/index.js";
import { withFolder } from "../support/checkpoints.js";
import { type GgufParts, ggufValue, readGguf, writeGgufParts } from "../support/edit-gguf.js";
import { tinyModel } from "../support/fixtures.js";

const good = readGguf(tinyModel);

function withKeys(changed: Record<string, Buffer | undefined>): GgufParts {
  const entries = Object.entries(changed).filter((entry): entry is [string, Buffer] => entry[1] !== undefined);
  const kept = [...good.metadata].filter(([key]) => !(key in changed));
  return { ...good, metadata: new Map([...kept, ...entries]) };
}

function withTensor(name: string, data: Buffer, shape = [data.length / 4]): GgufParts {
  const tensors = good.tensors.filter((tensor) => tensor.name !== name);
  return { ...good, tensors: [...tensors, { name, shape, type: 0, data }] };
}

function floats(n: number, value: number): Buffer {
  return Buffer.from(new Float32Array(n).fill(value).buffer);
}

const arch = "bitnet-b1.58";
const refused: [what: string, parts: GgufParts, message: RegExp][] = [
  [
    "no context length",
    withKeys({ [`${arch}.context_length`]: undefined }),
    /"bitnet-b1.58.context_length" is missing/,
  ],
  ["no architecture", withKeys({ "general.architecture": undefined }), /"general.architecture" is missing/],
  ["an unknown one", withKeys({ "general.architecture": ggufValue.text("mamba") }), /'mamba' is not supported/],
  ["no merges", withKeys({ "tokenizer.ggml.merges": undefined }), /merges/],
  ["no tokenizer", withKeys({ "tokenizer.ggml.model": undefined }), /"tokenizer.ggml.model" is missing/],
  ["an unknown pre-tokenizer", withKeys({ "tokenizer.ggml.pre": ggufValue.text("x") }), /--tokenizer-pre/],
  ["a wrong head_count_kv", withKeys({ [`${arch}.attention.head_count_kv`]: ggufValue.u32(3) }), /head_count_kv/],
  [
    "layers of different shape",
    withKeys({ [`${arch}.feed_forward_length`]: ggufValue.u32s([768, 768, 512, 768]) }),
    /512 in layer 2/,
  ],
  ["a key that nobody knows", withKeys({ [`${arch}.expert_count`]: ggufValue.u32(8) }), /expert_count/],
  ["a tensor too many", withTensor("blk.0.attn_q_norm.weight", floats(64, 1)), /attn_q_norm.weight is none that/],
  ["a tensor too few", { ...good, tensors: good.tensors.slice(0, -1) }, /is missing/],
  ["a norm of another size", withTensor("output_norm.weight", floats(255, 1)), /output_norm.weight has shape/],
  [
    "a norm that is no number",
    withTensor("blk.2.ffn_norm.weight", floats(256, Number.NaN)),
    /blk.2.ffn_norm.weight: row 0 holds NaN/,
  ],
  [
    "an infinite bias",
    withTensor("blk.2.attn_q.bias", floats(256, Infinity)),
    /blk.2.attn_q.bias: row 0 holds NaN or inf/,
  ],
  [
    "a scale that is no number",
    withTensor("blk.1.ffn_up.scale", floats(1, Number.NaN)),
    /blk.1.ffn_up.scale holds a value/,
  ],
];

describe("a GGUF file with", () => {
  test.each(refused)("%s is refused by name, and nothing is written", async (_, parts, message) => {
    await withFolder(async (folder) => {
      const [source, outfile] = [join(folder, "in.gguf"), join(folder, "out.gguf")];
      writeGgufParts(source, parts);
      for (const outtype of ["f16", "i2_s"]) {
        await expect(convertCheckpoint({ source, outfile, outtype })).rejects.toMatchObject({
          name: "BitnetError",
          message: expect.stringMatching(message),
        });
      }
      expect(readdirSync(folder)).toEqual(["in.gguf"]);
      await expect(loadModel(source)).rejects.toMatchObject({ name: "BitnetError" });
    });
  });

  test("a vocabulary alone is converted as one", async () => {
    await withFolder(async (folder) => {
      const [source, outfile] = [join(folder, "in.gguf"), join(folder, "out.gguf")];
      writeGgufParts(source, {
        metadata: new Map([...good.metadata].filter(([key]) => !key.startsWith(arch))),
        tensors: [],
      });
      await convertCheckpoint({ source, outfile, outtype: "f16" });
      expect(openGguf(outfile).tensors()).toEqual([]);
      await convertCheckpoint({ source: tinyModel, outfile, outtype: "f16", vocabOnly: true });
      expect(openGguf(outfile).tensors()).toEqual([]);
    });
  });

  test("a pre-tokenizer that is told is written with it", async () => {
    await withFolder(async (folder) => {
      const [source, outfile] = [join(folder, "in.gguf"), join(folder, "out.gguf")];
      writeGgufParts(source, withKeys({ "tokenizer.ggml.pre": ggufValue.text("x") }));
      await convertCheckpoint({ source, outfile, outtype: "tq1_0", tokenizerPre: "gpt-2" });
      await using model = await loadModel(outfile);
      expect(model.tokenizer.info.pre).toBe("gpt-2");
      expect(existsSync(`${outfile}.partial`)).toBe(false);
    });
  });
});
