// What a conversion will say and take, known from shapes alone: before weights are downloaded for it.

import type { ModelConfig } from "../checkpoint/config.js";
import { chooseFamily, listExpectedTensors } from "../checkpoint/names.js";
import { isLinearTensor } from "../gguf/families.js";
import type { Gguf } from "../gguf/gguf.js";
import { loadAddon, type NativeConvertTensor } from "../native/addon.js";
import { at } from "../system/at.js";
import { converting } from "../system/errors.js";
import { chooseType, parseTypes, type TensorUse, type TypeNames } from "./types.js";

export interface ForecastOptions extends TypeNames {
  kernelConfig?: string;
}

interface Shape {
  name: string;
  use: TensorUse;
  shape: number[]; // ne order: fastest dimension first
}

/** Bytes of the file that a checkpoint becomes. Throws, as the conversion would, if its shapes do not take the type. */
export function forecastCheckpoint(config: ModelConfig, options: ForecastOptions): number {
  const family = chooseFamily(config);
  const shapes = listExpectedTensors(family, config)
    .filter(({ optional }) => !optional)
    .map(({ name, role, shape }): Shape => {
      const use = role === "embedding" || role === "head" || role === "linear" ? role : "other";
      return { name, use, shape: shape.toReversed() };
    });
  return forecast(shapes, options);
}

/** The same for a GGUF file. */
export function forecastGguf(gguf: Gguf, options: ForecastOptions): number {
  const uses: Record<string, TensorUse> = { "token_embd.weight": "embedding", "output.weight": "head" };
  const shapes = gguf.tensors().map(({ name, shape }): Shape => {
    return { name, use: uses[name] ?? (isLinearTensor(name) ? "linear" : "other"), shape };
  });
  return forecast(shapes, options);
}

function forecast(shapes: readonly Shape[], { kernelConfig, ...names }: ForecastOptions): number {
  const types = parseTypes(names);
  const tensors = shapes.map(({ name, use, shape }): NativeConvertTensor => {
    const type = chooseType(types, { name, use, cols: at(shape, 0) }, []);
    const ternary = use === "linear" && types.outtype.ternary;
    return { name, shape, type, source: { kind: "random" }, ternary, declared: true, ropeHeads: 0, add: 0 };
  });
  return converting(() => loadAddon().planConversion({ metadata: [], tensors, kernelConfig })).fileBytes;
}
