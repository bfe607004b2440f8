// Metadata of GGUF files byte by byte, read without the library.

import { readFileSync } from "node:fs";

const bytesOfType = [1, 1, 2, 2, 4, 4, 4, 1, undefined, undefined, 8, 8, 8]; // by type id; strings and arrays vary
const [stringType, arrayType] = [8, 9];

/** Every key in file order with what stands after it: the type and the value. */
export function readMetadataBytes(path: string): Map<string, Buffer> {
  const file = readFileSync(path);
  let pos = 24;
  const takeLength = (): number => {
    pos += 8;
    return Number(file.readBigUInt64LE(pos - 8));
  };
  const takeType = (): number => {
    pos += 4;
    return file.readUInt32LE(pos - 4);
  };
  const skip = (type: number): void => {
    const length = type === stringType ? takeLength() : bytesOfType[type];
    if (length === undefined) {
      throw new Error(`unknown type ${type} at byte ${pos}`);
    }
    pos += length;
  };
  const skipArray = (): void => {
    const element = takeType();
    for (let left = takeLength(); left > 0; left--) {
      skip(element);
    }
  };
  const values = new Map<string, Buffer>();
  for (let left = Number(file.readBigUInt64LE(16)); left > 0; left--) {
    const length = takeLength();
    const key = file.toString("utf8", pos, pos + length);
    const start = pos + length;
    pos = start;
    const type = takeType();
    type === arrayType ? skipArray() : skip(type);
    values.set(key, file.subarray(start, pos));
  }
  return values;
}
