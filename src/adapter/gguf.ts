// Adapters as GGUF files, as llama.cpp has them: blk.N.attn_q.weight.lora_a [columns, rank] and .lora_b [rank, rows] in
// GGUF's order of dimensions, rows of q and k in the order of the base's own file.

import { type Gguf, openGguf, type TensorInfo } from "../gguf/gguf.js";
import { BitnetError } from "../system/errors.js";
import { type AdapterFile, type AdapterTensor, adaptedMatrices } from "./adapter.js";
import { assemble, type NamedTensor } from "./assemble.js";

export const ggufKeys = {
  architecture: "general.architecture",
  kind: "general.type",
  type: "adapter.type",
  alpha: "adapter.lora.alpha",
  baseHash: "bitnet.base_hash",
  baseName: "general.base_model.0.name",
} as const;

/** Whether a GGUF file is an adapter and no model. */
export function isAdapter(gguf: Gguf): boolean {
  return gguf.metadata()[ggufKeys.kind] === "adapter";
}

export function openGgufAdapter(path: string): AdapterFile {
  const gguf = openGguf(path, { alone: true });
  const metadata = gguf.metadata();
  const expect = (key: string, expected: string) => {
    const value = metadata[key];
    if (value !== expected) {
      const got = value === undefined ? "is missing" : `is ${JSON.stringify(value)}`;
      throw new BitnetError("BAD_FILE", `${path}: ${key} ${got}; "${expected}" expected of an adapter`);
    }
  };
  expect(ggufKeys.kind, "adapter");
  expect(ggufKeys.type, "lora");
  if (Object.hasOwn(metadata, "adapter.alora.invocation_tokens")) {
    throw new BitnetError("UNSUPPORTED", `${path}: an adapter that some tokens switch on (aLoRA) is not supported`);
  }
  const { [ggufKeys.architecture]: architecture, [ggufKeys.alpha]: alpha } = metadata;
  if (typeof alpha !== "number" || !Number.isFinite(alpha)) {
    throw new BitnetError("BAD_FILE", `${path}: ${ggufKeys.alpha} is not a number`);
  }
  if (typeof architecture !== "string" || architecture === "") {
    throw new BitnetError("BAD_FILE", `${path}: ${ggufKeys.architecture} is missing`);
  }
  const text = (key: string) => {
    const value = metadata[key];
    return typeof value === "string" ? value.slice(0, 200) : undefined;
  };
  const named = gguf.tensors().map((tensor) => nameTensor(gguf, tensor));
  return {
    path,
    form: "gguf",
    architecture,
    origin: { baseName: text(ggufKeys.baseName), baseHash: text(ggufKeys.baseHash) },
    ...assemble(path, named, ({ rank }) => ({ alpha, scale: alpha === 0 ? 1 : alpha / rank })),
    warnings: [],
  };
}

const tensorName = /^blk\.(\d{1,5})\.(\w{1,100})\.weight\.lora_([ab])$/;

function nameTensor(gguf: Gguf, tensor: TensorInfo): NamedTensor {
  const match = tensorName.exec(tensor.name);
  const row = adaptedMatrices.find(({ name }) => name === match?.[2]);
  if (match === null || row === undefined) {
    const names = adaptedMatrices.map(({ name }) => name).join(", ");
    throw new BitnetError(
      "UNSUPPORTED",
      `${gguf.path}: tensor ${tensor.name.slice(0, 200)}: not of a matrix that can be adapted: ${names}`,
    );
  }
  return {
    layer: Number(match[1]),
    name: row.name,
    part: match[3] === "a" ? "a" : "b",
    tensor: toMatrix(gguf, tensor),
  };
}

function toMatrix({ path }: Gguf, { name, type, shape, offset, bytes }: TensorInfo): AdapterTensor {
  const [cols = 1, rows = 1] = shape;
  if (shape.length < 1 || shape.slice(2).some((n) => n !== 1) || cols < 1 || rows < 1) {
    throw new BitnetError("BAD_FILE", `${path}: tensor ${name} has the shape [${shape.join(", ")}]; a matrix expected`);
  }
  return { name, type, rows, cols, file: path, offset, bytes };
}
