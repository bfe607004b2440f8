// From the tensors of an adapter's file to its matrices: pairs of A and B whose shapes belong together.

import { maxLayers } from "../checkpoint/config.js";
import { BitnetError } from "../system/errors.js";
import { type AdapterFile, type AdapterMatrix, type AdapterTensor, adaptedMatrices, maxRank } from "./adapter.js";

/** A tensor and whose it is. */
export interface NamedTensor {
  layer: number;
  name: string; // "attn_q"
  part: "a" | "b";
  tensor: AdapterTensor;
}

export type Scaling = (matrix: { layer: number; name: string; rank: number }) => { alpha: number; scale: number };

/** Throws BAD_FILE naming the tensor where one is missing, there twice, or of a shape that is none. */
export function assemble(
  path: string,
  named: readonly NamedTensor[],
  scalingOf: Scaling,
): Pick<AdapterFile, "matrices" | "parameters" | "bytes"> {
  if (named.length === 0) {
    throw new BitnetError("BAD_FILE", `${path}: the adapter has no matrices`);
  }
  const pairs = new Map<string, { layer: number; name: string; a?: AdapterTensor; b?: AdapterTensor }>();
  for (const { layer, name, part, tensor } of named) {
    const key = `${layer} ${name}`;
    const pair = pairs.get(key) ?? { layer, name };
    if (pair[part] !== undefined) {
      throw new BitnetError("BAD_FILE", `${path}: both ${pair[part].name} and ${tensor.name} are the same matrix`);
    }
    pairs.set(key, { ...pair, [part]: tensor });
  }
  const matrices = [...pairs.values()].map(({ layer, name, a, b }): AdapterMatrix => {
    if (a === undefined || b === undefined) {
      const [there, missing] = a === undefined ? [b, "A"] : [a, "B"];
      throw new BitnetError("BAD_FILE", `${path}: tensor ${there?.name} has no matrix ${missing} beside it`);
    }
    const rank = checkPair(path, layer, a, b);
    const { alpha, scale } = scalingOf({ layer, name, rank });
    if (!Number.isFinite(Math.fround(scale))) {
      throw new BitnetError("BAD_FILE", `${path}: the scale of ${a.name} is ${scale}, which is no number`);
    }
    return { layer, name, rank, alpha, scale, a, b };
  });
  const order = adaptedMatrices.map(({ name }) => name as string);
  matrices.sort((x, y) => x.layer - y.layer || order.indexOf(x.name) - order.indexOf(y.name));
  return {
    matrices,
    parameters: matrices.reduce((sum, { rank, a, b }) => sum + rank * (a.cols + b.rows), 0),
    bytes: matrices.reduce((sum, { a, b }) => sum + a.bytes + b.bytes, 0),
  };
}

/** The rank that both have. */
function checkPair(path: string, layer: number, a: AdapterTensor, b: AdapterTensor): number {
  const rank = a.rows;
  if (rank !== b.cols) {
    throw new BitnetError("BAD_FILE", `${path}: ${a.name} has rank ${rank}, ${b.name} has rank ${b.cols}`);
  }
  if (rank < 1 || rank > maxRank) {
    throw new BitnetError("BAD_FILE", `${path}: ${a.name} has rank ${rank}; 1 to ${maxRank} expected`);
  }
  if (layer >= maxLayers) {
    throw new BitnetError("BAD_FILE", `${path}: ${a.name} is of layer ${layer}; at most ${maxLayers} layers expected`);
  }
  return rank;
}
