// Writes an adapter as PEFT does: a folder with adapter_config.json, adapter_model.safetensors and README.md.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BitnetError } from "../system/errors.js";
import { writeOutput } from "../system/files.js";
import { adaptedMatrices } from "./adapter.js";
import { configName, metadataKeys, moduleName, weightsName } from "./peft.js";
import { encodeFloats, type WrittenAdapter } from "./written.js";

/** How the numbers are written. */
export type AdapterDtype = "f32" | "bf16" | "f16";

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
  await writeOutput(join(folder, weightsName), encodeSafetensors(adapter, config, dtype));
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

function encodeSafetensors(
  { matrices, origin }: WrittenAdapter,
  config: Record<string, unknown>,
  dtype: AdapterDtype,
): Buffer {
  const header: Record<string, unknown> = {
    __metadata__: {
      format: "pt",
      ...(origin.baseHash !== undefined && { [metadataKeys.baseHash]: origin.baseHash }),
      [metadataKeys.config]: JSON.stringify(config),
    },
  };
  const data: Buffer[] = [];
  let offset = 0;
  for (const { layer, name, rank, rows, cols, a, b } of matrices) {
    for (const [part, values, shape] of [
      ["A", a, [rank, cols]],
      ["B", b, [rows, rank]],
    ] as const) {
      const bytes = encodeFloats(values, dtype);
      header[`base_model.model.${moduleName(layer, name)}.lora_${part}.weight`] = {
        dtype: dtype.toUpperCase(),
        shape,
        data_offsets: [offset, offset + bytes.length],
      };
      data.push(bytes);
      offset += bytes.length;
    }
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, " ")]); // data on a multiple of 8
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, ...data]);
}
