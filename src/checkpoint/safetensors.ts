// Safetensors files: u64 header length, a JSON header (name -> dtype, shape, [begin, end) in the data), the data.
// Headers come from the internet: every number is checked before it is used.

import { open } from "node:fs/promises";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import { parseJson } from "../system/json.js";

export interface CheckpointTensor {
  name: string;
  dtype: string; // "F32", "BF16", "U8", ...
  shape: number[]; // slowest dimension first, as in the file
  file: string;
  offset: number; // of its data, from the start of the file
  bytes: number;
}

const maxHeaderBytes = 100 * 2 ** 20; // the limit of the reference implementation
const maxDimensions = 8;

const bytesPerElement: Record<string, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

export interface SafetensorsFile {
  tensors: CheckpointTensor[]; // in the order of the header
  /** What its maker has said of it. */
  metadata: ReadonlyMap<string, string>;
}

/** The tensors of one safetensors file, in the order of its header. Throws BAD_FILE naming what is wrong. */
export async function readSafetensorsHeader(path: string): Promise<CheckpointTensor[]> {
  return (await readSafetensors(path)).tensors;
}

/** The same with the metadata. */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const prefix = Buffer.alloc(8);
    const { bytesRead } = await file.read(prefix, 0, 8, 0);
    const length = bytesRead === 8 ? prefix.readBigUInt64LE() : -1n;
    if (length < 2n || length > BigInt(size - 8)) {
      throw new BitnetError("BAD_FILE", `${path}: not a safetensors file, or cut off: it has no complete header`);
    }
    if (length > maxHeaderBytes) {
      throw new BitnetError(
        "BAD_FILE",
        `${path}: the header claims ${length} bytes; at most ${maxHeaderBytes} expected`,
      );
    }
    const header = Buffer.alloc(Number(length));
    await file.read(header, 0, header.length, 8);
    return parseHeader(path, header.toString("utf8"), 8 + header.length, size);
  } finally {
    await file.close();
  }
}

function parseHeader(path: string, text: string, dataStart: number, fileSize: number): SafetensorsFile {
  const header = parseJson(text, `${path}: the safetensors header`);
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new BitnetError("BAD_FILE", `${path}: the safetensors header is not an object`);
  }
  const { __metadata__: metadata, ...entries } = header as Record<string, unknown>;
  return {
    tensors: Object.entries(entries).map(([name, entry]) => parseTensor(path, name, entry, dataStart, fileSize)),
    metadata: new Map(Object.entries(metadata ?? {}).filter((entry) => typeof entry[1] === "string")),
  };
}

function parseTensor(
  path: string,
  name: string,
  entry: unknown,
  dataStart: number,
  fileSize: number,
): CheckpointTensor {
  const fail = (what: string): never => {
    throw new BitnetError("BAD_FILE", `${path}: tensor ${JSON.stringify(name.slice(0, 200))} ${what}`);
  };
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
  const size = typeof dtype === "string" && Object.hasOwn(bytesPerElement, dtype) ? bytesPerElement[dtype] : undefined;
  if (typeof dtype !== "string" || size === undefined) {
    return fail(`has the unknown type ${JSON.stringify(dtype)}`);
  }
  if (!isNaturals(shape) || shape.length > maxDimensions) {
    return fail("has no valid shape");
  }
  const elements = shape.reduce((product, n) => product * n, 1);
  if (!isNaturals(offsets) || offsets.length !== 2 || !Number.isSafeInteger(elements * size)) {
    return fail("has no valid data offsets");
  }
  const [begin, end] = [at(offsets, 0), at(offsets, 1)];
  if (begin > end || end > fileSize - dataStart) {
    return fail(
      `ends at byte ${dataStart + end}, beyond the end of the file (${fileSize} bytes; is the download complete?)`,
    );
  }
  if (end - begin !== elements * size) {
    return fail(`has ${end - begin} bytes, but ${dtype} [${shape.join(", ")}] needs ${elements * size}`);
  }
  return { name, dtype, shape, file: path, offset: dataStart + begin, bytes: end - begin };
}

function isNaturals(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
