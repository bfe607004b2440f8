// Shards: token ids on the disk, as llm.c has them. A header of 256 integers of 32 bits (magic number, version, number of
// tokens, zeros), then the ids; little-endian. Beside NAME.bin stand NAME.idx, where each document begins and the last one
// ends (uint32), and NAME.json, what it was made of. llm.c reads the first alone, and its own files have no others.

import { BitnetError } from "../../system/errors.js";

export interface ShardWidth {
  magic: number;
  version: number;
  /** Bytes of an id. */
  bytes: 2 | 4;
}

/** llm.c's formats of GPT-2 and of LLaMA 3. */
export const shardWidths: readonly ShardWidth[] = [
  { magic: 20240520, version: 1, bytes: 2 },
  { magic: 20240801, version: 7, bytes: 4 },
];

export const headerBytes = 1024;
/** Of one file: offsets are integers of 32 bits. */
export const maxShardTokens = 2 ** 32 - 1;

/** The narrowest that holds all ids. */
export function widthFor(vocabSize: number): ShardWidth {
  const [narrow, wide] = shardWidths as [ShardWidth, ShardWidth];
  return vocabSize <= 2 ** 16 ? narrow : wide;
}

export function writeHeader({ magic, version }: ShardWidth, tokens: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(magic, 0);
  header.writeUInt32LE(version, 4);
  header.writeUInt32LE(tokens, 8);
  return header;
}

/** Throws BAD_FILE if the file of `size` bytes cannot be what its header says. */
export function readHeader(header: Buffer, size: number, path: string): { width: ShardWidth; tokens: number } {
  const hint = "expected a shard as llm.c and bitnet train write it";
  if (header.length < headerBytes) {
    throw new BitnetError("BAD_FILE", `${path}: ${size} bytes, shorter than the header of a shard`, { hint });
  }
  const [magic, version, tokens] = [header.readUInt32LE(0), header.readUInt32LE(4), header.readUInt32LE(8)];
  const width = shardWidths.find((known) => known.magic === magic);
  if (width === undefined) {
    throw new BitnetError("BAD_FILE", `${path}: no shard: it begins with ${magic}`, { hint });
  }
  if (version !== width.version) {
    throw new BitnetError("UNSUPPORTED", `${path}: version ${version} of shards; ${width.version} is read`);
  }
  const expected = headerBytes + tokens * width.bytes;
  if (tokens === 0 || size !== expected) {
    throw new BitnetError("BAD_FILE", `${path}: ${tokens} tokens make ${expected} bytes, but it has ${size}`, {
      hint: "it may be cut off: write it again",
    });
  }
  return { width, tokens };
}
