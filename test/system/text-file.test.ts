// Text files as the editors of all systems write them.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeText, readTextFile } from "../../src/system/text-file.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bitnet-text-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("a text file", () => {
  test("is read without its byte order mark, else as it is", async () => {
    const path = join(folder, "a.txt");
    await writeFile(path, "\uFEFFa\r\n\uFEFF\u{1F600}");
    expect(await readTextFile(path)).toBe("a\r\n\uFEFF\u{1F600}");
    await writeFile(path, "");
    expect(await readTextFile(path)).toBe("");
  });

  test.each([
    ["UTF-16, little-endian", Buffer.from("\uFEFFHi", "utf16le"), "x is not UTF-8 text, but UTF-16"],
    ["UTF-16, big-endian", Buffer.from("\uFEFFHi", "utf16le").swap16(), "x is not UTF-8 text, but UTF-16"],
    ["UTF-16 without a mark", Buffer.from("Hi", "utf16le"), "x is not UTF-8 text, but UTF-16"],
    ["UTF-32", Buffer.from([0xff, 0xfe, 0, 0, 0x48, 0, 0, 0]), "x is not UTF-8 text, but UTF-32"],
    ["Latin-1", Buffer.from("h\xe9", "latin1"), "x is not UTF-8 text"],
  ])("in %s is an error that says so", (_, bytes, message) => {
    expect(() => decodeText(bytes, "x")).toThrow(
      expect.objectContaining({ code: "BAD_FILE", message, hint: "save it as UTF-8" }),
    );
  });

  test("that is not there is that", async () => {
    await expect(readTextFile(join(folder, "none.txt"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("of any UTF-8 is that text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        fc.pre(!text.startsWith("\uFEFF") && !text.slice(0, 2).includes("\0"));
        expect(decodeText(Buffer.from(text), "x")).toBe(text);
      }),
    );
  });
});
