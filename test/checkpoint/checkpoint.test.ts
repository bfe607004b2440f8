// Reading checkpoint files: safetensors headers and PyTorch archives, right, damaged and hostile.

import { mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { readPytorchFile } from "../../src/checkpoint/pytorch.js";
import { readSafetensorsHeader } from "../../src/checkpoint/safetensors.js";
import { convertCheckpoint } from "../../src/convert/convert.js";
import { BitnetError } from "../../src/system/errors.js";
import {
  encodeSafetensors,
  float32,
  frameSafetensors,
  makeCheckpoint,
  readTensors,
  withFolder,
  writeCheckpoint,
} from "../support/checkpoints.js";
import { encodePytorch } from "../support/pytorch.js";

async function readBytes(bytes: Buffer, read = readSafetensorsHeader) {
  return withFolder(async (folder) => {
    const path = join(folder, "file");
    writeFileSync(path, bytes);
    return read(path);
  });
}

const entry = (fields: object) =>
  JSON.stringify({ w: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16], ...fields } });

describe("safetensors", () => {
  test("tensors come with where their data lies", async () => {
    const tensors = await readBytes(encodeSafetensors({ a: float32([3], (i) => i), b: float32([2, 2], (i) => i) }));
    expect(tensors.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, bytes }))).toEqual([
      { name: "a", dtype: "F32", shape: [3], bytes: 12 },
      { name: "b", dtype: "F32", shape: [2, 2], bytes: 16 },
    ]);
    expect((tensors[1]?.offset ?? 0) - (tensors[0]?.offset ?? 0)).toBe(12);
  });

  test.each<[string, Buffer, string]>([
    ["nothing", Buffer.alloc(0), "not a safetensors file"],
    ["seven bytes", Buffer.alloc(7), "not a safetensors file"],
    [
      "a header longer than the file",
      Buffer.concat([Buffer.from([200, 0, 0, 0, 0, 0, 0, 0]), Buffer.alloc(100)]),
      "no complete header",
    ],
    ["a header of absurd length", Buffer.alloc(64, 0xff), "no complete header"],
    ["a header that is a list", frameSafetensors("[1]", []), "is not an object"],
    ["a tensor that is a number", frameSafetensors('{"w":3}', []), "has the unknown type"],
    ["an unknown type", frameSafetensors(entry({ dtype: "F7" }), [Buffer.alloc(16)]), 'the unknown type "F7"'],
    [
      "a type named like a method",
      frameSafetensors(entry({ dtype: "toString" }), [Buffer.alloc(16)]),
      "the unknown type",
    ],
    ["a negative size", frameSafetensors(entry({ shape: [-2, -2] }), [Buffer.alloc(16)]), "no valid shape"],
    ["a size that is no integer", frameSafetensors(entry({ shape: [1.5] }), [Buffer.alloc(16)]), "no valid shape"],
    [
      "sizes whose product overflows",
      frameSafetensors(entry({ shape: [2 ** 40, 2 ** 40] }), [Buffer.alloc(16)]),
      "no valid data offsets",
    ],
    [
      "offsets beyond the file",
      frameSafetensors(entry({ data_offsets: [1, 17] }), [Buffer.alloc(16)]),
      "beyond the end of the file",
    ],
    [
      "offsets in the wrong order",
      frameSafetensors(entry({ data_offsets: [16, 0] }), [Buffer.alloc(16)]),
      "beyond the end of the file",
    ],
    [
      "offsets of another length than the shape",
      frameSafetensors(entry({ data_offsets: [0, 12] }), [Buffer.alloc(16)]),
      "has 12 bytes, but F32 [2, 2] needs 16",
    ],
    ["offsets that are missing", frameSafetensors(entry({ data_offsets: undefined }), []), "no valid data offsets"],
  ])("refuses %s", async (_, bytes, message) => {
    const error = await readBytes(bytes).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BitnetError);
    expect((error as BitnetError).code).toBe("BAD_FILE");
    expect((error as BitnetError).message).toContain(message);
  });

  test("a flipped byte in the header gives tensors inside the file, or BAD_FILE", async () => {
    const bytes = encodeSafetensors({ a: float32([3], (i) => i), b: float32([2, 2], (i) => i) });
    const headerBytes = 8 + Number(bytes.readBigUInt64LE());
    await fc.assert(
      fc.asyncProperty(fc.nat(headerBytes - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const damaged = Buffer.from(bytes);
        damaged[at] = (damaged[at] ?? 0) ^ flip;
        try {
          for (const { offset, bytes: length } of await readBytes(damaged)) {
            expect(offset + length).toBeLessThanOrEqual(damaged.length);
          }
        } catch (error) {
          expect(error).toMatchObject({ code: "BAD_FILE" });
        }
      }),
      { numRuns: 300 },
    );
  });

  test("the same tensor in two files is refused", async () => {
    await withFolder(async (folder) => {
      for (const i of [1, 2]) {
        writeFileSync(
          join(folder, `model-0000${i}-of-00002.safetensors`),
          encodeSafetensors({ a: float32([3], (n) => n) }),
        );
      }
      await expect(openCheckpoint(folder)).rejects.toThrow("is in another file");
    });
  });
});

describe("PyTorch files", () => {
  const made = makeCheckpoint({ weights: "ternary" });

  test("a checkpoint of them converts like one of safetensors", async () => {
    await withFolder(async (folder) => {
      const source = writeCheckpoint(join(folder, "a"), made);
      const other = writeCheckpoint(join(folder, "b"), made, 2);
      const names = Object.keys(made.tensors);
      for (const [i, file] of ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"].entries()) {
        const part = names.filter((_, n) => n % 2 === i).map((name) => [name, made.tensors[name]]);
        writeFileSync(join(other, file), encodePytorch(Object.fromEntries(part)));
      }
      const bins = join(folder, "c");
      mkdirSync(bins);
      for (const name of readdirSync(other).filter((name) => !name.includes("safetensors"))) {
        renameSync(join(other, name), join(bins, name));
      }
      for (const [i, from] of [source, bins].entries()) {
        await convertCheckpoint({ source: from, outfile: join(folder, `${i}.gguf`), outtype: "i2_s" });
      }
      expect(readTensors(join(folder, "1.gguf"))).toEqual(readTensors(join(folder, "0.gguf")));
    });
  });

  const small = { w: float32([2, 3], (i) => i) };

  test("a pickle that calls anything else is refused, and nothing is called", async () => {
    const hostile = encodePytorch(small, { callee: "posix\nsystem\n" });
    await expect(readBytes(hostile, readPytorchFile)).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("calls posix.system"),
    });
  });

  test("a transposed tensor is refused", async () => {
    const bytes = encodePytorch(small, { stride: [1, 2] });
    await expect(readBytes(bytes, readPytorchFile)).rejects.toThrow("not a plain contiguous one");
  });

  test("a tensor larger than its data is refused", async () => {
    const bytes = encodePytorch({ w: { ...float32([2, 3], (i) => i), shape: [200, 3] } });
    await expect(readBytes(bytes, readPytorchFile)).rejects.toThrow("ends beyond its data");
  });

  test("any cut and any flipped byte gives tensors inside the file, or an error with a code", async () => {
    const bytes = encodePytorch(small);
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }), async (at, flip) => {
        const damaged = flip === 0 ? bytes.subarray(0, at) : Buffer.from(bytes);
        if (flip !== 0) {
          damaged[at] = (damaged[at] ?? 0) ^ flip;
        }
        try {
          for (const { offset, bytes: length } of await readBytes(damaged, readPytorchFile)) {
            expect(offset + length).toBeLessThanOrEqual(damaged.length);
          }
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(BAD_FILE|UNSUPPORTED)$/) });
        }
      }),
      { numRuns: 500 },
    );
  });
});
