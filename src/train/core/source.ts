// Where the weights of a training come from, as a plan of tensors: a checkpoint or a GGUF file as a conversion would read
// it, or nothing but a config.json.

import { readModelConfig } from "../../checkpoint/config.js";
import { chooseFamily, type ExpectedTensor, listExpectedTensors, listModelMetadata } from "../../checkpoint/names.js";
import type { ModelPlan, PlannedTensor } from "../../convert/plan.js";
import { planCheckpoint } from "../../convert/plan-checkpoint.js";
import { planGguf } from "../../convert/plan-gguf.js";
import { parseTypes } from "../../convert/types.js";
import type { NativeModelSource } from "../../native/addon.js";

/** What is trained. */
export type TrainableSource =
  /** A GGUF file with ternary matrices (mode "lora") or float ones. */
  | { gguf: string; kernelConfig?: string } // of a TL1 or TL2 file that does not say its tiles: kernel_config.ini
  /** A folder with a Hugging Face checkpoint: a master, or packed (mode "lora"). */
  | { checkpoint: string }
  /** A folder with config.json: weights N(0, 0.02), norms 1 (mode "full"). */
  | { config: string };

const initialDeviation = 0.02;
const tensorsPerSeed = 2 ** 20; // more than a model has: no two tensors begin alike

/** Reads no weights. Throws NOT_FOUND, BAD_FILE, UNSUPPORTED. */
export async function planSource(source: TrainableSource, seed: number): Promise<NativeModelSource> {
  const { metadata, tensors } = await planTensors(source, seed);
  return { metadata, tensors, kernelConfig: "gguf" in source ? source.kernelConfig : undefined };
}

async function planTensors(source: TrainableSource, seed: number): Promise<ModelPlan> {
  if ("config" in source) {
    return planRandom(source.config, seed);
  }
  const options = { outfile: "", outtype: "f32" };
  const types = parseTypes(options);
  return "gguf" in source
    ? planGguf({ ...options, source: source.gguf }, types)
    : planCheckpoint({ ...options, source: source.checkpoint }, types);
}

async function planRandom(directory: string, seed: number): Promise<ModelPlan> {
  const config = await readModelConfig(directory);
  const family = chooseFamily(config);
  const expected = listExpectedTensors(family, config).filter(({ optional, role }) => !optional || role === "head");
  return {
    sources: [directory],
    metadata: [["general.architecture", "string", family.architecture], ...listModelMetadata(family, config)],
    tensors: expected.map((tensor, i) => randomTensor(tensor, seed * tensorsPerSeed + i)),
    warnings: [],
  };
}

function randomTensor({ name, role, shape }: ExpectedTensor, seed: number): PlannedTensor {
  const isNorm = role === "norm";
  return {
    name,
    shape: [...shape].reverse(),
    type: "F32",
    sourceType: "random",
    source: { kind: "random", seed, mean: isNorm ? 1 : 0, deviation: isNorm ? 0 : initialDeviation },
    ternary: false,
    declared: true,
    ropeHeads: 0,
    add: 0,
  };
}
