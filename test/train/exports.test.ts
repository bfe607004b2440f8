import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openAdapter } from "../../src/adapter/open.js";
import { readWritten } from "../../src/adapter/written.js";
import { openCheckpoint, readScalar } from "../../src/checkpoint/checkpoint.js";
import { fromBf16, toBf16 } from "../../src/checkpoint/floats.js";
import { inspectCheckpoint } from "../../src/checkpoint/inspect.js";
import type { CheckpointTensor } from "../../src/checkpoint/safetensors.js";
import { convertCheckpoint } from "../../src/convert/convert.js";
import { loadModel } from "../../src/engine/model.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { inspectGguf } from "../../src/gguf/inspect.js";
import { type AdapterShape, openTrainable, type Trainable } from "../../src/train/core/trainable.js";
import { exportAdapter } from "../../src/train/export-adapter.js";
import { exportModel, type MasterWeights } from "../../src/train/export-model.js";
import { countChanges, roundMaster, ternarize } from "../../src/train/ternary.js";
import { findFixture, root } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-exports-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const families = ["bitnet", "llama"] as const;
type Family = (typeof families)[number];
const pathOf = (family: Family, file = "") => join(root, "test/fixtures/train", family, file);

async function openWhole(source: string): Promise<Trainable> {
  return await openTrainable({ checkpoint: source }, { mode: "full", seed: 1, maxLength: 8, threads: 2 });
}

async function openAdapted(
  source: { checkpoint: string } | { gguf: string },
  family: Family,
  shape: Partial<AdapterShape> = {},
): Promise<{ trainable: Trainable; shape: AdapterShape }> {
  const rank = family === "bitnet" ? 8 : 4;
  const adapter = { rank, alpha: 2 * rank, ...shape };
  const trainable = await openTrainable(source, { mode: "lora", adapter, seed: 1, maxLength: 8, threads: 2 });
  for (const { layer, name, a, b } of (await readWritten(await openAdapter(pathOf(family, "adapter")))).matrices) {
    const module = trainable.parameters.find(
      ({ name: of }) => of.includes(`layers.${layer}.`) && of.includes(hf[name] ?? "?"),
    );
    const base = module?.name.replace(/\.lora_[AB]$/, "") ?? "";
    if (module !== undefined) {
      trainable.write(`${base}.lora_A`, a);
      trainable.write(`${base}.lora_B`, b);
    }
  }
  return { trainable, shape: adapter };
}

const hf: Record<string, string> = {
  attn_q: "q_proj",
  attn_k: "k_proj",
  attn_v: "v_proj",
  attn_output: "o_proj",
  ffn_gate: "gate_proj",
  ffn_up: "up_proj",
  ffn_down: "down_proj",
};

function bytesOf({ file, offset, bytes }: Pick<CheckpointTensor, "file" | "offset" | "bytes">): Buffer {
  return readFileSync(file).subarray(offset, offset + bytes);
}

/** The data of every tensor of a GGUF file. */
function tensorsOf(path: string): Map<string, string> {
  const gguf = openGguf(path);
  return new Map(gguf.tensors().map((tensor) => [tensor.name, bytesOf({ ...tensor, file: path }).toString("base64")]));
}

async function convert(source: string, name: string): Promise<string> {
  const outfile = join(folder, name);
  await convertCheckpoint({ source, outfile, outtype: "i2_s" });
  return outfile;
}

describe.each(families)("a %s model that was trained whole", (family) => {
  test("has the ternary weights of its training in all three forms", async () => {
    const trainable = await openWhole(pathOf(family));
    const q = "model.layers.0.self_attn.q_proj.weight";
    trainable.write(
      q,
      trainable.read(q).map((value, i) => value * (1 + 0.003 * Math.sin(i))),
    ); // no longer bf16
    const out = await exportModel(join(folder, `${family}-out`), trainable, { source: pathOf(family) });
    expect(readdirSync(out.folder)).toEqual(["master", "model.gguf", "packed"]);
    expect(out.matrices).toEqual(trainable.matrices().map((matrix) => expect.objectContaining(matrix)));
    const [master, packed] = [out.master ?? "", out.packed ?? ""];
    const again = await openWhole(master);
    expect(counts(again)).toEqual(counts(trainable));
    trainable.close();
    again.close();
    expect((await inspectCheckpoint(master)).weights).toBe("master");
    expect((await inspectCheckpoint(packed)).weights).toBe("packed");
    expect((await inspectCheckpoint(packed)).parameters).toBe((await inspectCheckpoint(master)).parameters);
    expect(inspectGguf(openGguf(out.gguf ?? "")).weights).toEqual({ ternary: ["I2_S"], floats: [] });
    const wanted = tensorsOf(out.gguf ?? "");
    expect(linesThatDiffer(tensorsOf(await convert(packed, `${family}-packed.gguf`)), wanted)).toEqual([]);
    const config = (form: string) => JSON.parse(readFileSync(join(form, "config.json"), "utf8"));
    const quantization = { quant_method: "bitnet", linear_class: "autobitlinear" };
    expect(config(master).quantization_config).toEqual({ ...quantization, quantization_mode: "online" });
    expect(config(packed).quantization_config).toEqual({ ...quantization, quantization_mode: "offline" });
    expect(config(master).tie_word_embeddings).toBe(family === "bitnet");
    const model = await loadModel(out.gguf ?? "");
    expect(model.info.architecture).toBe(family === "bitnet" ? "bitnet-b1.58" : "llama");
    model.close();
  });

  test("has the weights of a conversion if nothing was trained", async () => {
    const trainable = await openWhole(pathOf(family));
    const out = await exportModel(join(folder, `${family}-same`), trainable, { source: pathOf(family) });
    trainable.close();
    expect(out.nudged).toBe(0);
    expect(tensorsOf(out.gguf ?? "")).toEqual(tensorsOf(await convert(pathOf(family), `${family}.gguf`)));
    const [was, is] = await Promise.all([openCheckpoint(pathOf(family)), openCheckpoint(out.master ?? "")]);
    for (const [name, tensor] of is.tensors) {
      expect(bytesOf(tensor).equals(bytesOf(was.tensors.get(name) ?? tensor)), name).toBe(true);
    }
    expect([...is.tensors.keys()].sort()).toEqual([...was.tensors.keys()].sort());
  });
});

/** What a reader of the master sees: it rounds anew, so scales differ by what bf16 leaves. */
function counts(trainable: Trainable) {
  return trainable.matrices().map(({ name, minus, zero, plus }) => ({ name, minus, zero, plus }));
}

function linesThatDiffer(found: Map<string, string>, wanted: Map<string, string>): string[] {
  return [...wanted]
    .filter(
      ([name, data]) =>
        found.get(name) !== data && /attn_[qkvo]|ffn_(gate|up|down)/.test(name) && !name.includes("norm"),
    )
    .map(([name]) => name);
}

const [tinyMaster, tinyPacked] = [
  findFixture("tiny-bitnet", "tiny-bitnet-bf16"),
  findFixture("", "tiny-bitnet-packed") ?? findFixture("tiny-bitnet", "tiny-bitnet-packed"),
];

test.skipIf(tinyMaster === undefined)("a published pair of a master and its packed form is reproduced", async () => {
  const trainable = await openWhole(tinyMaster ?? "");
  const out = await exportModel(join(folder, "tiny"), trainable, { source: tinyMaster ?? "", forms: ["packed"] });
  trainable.close();
  expect(existsSync(join(out.folder, "master"))).toBe(false);
  const [is, was] = await Promise.all([openCheckpoint(out.packed ?? ""), openCheckpoint(tinyPacked ?? "")]);
  expect([...is.tensors.keys()].sort()).toEqual([...was.tensors.keys()].sort());
  for (const [name, tensor] of is.tensors) {
    const other = was.tensors.get(name) ?? tensor;
    if (name.endsWith("_scale")) {
      // Published scales are bf16.
      expect(fromBf16(toBf16(Float32Array.of(await readScalar(tensor))))[0]).toBe(await readScalar(other));
    } else {
      expect({ name, shape: tensor.shape, dtype: tensor.dtype }).toEqual({
        name,
        shape: other.shape,
        dtype: other.dtype,
      });
      expect(bytesOf(tensor).equals(bytesOf(other)), name).toBe(true);
    }
  }
});

describe("a master that is rounded to bf16", () => {
  const [rows, cols] = [512, 512];
  const values = gaussian(rows * cols);
  const { codes } = ternarize(values, cols);

  test("would have other ternary weights here and there", () => {
    const rounded = ternarize(fromBf16(toBf16(values)), cols).codes;
    const share = countChanges(codes, rounded) / codes.length;
    expect(share).toBeGreaterThan(1e-4);
    expect(share).toBeLessThan(1e-3);
  });

  test("keeps all of them by one step of bf16 where that happens", () => {
    const { halves, flips, nudged } = roundMaster(values, cols);
    expect(countChanges(codes, ternarize(fromBf16(halves), cols).codes)).toBe(0);
    expect(flips).toBeGreaterThan(0);
    expect(nudged).toBeGreaterThanOrEqual(flips);
    const nearest = toBf16(values);
    const steps = halves.map((half, i) => Math.abs(half - (nearest[i] ?? 0)));
    expect(steps.every((step) => step <= 1)).toBe(true);
    expect(steps.filter((step) => step > 0)).toHaveLength(nudged);
  });
});

/** Box and Muller, of a generator that is the same everywhere. */
function gaussian(n: number): Float32Array {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return Float32Array.from(
    { length: n },
    () => 0.02 * Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random()),
  );
}

test("weights that are not finite are refused by name, and nothing is written", async () => {
  const trainable = await openWhole(pathOf("llama"));
  const name = "model.layers.0.mlp.up_proj.weight";
  const values = trainable.read(name);
  values[5] = Number.NaN;
  const broken: MasterWeights = {
    parameters: trainable.parameters,
    read: (of) => (of === name ? values : trainable.read(of)),
  };
  const out = join(folder, "broken");
  await expect(exportModel(out, broken, { source: pathOf("llama") })).rejects.toMatchObject({
    code: "BAD_FILE",
    message: expect.stringContaining(`${name}: number 5 is NaN`),
  });
  expect(existsSync(out)).toBe(false);
  trainable.close();
});

describe.each(families)("an adapter of a %s model", (family) => {
  test("is a folder of PEFT and a GGUF file, both with the numbers that were trained", async () => {
    const gguf = await convert(pathOf(family), `${family}-base.gguf`);
    const { trainable, shape } = await openAdapted({ gguf }, family);
    const out = join(folder, `${family}-adapter`);
    const base = { path: gguf, name: "owner/base" };
    const made = await exportAdapter(out, trainable, { base, shape, card: { evalLoss: { before: 2, after: 1 } } });
    trainable.close();
    expect(readdirSync(out)).toEqual(["README.md", "adapter.gguf", "adapter_config.json", "adapter_model.safetensors"]);
    expect(made.files.map(({ path }) => path)).toEqual(readdirSync(out).map((name) => join(out, name)));
    expect(made.warnings).toEqual([]);
    const [ours, golden] = [await openAdapter(out), await openAdapter(pathOf(family, "adapter"))];
    expect((await readWritten(ours)).matrices).toEqual((await readWritten(golden)).matrices);
    const wanted = tensorsOf(pathOf(family, "adapter/adapter.gguf"));
    expect(tensorsOf(made.gguf)).toEqual(wanted);
    const config = JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ r: shape.rank, lora_alpha: shape.alpha, base_model_name_or_path: "owner/base" });
    const readme = readFileSync(join(out, "README.md"), "utf8");
    const model = await loadModel(gguf);
    expect(readme).toContain(model.baseHash());
    expect(readme).toContain("| evaluation loss, with the adapter | 1.0000 |");
    model.close();
  });
});

test("an adapter of a checkpoint has its tokenizer beside it, and replaces an earlier one", async () => {
  const out = join(folder, "again");
  const { trainable, shape } = await openAdapted({ checkpoint: pathOf("llama") }, "llama", {
    rank: 4,
    alpha: 7,
    rslora: true,
  });
  const base = { path: pathOf("llama") };
  const model = await loadModel(await convert(pathOf("llama"), "hashed.gguf"));
  const hash = model.baseHash();
  model.close();
  await exportAdapter(out, trainable, { base, shape });
  writeFileSync(join(out, "metrics.jsonl"), "");
  const before = (await openAdapter(out)).bytes;
  await exportAdapter(out, trainable, { base, shape, dtype: "bf16" });
  trainable.close();
  expect(readdirSync(out)).toContain("tokenizer.json");
  expect(readdirSync(out)).toContain("metrics.jsonl");
  expect(readdirSync(out)).not.toContain("base.gguf");
  const [peft, gguf] = [await openAdapter(out), await openAdapter(join(out, "adapter.gguf"))];
  expect(peft.bytes).toBe(before / 2);
  expect(peft.origin).toMatchObject({ rslora: true, baseHash: hash });
  for (const [i, { scale }] of gguf.matrices.entries()) {
    expect(scale).toBeCloseTo(peft.matrices[i]?.scale ?? 0, 5);
  }
});

test("a training without an adapter has none to write", async () => {
  const trainable = await openWhole(pathOf("llama"));
  const shape = { rank: 4, alpha: 8 };
  const options = { base: { path: pathOf("llama") }, shape };
  await expect(exportAdapter(join(folder, "none"), trainable, options)).rejects.toMatchObject({ code: "USAGE" });
  trainable.close();
});
