// Whether a GGUF file is what was asked for, and what it is.

import { isLinearTensor } from "../gguf/families.js";
import { type Gguf, openGguf } from "../gguf/gguf.js";
import type { RegisteredModel } from "../hub/registry.js";
import { BitnetError, toBitnetError } from "../system/errors.js";
import type { SetupTask } from "./setup-options.js";

/** The type of most of the weights, by bytes: "I2_S"; "none" of a file without matrices. */
export function weightTypeOf(gguf: Gguf): string {
  const sizes = new Map<string, number>();
  for (const { name, type, bytes, shape } of gguf.tensors()) {
    if (name.startsWith("blk.") && shape.length === 2) {
      sizes.set(type, (sizes.get(type) ?? 0) + bytes);
    }
  }
  const [largest] = [...sizes].sort((a, b) => b[1] - a[1]);
  return largest?.[0] ?? "none";
}

/** The file at `path` if it is whole and of the wanted types; why not is worth a note. */
export function openWhole(task: SetupTask, path: string): Gguf | undefined {
  try {
    return openChecked(path, task);
  } catch (error) {
    task.onNote(`${toBitnetError(error).message}; making it again`);
    return undefined;
  }
}

/** Opens a GGUF file and checks that it is whole and of the wanted types. */
export function openChecked(path: string, task: SetupTask): Gguf {
  const gguf = openGguf(path);
  const mismatch = findMismatch(gguf, task);
  if (mismatch !== undefined) {
    throw new BitnetError("BAD_FILE", `${path}: ${mismatch}`);
  }
  return gguf;
}

/** How the file differs from what is wanted; undefined if it does not. */
export function findMismatch(gguf: Gguf, { type, embeddingType, file }: SetupTask): string | undefined {
  if (file !== undefined) {
    return undefined; // whatever it holds
  }
  const tensors = gguf.tensors();
  const linear = tensors.filter(({ name }) => isLinearTensor(name));
  if (!linear.some((tensor) => tensor.type.toLowerCase() === type)) {
    return `its weights are ${linear[0]?.type.toLowerCase() ?? "missing"}, not ${type}`;
  }
  const embedding = tensors.find(({ name }) => name === "token_embd.weight")?.type.toLowerCase();
  return embeddingType === undefined || embedding === embeddingType.toLowerCase()
    ? undefined
    : `the embedding is ${embedding ?? "missing"}, not ${embeddingType.toLowerCase()}`;
}

export function describe(gguf: Gguf, task: SetupTask, registered: RegisteredModel | undefined) {
  const metadata = gguf.metadata();
  const architecture = String(metadata["general.architecture"] ?? "unknown");
  const own = task.file === undefined ? task.type : weightTypeOf(gguf).toLowerCase();
  const talks = metadata["tokenizer.chat_template"] !== undefined;
  const pooled = metadata[`${architecture}.pooling_type`] !== undefined;
  const kind = registered?.kind ?? (pooled ? "embedding" : talks ? "instruct" : "base");
  return { path: gguf.path, bytes: gguf.fileSize, type: own, architecture, kind };
}
