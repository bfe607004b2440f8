// The model families as the core's table has them, and what it says about the tensors of a file.

import { loadAddon, type NativeFamily } from "../native/addon.js";

let rows: readonly NativeFamily[] | undefined;

/** Every family that a file can be of, whether it can be run or not. */
export function listFamilies(): readonly NativeFamily[] {
  rows ??= loadAddon().families();
  return rows;
}

/** The family of general.architecture; undefined if there is none of this name. */
export function findFamily(architecture: string): NativeFamily | undefined {
  return listFamilies().find((family) => family.architecture === architecture);
}

/** The name of a layer's tensor without its layer: "attn_q" of "blk.3.attn_q.weight". */
function nameInLayer(tensor: string): string | undefined {
  return /^blk\.\d+\.(.+)\.weight$/.exec(tensor)?.[1];
}

/** Whether this is a matrix of a layer, in whatever family. */
export function isLinearTensor(tensor: string): boolean {
  const name = nameInLayer(tensor);
  return listFamilies().some(({ tensors }) => tensors.some((row) => row.role === "linear" && row.name === name));
}

/**
 * Whether a model is ternary by what it is: all of its family are, or it has a norm before a projection, which only
 * ternary models do. Weights that are floats may then be rounded to ternary ones.
 */
export function isTernaryModel(architecture: string, tensors: Iterable<string>): boolean {
  const family = findFamily(architecture);
  if (family === undefined || family.ternary) {
    return family?.ternary === true;
  }
  const inputNorms = new Set(family.tensors.filter(({ norm }) => norm === "input").map(({ name }) => name));
  return [...tensors].map(nameInLayer).some((name) => name !== undefined && inputNorms.has(name));
}
