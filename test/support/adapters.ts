// The golden models of test/fixtures/train with their adapters, and adapters that are wrong on purpose.

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { convertCheckpoint } from "../../src/convert/convert.js";
import type { AdapterUse } from "../../src/engine/adapter.js";
import type { Model } from "../../src/engine/model.js";
import { encodeSafetensors, float32, type RawTensor } from "./checkpoints.js";
import { relativeRms, root } from "./fixtures.js";

export const families = [
  { name: "bitnet", tolerance: 3e-2, rank: 8, alpha: 16 },
  { name: "llama", tolerance: 2e-3, rank: 4, alpha: 8 },
] as const;

export type FamilyName = (typeof families)[number]["name"];

/** A file of the family's folder. */
export function trainFixture(family: FamilyName, ...parts: string[]): string {
  return join(root, "test", "fixtures", "train", family, ...parts);
}

/** The base as GGUF, in `folder`. */
export async function convertBase(family: FamilyName, folder: string): Promise<string> {
  const outfile = join(folder, `${family}.gguf`);
  await convertCheckpoint({ source: trainFixture(family), outfile, outtype: "i2_s" });
  return outfile;
}

export function readTensors(path: string): Record<string, RawTensor> {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, start).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(
    entries.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => [name, { dtype, shape, data: bytes.subarray(start + begin, start + end) }],
    ),
  );
}

export function floatsOf({ data }: RawTensor): Float32Array {
  return new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
}

interface Golden {
  batch: { input_ids: number[][]; documents: number[][] };
}

/** Logits of every position of the golden batch, in its order. */
export async function goldenLogits(
  model: Model,
  family: FamilyName,
  adapters?: readonly AdapterUse[],
): Promise<Float32Array> {
  const { batch } = JSON.parse(readFileSync(trainFixture(family, "golden.json"), "utf8")) as Golden;
  const width = model.info.vocabSize;
  const length = batch.input_ids[0]?.length ?? 0;
  const out = new Float32Array(batch.input_ids.length * length * width);
  for (const [row, ids] of batch.input_ids.entries()) {
    const documents = batch.documents[row] ?? [];
    for (const document of new Set(documents)) {
      const first = documents.indexOf(document);
      const tokens = ids.slice(first, documents.lastIndexOf(document) + 1);
      await using session = model.createSession({ contextSize: 64, adapters });
      await session.prefill(tokens, { logits: "all" });
      out.set(session.logits(), (row * length + first) * width);
    }
  }
  return out;
}

/** How far they are from the golden ones of the adapter. */
export function goldenError(family: FamilyName, logits: Float32Array): number {
  const expected = readTensors(trainFixture(family, "lora.safetensors")).logits;
  if (expected === undefined) {
    throw new Error("the golden logits are missing");
  }
  return relativeRms(logits, floatsOf(expected).subarray(0, logits.length)); // of a beginning, if that is all
}

export type Tensors = Record<string, RawTensor>;
export type Config = Record<string, unknown>;

/** The golden adapter with changes, as a folder of PEFT. */
export function writeChanged(
  folder: string,
  { config = {}, tensors = (all) => all }: { config?: Config; tensors?: (all: Tensors) => Tensors },
  family: FamilyName = "bitnet",
): string {
  mkdirSync(folder, { recursive: true });
  const golden = JSON.parse(readFileSync(trainFixture(family, "adapter", "adapter_config.json"), "utf8")) as Config;
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...golden, ...config }));
  const all = readTensors(trainFixture(family, "adapter", "adapter_model.safetensors"));
  writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(tensors(all)));
  return folder;
}

/** Every name of a tensor through `rename`. */
export function renamed(rename: (name: string) => string): (all: Tensors) => Tensors {
  return (all) => Object.fromEntries(Object.entries(all).map(([name, tensor]) => [rename(name), tensor]));
}

export function copyGolden(family: FamilyName, folder: string): string {
  mkdirSync(folder, { recursive: true });
  for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
    copyFileSync(trainFixture(family, "adapter", name), join(folder, name));
  }
  return folder;
}

/** An adapter of rank 1 for the first layer's q of the bundled model, as a folder of PEFT. */
export function writeTinyAdapter(folder: string, width: number, b = 0.01): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, "adapter_config.json"),
    JSON.stringify({ peft_type: "LORA", r: 1, lora_alpha: 1, target_modules: ["q_proj"], bias: "none" }),
  );
  const name = "base_model.model.model.layers.0.self_attn.q_proj";
  const tensors = {
    [`${name}.lora_A.weight`]: float32([1, width], (i) => Math.sin(i)),
    [`${name}.lora_B.weight`]: float32([width, 1], (i) => b * Math.cos(i)),
  };
  writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(tensors));
  return folder;
}
