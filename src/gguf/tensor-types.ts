// The tensor types, from the rows of the native core.

import { loadAddon, type NativeTensorType } from "../native/addon.js";
import { BitnetError, converting } from "../system/errors.js";

export type TensorType = Readonly<NativeTensorType>;

let types: readonly TensorType[] | undefined;

/** All types, in the order in which lists show them. */
export function listTensorTypes(): readonly TensorType[] {
  types ??= converting(() => loadAddon().tensorTypes());
  return types;
}

/** The type of a name as files and lists show it: "I2_S". */
export function tensorTypeOf(name: string): TensorType {
  const found = listTensorTypes().find((type) => type.name === name);
  if (found === undefined) {
    throw new BitnetError("UNSUPPORTED", `unknown tensor type ${JSON.stringify(name)}`);
  }
  return found;
}

export function isTernaryType(name: string): boolean {
  return tensorTypeOf(name).ternary;
}
