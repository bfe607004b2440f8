// What the folder of a Hugging Face checkpoint holds.

import { openCheckpoint } from "./checkpoint.js";
import { type ModelConfig, readModelConfig } from "./config.js";
import { type WeightKind, weightKindOf } from "./master.js";
import { chooseFamily, matchTensors } from "./names.js";

export interface CheckpointReport {
  path: string;
  architecture: string; // GGUF's name
  modelClass: string;
  /** What its matrices are. */
  weights: WeightKind;
  parameters: number;
  bytes: number; // of all tensors
  layers: number;
  hiddenSize: number;
  contextLength?: number;
  vocabSize: number;
  quantization?: ModelConfig["quantization"];
  types: { type: string; tensors: number; bytes: number }[]; // largest first
  tensors: { name: string; type: string; shape: number[]; bytes: number }[];
}

const codesPerByte = 4;

/** Reads matrices only until one of them tells. Throws NOT_FOUND, BAD_FILE, UNSUPPORTED as a conversion would. */
export async function inspectCheckpoint(path: string): Promise<CheckpointReport> {
  const config = await readModelConfig(path);
  const family = chooseFamily(config);
  const checkpoint = await openCheckpoint(path);
  const matched = await matchTensors(checkpoint, family, config);
  const matrices = matched.filter(({ expected }) => expected.role === "linear").map(({ tensor }) => tensor);
  const tensors = [...checkpoint.tensors.values()].map(({ name, dtype, shape, bytes }) => ({
    name,
    type: dtype,
    shape,
    bytes,
  }));
  const types = new Map<string, CheckpointReport["types"][number]>();
  for (const { type, bytes } of tensors) {
    const row = types.get(type) ?? { type, tensors: 0, bytes: 0 };
    types.set(type, { type, tensors: row.tensors + 1, bytes: row.bytes + bytes });
  }
  const sizeOf = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1);
  return {
    path,
    architecture: family.architecture,
    modelClass: config.architectures[0] ?? config.modelType,
    weights: await weightKindOf(matrices),
    parameters: matched.reduce(
      (sum, { tensor }) => sum + sizeOf(tensor.shape) * (tensor.dtype === "U8" ? codesPerByte : 1),
      0,
    ),
    bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    layers: config.layers,
    hiddenSize: config.hiddenSize,
    contextLength: config.contextLength,
    vocabSize: config.vocabSize,
    quantization: config.quantization,
    types: [...types.values()].sort((a, b) => b.bytes - a.bytes),
    tensors,
  };
}
