// Adapters merged into float matrices: t * s + factor * B A as f16, in a GGUF file that keeps all else of the base. Such
// matrices are eight times as large as ternary ones, and what is multiplied with them is not rounded to int8.

import { join } from "node:path";
import { moduleName } from "../adapter/peft.js";
import { needsOrder } from "../adapter/write.js";
import { isRotated, reorder } from "../adapter/written.js";
import { encodeFloats, readFloats } from "../checkpoint/floats.js";
import { readSafetensorsHeader } from "../checkpoint/safetensors.js";
import { writeSafetensors } from "../checkpoint/write-safetensors.js";
import { convertCheckpoint } from "../convert/convert.js";
import type { ModelPlan, PlannedTensor } from "../convert/plan.js";
import { planGguf } from "../convert/plan-gguf.js";
import { matrixTypes, parseTypes } from "../convert/types.js";
import { writeModel } from "../convert/write.js";
import { openGguf, type TensorInfo } from "../gguf/gguf.js";
import { isTernaryType } from "../gguf/tensor-types.js";
import { BitnetError } from "../system/errors.js";
import { addDeltas, type Delta } from "./merged-weights.js";

export interface FloatMerge {
  /** A GGUF file. */
  base: string;
  deltas: ReadonlyMap<string, readonly Delta[]>;
  headDim: number;
  outfile: string;
  /** For files that are needed on the way: as large as the base with f32 matrices, and as the merged ones. */
  work: string;
  name?: string;
  signal?: AbortSignal;
}

export async function mergeIntoFloats(merge: FloatMerge): Promise<void> {
  const { base, outfile, work, name, signal } = merge;
  const floats = join(work, "floats.gguf");
  await convertCheckpoint({ source: base, outfile: floats, outtype: "f32", embeddingType: "f16", signal });
  const tensors = new Map(
    openGguf(floats)
      .tensors()
      .map((tensor) => [tensor.name, tensor]),
  );
  const merged = await writeMerged(merge, floats, tensors);
  const outtype = matrixTypeOf(base);
  const options = { source: base, outfile, outtype, modelName: name, signal };
  const plan = await planGguf(options, parseTypes({ outtype }));
  await writeModel(withMerged(plan, merged), options);
}

/** The type that matrices which stay ternary keep. */
function matrixTypeOf(base: string): string {
  const found = openGguf(base)
    .tensors()
    .find(({ type }) => isTernaryType(type));
  return matrixTypes().find(({ name }) => name === found?.type)?.name ?? "I2_S";
}

/** The merged matrices in a file; returns where each is. */
async function writeMerged(
  { deltas, headDim, work, base }: FloatMerge,
  floats: string,
  tensors: ReadonlyMap<string, TensorInfo>,
): Promise<Map<string, PlannedTensor["source"]>> {
  const isReordered = needsOrder(String(openGguf(base).metadata()["general.architecture"]));
  const touched = [...tensors.values()].filter(({ name }) => deltas.has(moduleOf(name)));
  if (touched.length !== deltas.size) {
    const names = new Set(touched.map(({ name }) => moduleOf(name)));
    const unknown = [...deltas.keys()].find((module) => !names.has(module));
    throw new BitnetError("USAGE", `${unknown}: the adapter has it, but the base does not`);
  }
  const file = join(work, "merged.safetensors");
  await writeSafetensors(
    file,
    touched.map((tensor) => ({
      name: tensor.name,
      dtype: "F16",
      shape: [...tensor.shape].reverse(),
      data: async () => {
        const values = await readFloats({ ...tensor, dtype: tensor.type, file: floats });
        const module = moduleOf(tensor.name);
        const permutes = isReordered && isRotated(tensor.name.split(".")[2] ?? "");
        addDeltas(
          module,
          values,
          (deltas.get(module) ?? []).map((delta) => inOrder(delta, permutes, headDim)),
        );
        return encodeFloats(values, "f16");
      },
    })),
  );
  const written = await readSafetensorsHeader(file);
  return new Map(
    written.map(({ name, offset, bytes }) => [name, { kind: "tensor", type: "F16", file, offset, bytes }]),
  );
}

function inOrder(delta: Delta, permutes: boolean, headDim: number): Delta {
  return permutes ? { ...delta, b: reorder(delta.b, delta.rows, delta.rank, headDim, "neighbours") } : delta;
}

/** "model.layers.0.self_attn.q_proj" of "blk.0.attn_q.weight"; of what is no matrix of a layer nothing that an adapter has. */
function moduleOf(ggufName: string): string {
  const [, layer, name = ""] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(ggufName) ?? [];
  return layer === undefined ? ggufName : moduleName(Number(layer), name);
}

function withMerged(plan: ModelPlan, merged: ReadonlyMap<string, PlannedTensor["source"]>): ModelPlan {
  const isWhole = plan.tensors.every(({ name, ternary }) => !ternary || merged.has(name));
  return {
    ...plan,
    metadata: isWhole
      ? plan.metadata.map((entry) => (entry[0] === "general.file_type" ? [entry[0], "u32", fileTypeF16] : entry))
      : plan.metadata,
    tensors: plan.tensors.map((tensor) => {
      const source = merged.get(tensor.name);
      return source === undefined ? tensor : { ...tensor, type: "F16", sourceType: "merged", source, ternary: false };
    }),
  };
}

const fileTypeF16 = 1; // of llama.cpp: mostly f16
