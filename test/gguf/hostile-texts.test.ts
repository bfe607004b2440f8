// Keys, names and texts of a GGUF file are bytes, and its numbers have 64 bits: nothing of it breaks the library.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { convertCheckpoint, openGguf } from "../../src/index.js";
import { withFolder } from "../support/checkpoints.js";
import { ggufValue, readGguf, writeGgufParts } from "../support/edit-gguf.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

const good = readGguf(tinyModel);
const values = {
  constructor: ggufValue.text("c"),
  "7": ggufValue.u32(7),
  "nul\0inside": ggufValue.text("a\0b"),
  "no.text": ggufValue.text(Buffer.from([0x61, 0xff, 0xc0, 0x80, 0x62])),
  "no.texts": ggufValue.texts([Buffer.from([0xed, 0xa0, 0x80]), "b"]),
  "u64.most": ggufValue.u64(2n ** 64n - 1n),
  "u64.safe": ggufValue.u64(2n ** 53n - 1n),
  "i64.least": ggufValue.i64(-(2n ** 63n)),
  "f32.nan": ggufValue.f32(Number.NaN),
  "f64.infinite": ggufValue.f64(-Infinity),
};
// Object literals take __proto__ for something else, and order "7" first.
const entries: [string, Buffer][] = [["__proto__", ggufValue.u32(1)], ...Object.entries(values)];

describe("a file with odd keys and values", () => {
  test("shows all of them", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "odd.gguf");
      writeGgufParts(path, { ...good, metadata: new Map([...good.metadata, ...entries]) });
      const gguf = openGguf(path);
      const metadata = gguf.metadata();
      expect(Object.keys(metadata)).toEqual(expect.arrayContaining(entries.map(([key]) => key)));
      expect(Object.getOwnPropertyDescriptor(metadata, "__proto__")?.value).toBe(1);
      expect(metadata["nul\0inside"]).toBe("a\0b");
      expect(metadata["no.text"]).toBe("a\ufffd\ufffd\ufffdb");
      expect(gguf.metadataArray("no.texts")).toEqual(["\ufffd\ufffd\ufffd", "b"]);
      expect(metadata["u64.most"]).toBe(2n ** 64n - 1n);
      expect(metadata["u64.safe"]).toBe(2 ** 53 - 1);
      expect(metadata["i64.least"]).toBe(-(2n ** 63n));
      expect(metadata["f32.nan"]).toBeNaN();
      expect(metadata["f64.infinite"]).toBe(-Infinity);
      expect((await runBitnet(["inspect", path])).status).toBe(0);
    });
  });

  test("keeps them bit by bit in a conversion, keys that are no text among them", async () => {
    await withFolder(async (folder) => {
      const [path, outfile] = [join(folder, "odd.gguf"), join(folder, "out.gguf")];
      writeGgufParts(path, {
        ...good,
        metadata: new Map([...good.metadata, ...entries, ["key.xx", ggufValue.u32(9)]]),
      });
      const bytes = readFileSync(path);
      bytes.set([0xff, 0xfe], bytes.indexOf("key.xx") + 4);
      writeFileSync(path, bytes);
      await convertCheckpoint({ source: path, outfile, outtype: "i2_s" });
      const copied = readGguf(outfile).metadata;
      for (const [key, value] of entries) {
        expect(copied.get(key)).toEqual(value);
      }
      expect(readFileSync(outfile).includes(Buffer.from([0x2e, 0xff, 0xfe]))).toBe(true);
    });
  });
});
