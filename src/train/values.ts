// What a training changes, as files: adapters in PEFT's form, or a whole model as a Hugging Face checkpoint in f32.

import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { type AdapterOrigin, adaptedMatrices } from "../adapter/adapter.js";
import { moduleName, weightsName } from "../adapter/peft.js";
import { writeAdapter } from "../adapter/write.js";
import type { WrittenAdapter, WrittenMatrix } from "../adapter/written.js";
import { copyTokenizerFiles } from "../checkpoint/side-files.js";
import { bytesOf, writeSafetensors } from "../checkpoint/write-safetensors.js";
import type { AdapterShape, Trainable } from "./core/trainable.js";

/** The adapter that is trained, in the order of adapters' files; `round`: what is to be written in the place of numbers. */
export function adapterOf(
  trainable: Trainable,
  shape: AdapterShape,
  origin: AdapterOrigin,
  round: (values: Float32Array) => Float32Array = (values) => values,
): WrittenAdapter {
  const shapes = new Map(trainable.parameters.map(({ name, shape: [rows = 0, cols = 0] }) => [name, { rows, cols }]));
  const matrices: WrittenMatrix[] = [];
  for (let layer = 0; layer < trainable.info.layers; layer++) {
    for (const { name } of adaptedMatrices) {
      const module = moduleName(layer, name);
      const [nameA, nameB] = [`${module}.lora_A`, `${module}.lora_B`];
      const [a, b] = [shapes.get(nameA), shapes.get(nameB)];
      if (a !== undefined && b !== undefined) {
        const values = { a: round(trainable.read(nameA)), b: round(trainable.read(nameB)) };
        matrices.push({ layer, name, alpha: shape.alpha, rank: a.rows, rows: b.rows, cols: a.cols, ...values });
      }
    }
  }
  return { matrices, origin: { rslora: shape.rslora, dropout: shape.dropout, ...origin } };
}

/** What is trained, and what its files need that the core does not know. */
export type Trained =
  | { kind: "adapter"; shape: AdapterShape; origin: AdapterOrigin }
  /** `folder` has config.json and the files of the tokenizer. */
  | { kind: "model"; folder: string };

const masterName = "model.safetensors";
const configName = "config.json";

/** Writes the values to `folder`, which is there. */
export async function writeValues(folder: string, trainable: Trainable, trained: Trained): Promise<void> {
  if (trained.kind === "adapter") {
    await writeAdapter(folder, adapterOf(trainable, trained.shape, trained.origin), { form: "peft" });
    return;
  }
  const tensors = trainable.parameters.map(({ name, shape }) => {
    return { name, dtype: "F32" as const, shape, data: () => bytesOf(trainable.read(name)) };
  });
  await writeSafetensors(join(folder, masterName), tensors);
  await copyFile(join(trained.folder, configName), join(folder, configName));
  await copyTokenizerFiles(trained.folder, folder);
}

/** The file of values in a folder, and what a parameter is called there. */
export function valuesOf(
  folder: string,
  trained: Pick<Trained, "kind">,
): { path: string; nameOf: (parameter: string) => string } {
  return trained.kind === "adapter"
    ? { path: join(folder, weightsName), nameOf: (parameter) => `base_model.model.${parameter}.weight` }
    : { path: join(folder, masterName), nameOf: (parameter) => parameter };
}
