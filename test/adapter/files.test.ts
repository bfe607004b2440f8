// What is read of an adapter's file, what is refused, and what is written.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openAdapter } from "../../src/adapter/open.js";
import { convertAdapter, writeAdapter } from "../../src/adapter/write.js";
import { readWritten } from "../../src/adapter/written.js";
import { loadModel } from "../../src/engine/model.js";
import { BitnetError } from "../../src/system/errors.js";
import {
  type Config,
  convertBase,
  copyGolden,
  families,
  readTensors,
  renamed,
  trainFixture,
  writeChanged,
} from "../support/adapters.js";
import { createRandom, encodeSafetensors, float32, frameSafetensors } from "../support/checkpoints.js";
import { mutateBytes, mutateJson } from "../support/mutate.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-test-"));
afterAll(() => rmSync(folder, { recursive: true }));
let count = 0;
const place = () => join(folder, String(count++));

const bases = {
  bitnet: { architecture: "bitnet-b1.58", headDim: 16 },
  llama: { architecture: "llama", headDim: 8 },
} as const;

describe("names of tensors", () => {
  test.each([
    ["without base_model.model.", (name: string) => name.replace("base_model.model.", "")],
    ["without model.", (name: string) => name.replace("base_model.model.model.", "")],
    ["with .default", (name: string) => name.replace(".weight", ".default.weight")],
  ])("%s mean the same", async (_, rename) => {
    const { matrices } = await openAdapter(writeChanged(place(), { tensors: renamed(rename) }));
    expect(matrices).toHaveLength(14);
    expect(matrices.slice(0, 2).map(({ layer, name, rank, scale }) => [layer, name, rank, scale])).toEqual([
      [0, "attn_q", 8, 2],
      [0, "attn_k", 8, 2],
    ]);
  });

  const q = "base_model.model.model.layers.0.self_attn.q_proj";
  test.each([
    [`${q}.lora_magnitude_vector.weight`, /lora_magnitude_vector.*DoRA/],
    ["base_model.model.lm_head.lora_A.weight", /lm_head.*the head are not supported/],
    ["base_model.model.model.embed_tokens.lora_embedding_A", /embed_tokens.*embeddings are not supported/],
    ["base_model.model.model.layers.0.input_layernorm.lora_A.weight", /norms cannot be adapted/],
    [`${q}.lora_B.bias`, /biases are not supported/],
    [`${q}.modules_to_save.weight`, /trained whole/],
    ["base_model.model.model.layers.0.mlp.experts.lora_A.weight", /not a matrix that can be adapted: q_proj, k_proj/],
  ])("%s is refused by name", async (name, message) => {
    const changed = writeChanged(place(), { tensors: (all) => ({ ...all, [name]: float32([1, 1], () => 1) }) });
    await expect(openAdapter(changed)).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringMatching(message),
    });
  });
});

describe("the configuration", () => {
  test.each<[Config, RegExp]>([
    [{ peft_type: "IA3" }, /peft_type is "IA3"; only "LORA"/],
    [{ use_dora: true }, /use_dora is true: DoRA/],
    [{ bias: "all" }, /bias is "all"; only "none"/],
    [{ modules_to_save: ["lm_head"] }, /modules_to_save is \["lm_head"\]/],
    [{ trainable_token_indices: [1] }, /trainable_token_indices/],
    [{ rank_pattern: { "(a+)+$": 3 } }, /expression "\(a\+\)\+\$"; plain names alone/],
    [{ lora_alpha: "16" }, /lora_alpha: a number expected, got 16/],
    [{ use_rslora: "yes" }, /use_rslora: true or false expected, got yes/],
    [{ r: 4 }, /q_proj has rank 8, by adapter_config.json it is 4/],
  ])("%j is refused", async (config, message) => {
    await expect(openAdapter(writeChanged(place(), { config }))).rejects.toThrow(message);
  });

  test("rsLoRA divides by the root of the rank, and patterns count for modules that end so", async () => {
    const config = {
      use_rslora: true,
      r: 3,
      rank_pattern: { "self_attn.q_proj": 8, k_proj: 8, v_proj: 8, o_proj: 8, gate_proj: 8, up_proj: 8, down_proj: 8 },
      alpha_pattern: { "layers.1.self_attn.q_proj": 4, "^model.layers.0.mlp.up_proj": 2 },
    };
    const { matrices, origin } = await openAdapter(writeChanged(place(), { config }));
    const scaleOf = (layer: number, name: string) =>
      matrices.find((matrix) => matrix.layer === layer && matrix.name === name)?.scale;
    expect(origin.rslora).toBe(true);
    expect(scaleOf(0, "attn_q")).toBe(16 / Math.sqrt(8));
    expect(scaleOf(1, "attn_q")).toBe(4 / Math.sqrt(8));
    expect(scaleOf(0, "ffn_up")).toBe(2 / Math.sqrt(8));
    expect(scaleOf(1, "ffn_up")).toBe(16 / Math.sqrt(8));
  });

  test("may stand in the metadata of the safetensors file, and must be somewhere", async () => {
    const all = readTensors(trainFixture("bitnet", "adapter", "adapter_model.safetensors"));
    const bytes = encodeSafetensors(all);
    const length = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, unknown>;
    const config = readFileSync(trainFixture("bitnet", "adapter", "adapter_config.json"), "utf8");
    header.__metadata__ = { adapter_config: config };
    const path = `${place()}.safetensors`;
    writeFileSync(path, frameSafetensors(JSON.stringify(header), [bytes.subarray(8 + length)]));
    expect((await openAdapter(path)).matrices).toHaveLength(14);
    writeFileSync(path, bytes);
    await expect(openAdapter(path)).rejects.toThrow(/there is no adapter_config.json beside it/);
  });

  test("of an adapter that has changed its base is read with a warning", async () => {
    const { warnings } = await openAdapter(writeChanged(place(), { config: { init_lora_weights: "pissa" } }));
    expect(warnings).toEqual([expect.stringMatching(/"pissa", which changes the base/)]);
  });
});

describe("hostile files", () => {
  const goldenFile = (name: string) => readFileSync(trainFixture("bitnet", "adapter", name));
  const asJson = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString("utf8")) as unknown;

  /** Bytes anywhere, most of them where the header is. */
  const damaged = (name: string, random: () => number) => {
    const whole = goldenFile(name);
    const head = random() < 0.8 ? 4000 : whole.length;
    return Buffer.concat([mutateBytes(whole.subarray(0, head), random), whole.subarray(head)]);
  };
  const changes: Record<string, [file: string, change: (random: () => number) => Buffer]> = {
    "any bytes of a safetensors file": [
      "adapter_model.safetensors",
      (random) => damaged("adapter_model.safetensors", random),
    ],
    "any bytes of a GGUF file": ["adapter.gguf", (random) => damaged("adapter.gguf", random)],
    "any value of a safetensors header": [
      "adapter_model.safetensors",
      (random) => {
        const whole = goldenFile("adapter_model.safetensors");
        const data = 8 + Number(whole.readBigUInt64LE(0));
        const header = mutateJson(asJson(whole.subarray(8, data)), random);
        return frameSafetensors(JSON.stringify(header), [whole.subarray(data)]);
      },
    ],
    "any value of adapter_config.json": [
      "adapter_config.json",
      (random) => Buffer.from(JSON.stringify(mutateJson(asJson(goldenFile("adapter_config.json")), random))),
    ],
    "any bytes of adapter_config.json": [
      "adapter_config.json",
      (random) => mutateBytes(goldenFile("adapter_config.json"), random),
    ],
  };

  test.each(Object.entries(changes))(
    "%s may be changed: it is used or refused, with its name",
    async (_, [file, change]) => {
      const random = createRandom(7);
      const home = copyGolden("bitnet", place());
      const path = join(home, file);
      const opened = file.endsWith(".gguf") ? path : home;
      await using model = await loadModel(await convertBase("bitnet", home), { threads: 1 });
      const used = { well: 0, not: 0 };
      for (let i = 0; i < 150; i++) {
        writeFileSync(path, change(random));
        try {
          const { matrices } = await openAdapter(opened);
          expect(matrices.length).toBeGreaterThan(0);
          (await model.loadAdapter(opened)).close();
          used.well++;
        } catch (error) {
          expect(error).toBeInstanceOf(BitnetError);
          const { code, message } = error as BitnetError;
          expect(code).toMatch(/^(BAD_FILE|UNSUPPORTED|NOT_FOUND|USAGE)$/); // USAGE: for another model
          expect(message).toContain(home);
          used.not++;
        }
      }
      expect(Math.min(used.well, used.not)).toBeGreaterThan(0); // both ways are gone
    },
  );

  test.each<[string, number[], number[], RegExp]>([
    ["another rank", [8, 64], [64, 4], /has rank 8, .* has rank 4/],
    ["a huge rank", [5000, 1], [1, 5000], /has rank 5000; 1 to 4096 expected/],
    ["no matrix", [64], [64, 8], /shape \[64\]; a matrix expected/],
    ["nothing", [0, 64], [64, 0], /a matrix expected/],
  ])("%s is refused", async (_, a, b, message) => {
    const q = "base_model.model.model.layers.0.self_attn.q_proj";
    const tensors = () => ({
      [`${q}.lora_A.weight`]: float32(a, () => 0),
      [`${q}.lora_B.weight`]: float32(b, () => 0),
    });
    await expect(openAdapter(writeChanged(place(), { tensors }))).rejects.toThrow(message);
  });

  test("a half of a pair, and one twice, are told by name", async () => {
    const q = "base_model.model.model.layers.0.self_attn.q_proj.lora_A";
    const without = writeChanged(place(), { tensors: ({ [`${q}.weight`]: _, ...rest }) => rest });
    await expect(openAdapter(without)).rejects.toThrow(/q_proj.lora_B.weight has no matrix A beside it/);
    const twice = writeChanged(place(), {
      tensors: (all) => ({ ...all, [`${q}.default.weight`]: float32([8, 64], () => 0) }),
    });
    await expect(openAdapter(twice)).rejects.toThrow(/lora_A.weight and .*default.weight are the same matrix/);
  });

  test("a folder that is no adapter says what one is", async () => {
    await expect(openAdapter(folder)).rejects.toMatchObject({ code: "NOT_FOUND", hint: expect.stringMatching(/PEFT/) });
  });
});

describe.each(families)("writing the golden adapter of $name", ({ name }) => {
  const golden = (file: string) => trainFixture(name, "adapter", file);

  test("gives PEFT's files again, number for number", async () => {
    const target = place();
    const written = await readWritten(await openAdapter(trainFixture(name, "adapter")));
    await writeAdapter(target, written, { form: "peft", readme: "# An adapter\n" });
    expect(readTensors(join(target, "adapter_model.safetensors"))).toEqual(
      readTensors(golden("adapter_model.safetensors")),
    );
    expect(readFileSync(join(target, "adapter_config.json"), "utf8").trim()).toBe(
      readFileSync(golden("adapter_config.json"), "utf8").trim(),
    );
    expect(readFileSync(join(target, "README.md"), "utf8")).toBe("# An adapter\n");
  });

  test("gives llama.cpp's file, with the rows of q and k in the order of the base", async () => {
    const target = `${place()}.gguf`;
    expect(await convertAdapter(trainFixture(name, "adapter"), target, { base: bases[name] })).toBe("gguf");
    const [ours, theirs] = [await openAdapter(target), await openAdapter(golden("adapter.gguf"))];
    const bytesOf = ({ path, matrices }: typeof ours) => {
      const bytes = readFileSync(path);
      return matrices.map(({ layer, name: matrix, scale, a, b }) => ({
        ...{ layer, matrix, scale },
        parts: [a, b].map(({ offset, bytes: n, rows, cols }) => [rows, cols, bytes.subarray(offset, offset + n)]),
      }));
    };
    expect(bytesOf(ours)).toEqual(bytesOf(theirs));
  });

  test("comes back from GGUF as it was", async () => {
    const target = place();
    await convertAdapter(golden("adapter.gguf"), target, { base: bases[name] });
    expect(readTensors(join(target, "adapter_model.safetensors"))).toEqual(
      readTensors(golden("adapter_model.safetensors")),
    );
  });
});

test("rsLoRA and alphas that differ become one alpha in GGUF, with the same scales", async () => {
  const config = { use_rslora: true, alpha_pattern: { q_proj: 4 } };
  const source = writeChanged(place(), { config });
  const target = `${place()}.gguf`;
  await convertAdapter(source, target, { base: bases.bitnet });
  const [before, after] = [await openAdapter(source), await openAdapter(target)];
  const [first, second] = [before, after].map((file) => readWritten(file));
  const product = async (file: typeof before, written: ReturnType<typeof readWritten> | undefined) =>
    ((await written)?.matrices ?? []).map(({ b }, i) => (b[5] ?? 0) * (file.matrices[i]?.scale ?? 0));
  const expected = await product(before, first);
  for (const [i, value] of (await product(after, second)).entries()) {
    expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 6);
  }
  await expect(convertAdapter(trainFixture("llama", "adapter", "adapter.gguf"), place())).rejects.toThrow(
    /q and k cannot be put in order without the base/,
  );
});

test("bf16 and f16 round half to even, and read back as they were written", async () => {
  const values = Float32Array.from([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -11, 65504, 3 * 2 ** -25, -0.1, 0]);
  const written = {
    matrices: [{ layer: 0, name: "attn_q", rank: 1, alpha: 1, rows: 8, cols: 8, a: values, b: values }],
    origin: {},
  };
  for (const [dtype, expected] of [
    ["bf16", [1, 1, 1 + 2 ** -6, 1, 65536, 3 * 2 ** -25, -0.10009765625, 0]],
    ["f16", [1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1, 65504, 2 ** -23, -0.0999755859375, 0]],
  ] as const) {
    const target = place();
    await writeAdapter(target, written, { form: "peft", dtype });
    const read = await readWritten(await openAdapter(target));
    expect([...(read.matrices[0]?.a ?? [])]).toEqual(expected);
  }
  const wrong = written.matrices.map((matrix) => ({ ...matrix, a: Float32Array.of(1) }));
  await expect(writeAdapter(place(), { matrices: wrong, origin: {} }, { form: "peft" })).rejects.toThrow(
    /do not fit its numbers/,
  );
});
