import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { convertCheckpoint } from "../../src/convert/convert.js";
import {
  openTrainable,
  planTraining,
  type Trainable,
  type TrainableOptions,
  type TrainableSource,
  type TrainRow,
} from "../../src/train/core/trainable.js";
import { root } from "../support/fixtures.js";

const fixture = (path: string) => join(root, "test/fixtures", path);
const folder = mkdtempSync(join(tmpdir(), "bitnet-train-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Golden {
  batch: { input_ids: number[][]; labels: number[][]; documents: number[][] };
  lr: number[];
  qat: { loss: number[]; grad_norm: number[] };
  lora: { loss: number[]; grad_norm: number[] };
  ternary: Record<string, { scale: number; sum: number; zeros: number }>;
}

const families = ["bitnet", "llama"] as const;
type Family = (typeof families)[number];
const pathOf = (family: Family, file = "") => fixture(join("train", family, file));
const goldenOf = (family: Family): Golden => JSON.parse(readFileSync(pathOf(family, "golden.json"), "utf8"));

function rowsOf({ batch }: Golden): TrainRow[] {
  return batch.input_ids.map((ids, i) => {
    const documents = batch.documents[i] ?? [];
    const begins = documents.flatMap((document, t) => (t === 0 || document !== documents[t - 1] ? [t] : []));
    return {
      ids: Int32Array.from(ids),
      labels: Int32Array.from(batch.labels[i] ?? []),
      documents: Int32Array.from(begins),
    };
  });
}

const labelsOf = (rows: TrainRow[]) =>
  rows.flatMap(({ labels }) => [...labels]).filter((label) => label !== -100).length;
const hyper = { weightDecay: 0.1, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, clip: 1 };

function optionsOf(family: Family, mode: "lora" | "full"): TrainableOptions {
  const rank = family === "bitnet" ? 8 : 4;
  const adapter = mode === "lora" ? { rank, alpha: 2 * rank } : undefined;
  return { mode, seed: 1, maxLength: 24, threads: 2, ...(adapter && { adapter }) };
}

/** Tensors of a safetensors file of f32. */
async function readFloats(path: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await openCheckpoint(path);
  return new Map(
    [...tensors.values()].map(({ name, file, offset, bytes }) => {
      const data = readFileSync(file);
      return [name, new Float32Array(data.buffer.slice(data.byteOffset + offset, data.byteOffset + offset + bytes))];
    }),
  );
}

async function writeAdapter(trainable: Trainable, family: Family): Promise<void> {
  for (const [name, values] of await readFloats(pathOf(family, "adapter"))) {
    trainable.write(name.replace("base_model.model.", "").replace(/\.weight$/, ""), values);
  }
}

async function lossesOfThreeSteps(
  trainable: Trainable,
  golden: Golden,
): Promise<{ losses: number[]; norms: number[] }> {
  const rows = rowsOf(golden);
  const [losses, norms]: number[][] = [[], []];
  for (const [step, lr] of golden.lr.entries()) {
    for (const row of rows) {
      await trainable.backward([row], { labels: labelsOf(rows), step });
    }
    const { lossSum, labels, gradNorm } = await trainable.step({ lr, ...hyper });
    losses?.push(lossSum / labels);
    norms?.push(gradNorm);
  }
  return { losses: losses ?? [], norms: norms ?? [] };
}

function expectClose(actual: number[], wanted: number[]): void {
  expect(actual).toHaveLength(wanted.length);
  for (const [i, value] of actual.entries()) {
    expect(Math.abs(value - (wanted[i] ?? 0))).toBeLessThan(1e-5);
  }
}

describe.each(families)("%s", (family) => {
  test("a checkpoint is trained whole with the golden losses", async () => {
    const trainable = await openTrainable({ checkpoint: pathOf(family) }, optionsOf(family, "full"));
    const { qat } = goldenOf(family);
    const { losses, norms } = await lossesOfThreeSteps(trainable, goldenOf(family));
    expectClose(losses, qat.loss);
    expectClose(
      norms.map((norm, i) => norm / (qat.grad_norm[i] ?? 0)),
      [1, 1, 1],
    );
    expect(trainable.optimizerSteps).toBe(3);
    trainable.close();
  });

  test("an adapter is trained beside a checkpoint with the golden losses, named as in checkpoints", async () => {
    const trainable = await openTrainable({ checkpoint: pathOf(family) }, optionsOf(family, "lora"));
    await writeAdapter(trainable, family);
    const { lora } = goldenOf(family);
    const { losses } = await lossesOfThreeSteps(trainable, goldenOf(family));
    expectClose(losses, lora.loss);
    const q = trainable.parameters.find(({ name }) => name === "model.layers.0.self_attn.q_proj.lora_B");
    expect(q).toMatchObject({ decays: true, shape: [trainable.info.embeddingLength, family === "bitnet" ? 8 : 4] });
    trainable.close();
  });

  test("its matrices have the golden scales and counts", async () => {
    for (const mode of ["full", "lora"] as const) {
      const trainable = await openTrainable({ checkpoint: pathOf(family) }, optionsOf(family, mode));
      const { ternary } = goldenOf(family);
      expect(trainable.matrices().map(({ name }) => name)).toEqual(Object.keys(ternary));
      for (const { name, scale, minus, zero, plus } of trainable.matrices()) {
        expect({ scale, sum: plus - minus, zeros: zero }).toEqual({
          ...ternary[name],
          scale: Math.fround(ternary[name]?.scale ?? 0),
        });
      }
      trainable.close();
    }
  });

  test("beside a GGUF file the losses are those beside its checkpoint, and so are the adapter's values", async () => {
    const lossOf = async (source: TrainableSource) => {
      const trainable = await openTrainable(source, optionsOf(family, "lora"));
      await writeAdapter(trainable, family);
      const { lossSum } = await trainable.evaluate(rowsOf(goldenOf(family)));
      const values = trainable.read("model.layers.0.self_attn.k_proj.lora_B");
      trainable.close();
      return { lossSum, values };
    };
    const outfile = join(folder, `${family}.gguf`);
    const types = { outtype: "i2_s", embeddingType: "f32", outputType: "f32" };
    await convertCheckpoint({ source: pathOf(family), outfile, ...types });
    expect(await lossOf({ gguf: outfile })).toEqual(await lossOf({ checkpoint: pathOf(family) }));
  });
});

test("the same weights in files of other types give the same losses", async () => {
  const row: TrainRow = {
    ids: Int32Array.from({ length: 40 }, (_, i) => 100 + 17 * i),
    labels: Int32Array.from({ length: 40 }, (_, i) => (i % 20 === 0 ? -100 : 117 + 17 * i)),
    documents: Int32Array.of(0, 20),
  };
  const lossOf = async (name: string, layers?: number[], kernelConfig?: string) => {
    const adapter = { rank: 4, alpha: 8, layers };
    const options: TrainableOptions = { mode: "lora", adapter, seed: 1, maxLength: 40 };
    const trainable = await openTrainable({ gguf: fixture(`golden/${name}.gguf`), kernelConfig }, options);
    const { lossSum } = await trainable.backward([row], { labels: 38, step: 0 });
    const { gradNorm } = await trainable.step({ lr: 0, ...hyper });
    trainable.close();
    return { lossSum, gradNorm };
  };
  const wanted = await lossOf("b158-small");
  expect(wanted.gradNorm).toBeGreaterThan(0);
  expect(await lossOf("b158-tl1", undefined, fixture("golden/tl1-kernel_config.ini"))).toEqual(wanted);
  expect(await lossOf("b158-tl2", undefined, fixture("golden/tl2-kernel_config.ini"))).toEqual(wanted);
  expect(await lossOf("b158-small", [3])).toMatchObject({ lossSum: wanted.lossSum });
  expect((await lossOf("llama-TQ2_0-q6_k")).gradNorm).toBeGreaterThan(0);
});

test("values that are read can be written into another training, which then goes on alike", async () => {
  const golden = goldenOf("llama");
  const rows = rowsOf(golden);
  const [first, second] = [
    await openTrainable({ checkpoint: pathOf("llama") }, optionsOf("llama", "full")),
    await openTrainable({ config: pathOf("llama") }, { ...optionsOf("llama", "full"), threads: 1 }),
  ];
  const train = async (trainable: Trainable, step: number) => {
    await trainable.backward(rows, { labels: 10, step });
    return trainable.step({ lr: 1e-3, ...hyper });
  };
  await train(first, 0);
  for (const { name } of first.parameters) {
    for (const part of ["value", "m", "v"] as const) {
      second.write(name, first.read(name, part), part);
    }
  }
  second.optimizerSteps = first.optimizerSteps;
  expect(await train(second, 1)).toEqual(await train(first, 1));
  for (const { name } of first.parameters) {
    expect(second.read(name)).toEqual(first.read(name));
  }
  first.close();
  second.close();
});

test("weights of a config.json alone follow from the seed", async () => {
  const spread = async (seed: number) => {
    const trainable = await openTrainable({ config: pathOf("bitnet") }, { ...optionsOf("bitnet", "full"), seed });
    const [up, gate, norm] = ["mlp.up_proj", "mlp.gate_proj", "mlp.ffn_sub_norm"].map((name) =>
      trainable.read(`model.layers.1.${name}.weight`),
    );
    trainable.close();
    return { up, gate, norm };
  };
  const { up, gate, norm } = await spread(1);
  expect((await spread(1)).up).toEqual(up);
  expect((await spread(2)).up).not.toEqual(up);
  expect(gate).not.toEqual(up);
  expect(new Set(norm)).toEqual(new Set([1]));
  const deviation = Math.sqrt((up ?? new Float32Array()).reduce((sum, x) => sum + x * x, 0) / (up?.length ?? 1));
  expect(deviation).toBeGreaterThan(0.0195);
  expect(deviation).toBeLessThan(0.0205);
});

test("the plan of the memory is told before anything is read, and is smaller with checkpointing", async () => {
  const options = optionsOf("bitnet", "lora");
  const plan = await planTraining({ checkpoint: pathOf("bitnet") }, options);
  const trainable = await openTrainable({ checkpoint: pathOf("bitnet") }, options);
  expect(trainable.info.memory).toEqual(plan);
  expect(trainable.info.trainedParameters * 4).toBe(plan.master);
  trainable.close();
  const { total, ...parts } = plan;
  expect(Object.values(parts).reduce((sum, bytes) => sum + bytes, 0)).toBe(total);
  const less = await planTraining({ checkpoint: pathOf("bitnet") }, { ...options, checkpointing: true });
  expect(less.activations).toBeLessThan(plan.activations);
});

test("one operation at a time; a signal ends a pass; a closed training takes no more", async () => {
  const trainable = await openTrainable({ checkpoint: pathOf("bitnet") }, optionsOf("bitnet", "full"));
  const rows = rowsOf(goldenOf("bitnet"));
  const many = Array.from({ length: 20_000 }, () => rows).flat();
  const controller = new AbortController();
  const running = trainable.backward(many, { labels: 1, step: 0, signal: controller.signal });
  await expect(trainable.evaluate(rows)).rejects.toMatchObject({ code: "USAGE", message: /busy/ });
  expect(() => trainable.read("model.norm.weight")).toThrow(/busy/);
  controller.abort();
  await expect(running).rejects.toMatchObject({ code: "ABORTED" });
  expect(new Set(trainable.read("model.norm.weight", "gradient"))).toEqual(new Set([0]));
  await expect(trainable.evaluate(rows, { signal: controller.signal })).rejects.toMatchObject({ code: "ABORTED" });
  expect((await trainable.evaluate(rows)).labels).toBe(labelsOf(rows));
  trainable.close();
  trainable.close();
  await expect(trainable.evaluate(rows)).rejects.toMatchObject({ code: "USAGE", message: /closed/ });
});

test("wrong options, names and sources are refused", async () => {
  const open = (change: object, source: TrainableSource = { checkpoint: pathOf("bitnet") }) =>
    openTrainable(source, { ...optionsOf("bitnet", "lora"), ...change } as TrainableOptions);
  const adapter = { rank: 8, alpha: 16 };
  await expect(open({ maxLenght: 3 })).rejects.toThrow(/no option "maxLenght"/);
  await expect(open({ mode: "full" })).rejects.toThrow(/takes an adapter/);
  await expect(open({ adapter: { ...adapter, targets: ["lm_head"] } })).rejects.toThrow(/no matrix is named "lm_head"/);
  await expect(open({ adapter: { ...adapter, layers: [2] } })).rejects.toThrow(/no layer 2; the model has 0 to 1/);
  await expect(open({ adapter: { ...adapter, rank: 0 } })).rejects.toThrow(/rank must be/);
  await expect(open({}, { gguf: fixture("tiny-vocab.gguf") })).rejects.toMatchObject({ code: "BAD_FILE" });
  await expect(open({}, { checkpoint: folder })).rejects.toMatchObject({ code: "NOT_FOUND" });
  const packed = fixture("tiny-bitnet-packed");
  await expect(open({ mode: "full", adapter: undefined }, { checkpoint: packed })).rejects.toThrow(/ternary already/);
  const trainable = await open({});
  expect(() => trainable.read("lm_head.weight")).toThrow(/no parameter/);
  expect(() => trainable.write("model.layers.0.mlp.up_proj.lora_A", new Float32Array(3))).toThrow(
    /has 512 values, not 3/,
  );
  trainable.close();
  writeFileSync(join(folder, "config.json"), JSON.stringify({ architectures: ["Qwen2ForCausalLM"] }));
  await expect(open({ mode: "full", adapter: undefined }, { config: folder })).rejects.toMatchObject({
    name: "BitnetError",
  });
});
