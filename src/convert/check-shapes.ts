// Whether a type can hold the matrices of a model, told before the weights are there.

import { readModelConfig } from "../checkpoint/config.js";
import { chooseFamily, listExpectedTensors } from "../checkpoint/names.js";
import { isLinearTensor } from "../gguf/families.js";
import type { TensorInfo } from "../gguf/gguf.js";
import { loadAddon, type NativeConvertTensor } from "../native/addon.js";
import { converting } from "../system/errors.js";

type Matrix = Pick<NativeConvertTensor, "name" | "shape">;

export interface WantedType {
  /** Of the matrices, in any case. */
  outtype: string;
  kernelConfig?: string;
}

/** Throws what converting a checkpoint with the config.json of `folder` would throw about its shapes, naming the matrix. */
export async function checkCheckpointShapes(folder: string, wanted: WantedType): Promise<void> {
  const config = await readModelConfig(folder);
  const linear = listExpectedTensors(chooseFamily(config), config).filter(({ role }) => role === "linear");
  checkShapes(
    linear.map(({ name, shape }) => ({ name, shape: [...shape].reverse() })),
    wanted,
  );
}

/** The same for the tensors of a GGUF file. */
export function checkTensorShapes(tensors: readonly TensorInfo[], wanted: WantedType): void {
  checkShapes(
    tensors.filter(({ name }) => isLinearTensor(name)),
    wanted,
  );
}

function checkShapes(matrices: readonly Matrix[], { outtype, kernelConfig }: WantedType): void {
  const type = outtype.toUpperCase();
  const tensors = matrices.map(
    ({ name, shape }): NativeConvertTensor => ({
      name,
      shape,
      type,
      source: { kind: "random" },
      ternary: true,
      declared: true,
      ropeHeads: 0,
      add: 0,
    }),
  );
  converting(() => loadAddon().planConversion({ metadata: [], tensors, kernelConfig }));
}
