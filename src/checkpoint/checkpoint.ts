// A checkpoint directory: which files hold its tensors, one table of all of them, and its JSON files.

import { existsSync } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import { readJsonFile } from "../system/json.js";
import { readFloats } from "./floats.js";
import { readPytorchFile } from "./pytorch.js";
import { type CheckpointTensor, readSafetensorsHeader } from "./safetensors.js";

export interface Checkpoint {
  directory: string;
  tensors: Map<string, CheckpointTensor>;
}

const maxJsonBytes = 64 * 2 ** 20; // tokenizer.json of large vocabularies has 30 MB

/** Reads the headers of all weight files. Throws NOT_FOUND or BAD_FILE naming the file that is missing or wrong. */
export async function openCheckpoint(directory: string): Promise<Checkpoint> {
  const tensors = new Map<string, CheckpointTensor>();
  for (const name of await listWeightFiles(directory)) {
    const path = join(directory, name);
    const read = name.endsWith(".safetensors") ? readSafetensorsHeader : readPytorchFile;
    for (const tensor of await read(path)) {
      if (tensors.has(tensor.name)) {
        throw new BitnetError("BAD_FILE", `${path}: tensor ${tensor.name} is in another file of the checkpoint too`);
      }
      tensors.set(tensor.name, tensor);
    }
  }
  return { directory, tensors };
}

/** The weight files of a checkpoint: by its index, by the usual names, else the only one there is. */
async function listWeightFiles(directory: string): Promise<string[]> {
  const present = new Set(await readdir(directory));
  for (const index of ["model.safetensors.index.json", "pytorch_model.bin.index.json"]) {
    if (present.has(index)) {
      return filesOfIndex(directory, index, present);
    }
  }
  for (const name of ["model.safetensors", "pytorch_model.bin"]) {
    if (present.has(name)) {
      return [name];
    }
  }
  const shards = [...present].filter((name) => /-\d{5}-of-\d{5}\.(safetensors|bin)$/.test(name)).sort();
  if (shards.length > 0) {
    requireAllShards(directory, shards);
    return shards;
  }
  const others = [...present].filter((name) => /\.(safetensors|pth|pt)$/.test(name));
  if (others.length === 1) {
    return others;
  }
  const what = others.length === 0 ? "no weight files" : `several weight files (${others.join(", ")}) and no index`;
  throw new BitnetError("NOT_FOUND", `${directory}: ${what}; expected model.safetensors or its numbered parts`);
}

async function filesOfIndex(directory: string, index: string, present: Set<string>): Promise<string[]> {
  const { weight_map: map } = await readJson(join(directory, index));
  if (typeof map !== "object" || map === null) {
    throw new BitnetError("BAD_FILE", `${join(directory, index)}: has no weight_map`);
  }
  const files = [...new Set(Object.values(map))].sort();
  for (const file of files) {
    // Only plain names: an index must not reach outside its directory.
    if (typeof file !== "string" || file !== basename(file)) {
      throw new BitnetError("BAD_FILE", `${join(directory, index)}: ${JSON.stringify(file)} is not a file name`);
    }
    if (!present.has(file)) {
      throw new BitnetError("NOT_FOUND", `${join(directory, file)} is missing, a part of the checkpoint`);
    }
  }
  if (files.length === 0) {
    throw new BitnetError("BAD_FILE", `${join(directory, index)}: the weight_map is empty`);
  }
  return files as string[];
}

function requireAllShards(directory: string, shards: string[]): void {
  const first = at(shards, 0);
  const total = Number(/-of-(\d{5})/.exec(first)?.[1]);
  for (let i = 1; i <= total; i++) {
    const name = first.replace(/-\d{5}-of-/, `-${String(i).padStart(5, "0")}-of-`);
    if (!shards.includes(name)) {
      throw new BitnetError("NOT_FOUND", `${join(directory, name)} is missing, a part of the checkpoint`);
    }
  }
}

/** A JSON file that holds an object. */
export async function readJson(path: string): Promise<Record<string, unknown>> {
  const value = await readJsonFile(path, maxJsonBytes);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new BitnetError("BAD_FILE", `${path}: expected a JSON object`);
  }
  return value as Record<string, unknown>;
}

/** The same, or undefined if there is no such file. */
export async function readOptionalJson(path: string): Promise<Record<string, unknown> | undefined> {
  return existsSync(path) ? readJson(path) : undefined;
}

/** Whether two tensors have the same type, shape and bytes. */
export async function holdTheSame(a: CheckpointTensor, b: CheckpointTensor): Promise<boolean> {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join() || a.bytes !== b.bytes) {
    return false;
  }
  const chunk = 2 ** 20;
  const [first, second] = [await open(a.file), await open(b.file)];
  try {
    const [left, right] = [Buffer.alloc(chunk), Buffer.alloc(chunk)];
    for (let done = 0; done < a.bytes; done += chunk) {
      const n = Math.min(chunk, a.bytes - done);
      await first.read(left, 0, n, a.offset + done);
      await second.read(right, 0, n, b.offset + done);
      if (!left.subarray(0, n).equals(right.subarray(0, n))) {
        return false;
      }
    }
    return true;
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
}

/** The one number of a tensor like `weight_scale`. */
export async function readScalar(tensor: CheckpointTensor): Promise<number> {
  const elements = tensor.shape.reduce((product, n) => product * n, 1);
  if (elements !== 1 || !["F32", "BF16", "F16"].includes(tensor.dtype)) {
    throw new BitnetError(
      "BAD_FILE",
      `${tensor.file}: tensor ${tensor.name} is ${tensor.dtype} [${tensor.shape.join(", ")}]; one float expected`,
    );
  }
  return at(await readFloats(tensor), 0);
}

/** The repository that a directory of the hub's cache (models--owner--name/snapshots/revision) belongs to. */
export function hubOriginOf(directory: string): { repository: string; revision: string } | undefined {
  const match = /models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]([0-9a-f]{40})$/.exec(resolve(directory));
  return match === null ? undefined : { repository: `${at(match, 1)}/${at(match, 2)}`, revision: at(match, 3) };
}
