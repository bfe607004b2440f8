// A model file that differs from a good one in any tensor or key gives the same logits or an error, never other ones.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BitnetError, loadModel } from "../../src/index.js";
import { withFolder } from "../support/checkpoints.js";
import { type GgufParts, ggufValue, joinGguf, readGguf, writeGgufParts } from "../support/edit-gguf.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

const good = readGguf(tinyModel);
const prompt = [1, 45, 300, 7, 1999, 12];

async function logitsOf(path: string): Promise<Buffer> {
  await using model = await loadModel(path, { threads: 1 });
  await using session = model.createSession({ contextSize: 16 });
  await session.prefill(prompt);
  return Buffer.from(session.logits().buffer);
}

let expected: Buffer;
let folder: string;
let done: () => void;
beforeAll(async () => {
  expected = await logitsOf(tinyModel);
  await new Promise<void>((ready) => {
    void withFolder((made) => {
      folder = made;
      ready();
      return new Promise<void>((resolve) => {
        done = resolve;
      });
    });
  });
});
afterAll(() => done());

/** "same", or the message of the error; anything else fails. */
async function outcomeOf(parts: GgufParts): Promise<string> {
  const path = join(folder, "changed.gguf");
  writeGgufParts(path, parts);
  try {
    expect((await logitsOf(path)).equals(expected)).toBe(true);
    return "same";
  } catch (error) {
    if (!(error instanceof BitnetError)) {
      throw error;
    }
    expect(error.message).toContain(path);
    return error.message;
  }
}

function withKey(key: string, value: Buffer): GgufParts {
  return { ...good, metadata: new Map([...good.metadata, [key, value]]) };
}

describe("a changed model file", () => {
  test("written again as it is gives the same logits", async () => {
    expect(await outcomeOf(good)).toBe("same");
    expect(joinGguf(good).length).toBe(joinGguf(readGguf(join(folder, "changed.gguf"))).length);
  });

  test("a tensor taken away is missing", async () => {
    for (const { name } of good.tensors) {
      const tensors = good.tensors.filter((tensor) => tensor.name !== name);
      expect(await outcomeOf({ ...good, tensors })).toContain(`tensor ${name} is missing`);
    }
  });

  test("a tensor under another name is missed, or refused under that name", async () => {
    for (const name of new Set(good.tensors.map((tensor) => tensor.name.replace(/^blk\.\d+/, "blk.0")))) {
      for (const other of [`${name}.x`, name.replace("weight", "bias"), name.replace("blk.0", "blk.4"), `x.${name}`]) {
        if (other !== name) {
          const tensors = good.tensors.map((tensor) => (tensor.name === name ? { ...tensor, name: other } : tensor));
          expect(await outcomeOf({ ...good, tensors })).toMatch(/is missing$/);
        }
      }
    }
  });

  test("a tensor too many is refused by its name", async () => {
    const layer = ["attn_q_norm.weight", "attn_k_norm.weight", "post_ffw_norm.weight", "attn_norm.bias", "ssm_a"];
    const experts = ["ffn_gate_inp.weight", "ffn_up_exps.weight", "attn_qkv.weight", "attn_sinks.weight"];
    const top = ["output.weight", "output.bias", "token_embd.bias", "rope_freqs.weight", "blk.4.attn_norm.weight", "x"];
    const data = Buffer.from(new Float32Array(256).fill(1).buffer);
    for (const name of [...[...layer, ...experts].map((end) => `blk.1.${end}`), ...top]) {
      const tensors = [...good.tensors, { name, shape: [256], type: 0, data }];
      expect(await outcomeOf({ ...good, tensors })).toContain(`tensor ${name} is none that`);
    }
  });

  test("a number that is another one changes no logits, or is refused", async () => {
    const outcomes: Record<string, string[]> = {};
    for (const [key, bytes] of good.metadata) {
      if (bytes.readUInt32LE() === 4) {
        const value = bytes.readUInt32LE(4);
        const others = [0, 1, value - 1, value + 1, value * 2, Math.floor(value / 2), 2 ** 31, 2 ** 32 - 1];
        for (const other of others.filter((n) => n >= 0 && n < 2 ** 32 && n !== value)) {
          outcomes[key] = [...(outcomes[key] ?? []), await outcomeOf(withKey(key, ggufValue.u32(other)))];
        }
      }
    }
    expect(Object.keys(outcomes)).toContain("bitnet-b1.58.attention.head_count");
    for (const key of ["block_count", "embedding_length", "feed_forward_length", "attention.head_count"]) {
      expect(outcomes[`bitnet-b1.58.${key}`]).not.toContain("same");
    }
    expect(new Set(outcomes["general.file_type"])).toEqual(new Set(["same"]));
  });

  test("a key of another type than its own changes no logits, or is refused", async () => {
    const others = [ggufValue.text("x"), ggufValue.texts(["a"]), ggufValue.u64(2n ** 63n), ggufValue.f64(1.5)];
    for (const [key, bytes] of good.metadata) {
      const isFloat = bytes.readUInt32LE() === 6; // which another float may replace
      for (const value of isFloat ? others.slice(0, -1) : others) {
        await outcomeOf(withKey(key, value));
      }
    }
  });

  test("a key of the architecture that nobody knows is refused by its name", async () => {
    for (const key of [
      "residual_scales",
      "attention.kv_lora_rank",
      "expert_gating_func",
      "rope.scaling.yarn_beta_fast",
    ]) {
      expect(await outcomeOf(withKey(`bitnet-b1.58.${key}`, ggufValue.f32(1)))).toContain(
        `key bitnet-b1.58.${key} is not known`,
      );
    }
    expect(await outcomeOf(withKey("somebody.else", ggufValue.f32(1)))).toBe("same");
  });
});

describe("a special token beyond the vocabulary", () => {
  const ids = ["bos", "eos", "eot", "padding", "unknown"].map((name) => `tokenizer.ggml.${name}_token_id`);

  test("is a warning of the model and of the tokenizer", async () => {
    const path = join(folder, "ids.gguf");
    for (const key of ids) {
      writeGgufParts(path, withKey(key, ggufValue.u32(2048)));
      await using model = await loadModel(path);
      expect(model.info.warnings).toEqual([
        expect.stringContaining(`${key} is 2048, but the vocabulary has 2048 tokens`),
      ]);
      expect(model.tokenizer.info.warnings).toEqual(model.info.warnings);
    }
    for (const none of [ggufValue.i32(-1), ggufValue.u32(2 ** 32 - 1)]) {
      writeGgufParts(path, withKey("tokenizer.ggml.padding_token_id", none));
      await using model = await loadModel(path);
      expect(model.info.warnings).toEqual([]);
    }
  });

  test("is a note on stderr of the commands that use it", async () => {
    const path = join(folder, "bos.gguf");
    writeFileSync(path, joinGguf(withKey("tokenizer.ggml.bos_token_id", ggufValue.u32(5000))));
    for (const args of [
      ["run", "-m", path, "-p", "a", "-n", "1"],
      ["tokenize", "-m", path, "a"],
      ["logits", "-m", path, "-p", "a"],
    ]) {
      const { status, stderr } = await runBitnet(args);
      expect(stderr).toContain("tokenizer.ggml.bos_token_id is 5000");
      expect(status).toBe(0);
    }
  });
});
