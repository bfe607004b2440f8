// Writes an adapter as PEFT does: a folder with adapter_config.json, adapter_model.safetensors and README.md.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeFloats, type FloatType } from "../checkpoint/floats.js";
import { type WrittenTensor, writeSafetensors } from "../checkpoint/write-safetensors.js";
import { BitnetError } from "../system/errors.js";
import { findTarget, writeOutput, writeThenRename } from "../system/files.js";
import { adaptedMatrices } from "./adapter.js";
import { configName, metadataKeys, moduleName, weightsName } from "./peft.js";
import type { WrittenAdapter } from "./written.js";

/** How the numbers are written. */
export type AdapterDtype = FloatType;

const dtypeNames = { f32: "F32", bf16: "BF16", f16: "F16" } as const;

/** adapter_config.json with the keys and their order that PEFT writes. Ranks and alphas that differ stand in the patterns. */
export function peftConfig({ matrices, origin }: WrittenAdapter): Record<string, unknown> {
  const [first] = matrices;
  if (first === undefined) {
    throw new BitnetError("USAGE", "an adapter without matrices cannot be written");
  }
  const differing = (key: "rank" | "alpha") =>
    Object.fromEntries(
      matrices
        .filter((matrix) => matrix[key] !== first[key])
        .map((matrix) => [moduleName(matrix.layer, matrix.name), matrix[key]]),
    );
  const there = new Set(matrices.map(({ name }) => name));
  return {
    alpha_pattern: differing("alpha"),
    auto_mapping: null,
    base_model_name_or_path: origin.baseName ?? null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: first.alpha,
    lora_dropout: origin.dropout ?? 0,
    modules_to_save: null,
    peft_type: "LORA",
    r: first.rank,
    rank_pattern: differing("rank"),
    revision: null,
    target_modules: adaptedMatrices
      .filter(({ name }) => there.has(name))
      .map(({ module }) => module.replace(/^\w+\./, "")),
    task_type: "CAUSAL_LM",
    use_dora: false,
    use_rslora: origin.rslora ?? false,
  };
}

/** Into `folder`, which is made if it is not there; each file appears whole. */
export async function writePeft(
  folder: string,
  adapter: WrittenAdapter,
  { dtype = "f32", readme }: { dtype?: AdapterDtype; readme?: string } = {},
): Promise<void> {
  const config = peftConfig(adapter);
  await mkdir(folder, { recursive: true });
  const { baseHash } = adapter.origin;
  const metadata = {
    ...(baseHash !== undefined && { [metadataKeys.baseHash]: baseHash }),
    [metadataKeys.config]: JSON.stringify(config),
  };
  const target = await findTarget(join(folder, weightsName));
  await writeThenRename(target, (partial) => writeSafetensors(partial, listTensors(adapter, dtype), metadata));
  if (readme !== undefined) {
    await writeFile(join(folder, "README.md"), readme);
  }
  await writeOutput(join(folder, configName), Buffer.from(`${pythonJson(config)}\n`));
}

/** As Python's json writes it with two spaces: 0.0 stays a fraction. */
function pythonJson(config: Record<string, unknown>): string {
  const text = JSON.stringify(config, null, 2);
  return text.replace(/"lora_dropout": (\d+)(?=[,\n])/, '"lora_dropout": $1.0');
}

/** A and B of every matrix, under the names that PEFT has for them. */
function listTensors({ matrices }: WrittenAdapter, dtype: AdapterDtype): WrittenTensor[] {
  return matrices.flatMap(({ layer, name, rank, rows, cols, a, b }) =>
    [
      { part: "A", values: a, shape: [rank, cols] },
      { part: "B", values: b, shape: [rows, rank] },
    ].map(({ part, values, shape }) => ({
      name: `base_model.model.${moduleName(layer, name)}.lora_${part}.weight`,
      dtype: dtypeNames[dtype],
      shape,
      data: () => encodeFloats(values, dtype),
    })),
  );
}
