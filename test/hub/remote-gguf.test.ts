// Reading the head of a GGUF file on the hub without its weights.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Gguf } from "../../src/gguf/gguf.js";
import { openHub } from "../../src/hub/http.js";
import { openRemoteGguf } from "../../src/hub/remote-gguf.js";
import { openRepository } from "../../src/hub/repository.js";
import { FakeHub } from "../support/fake-hub.js";

let fake: FakeHub;
let cacheDir: string;
beforeEach(async () => {
  fake = await FakeHub.start();
  cacheDir = mkdtempSync(join(tmpdir(), "bitnet-remote-"));
});
afterEach(async () => {
  await fake.stop();
  rmSync(cacheDir, { recursive: true });
});

async function openFile(content: Buffer): Promise<Gguf> {
  fake.repositories.set("test/model", { files: { "a.gguf": content } });
  const hub = await openHub({
    environment: { endpoint: fake.url, cacheDir, offline: false },
    retry: { baseDelayMs: 1, attempts: 3 },
  });
  const repository = await openRepository(hub, { name: "test/model", revision: "main" });
  return openRemoteGguf(hub, repository, "a.gguf");
}

function text(value: string): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(value)));
  return Buffer.concat([length, Buffer.from(value)]);
}

function integers(...values: [number, 4 | 8][]): Buffer {
  const buffer = Buffer.alloc(values.reduce((sum, [, size]) => sum + size, 0));
  let at = 0;
  for (const [value, size] of values) {
    at = size === 4 ? buffer.writeUInt32LE(value, at) : buffer.writeBigUInt64LE(BigInt(value), at);
  }
  return buffer;
}

/** A file with `words` words of a vocabulary and one F32 matrix of [256, rows]. */
function makeGguf(words: number, rows: number): Buffer {
  const vocabulary = Array.from({ length: words }, (_, i) => text(`word number ${i}`));
  const head = Buffer.concat([
    Buffer.from("GGUF"),
    integers([3, 4], [1, 8], [2, 8]), // version, tensors, keys
    text("general.architecture"),
    integers([8, 4]), // string
    text("llama"),
    text("tokenizer.ggml.tokens"),
    integers([9, 4], [8, 4], [words, 8]), // array of strings
    ...vocabulary,
    text("token_embd.weight"),
    integers([2, 4], [256, 8], [rows, 8], [0, 4], [0, 8]), // dimensions, F32, offset
  ]);
  const padding = Buffer.alloc((32 - (head.length % 32)) % 32);
  return Buffer.concat([head, padding, Buffer.alloc(256 * rows * 4, 1)]);
}

test("a small head costs one request of 1 MB", async () => {
  const gguf = await openFile(makeGguf(100, 8000));
  expect(gguf.metadata()["general.architecture"]).toBe("llama");
  expect(gguf.tensors()).toMatchObject([{ name: "token_embd.weight", type: "F32", shape: [256, 8000] }]);
  expect(fake.sent).toBe(2 ** 20);
});

test("a head of many megabytes is read to its end, each byte once", async () => {
  const content = makeGguf(250_000, 20_000);
  const gguf = await openFile(content);
  expect(gguf.metadataArray("tokenizer.ggml.tokens", 249_999, 1)).toEqual(["word number 249999"]);
  expect(gguf.fileSize).toBe(content.length);
  expect(gguf.dataOffset).toBeGreaterThan(2 ** 22);
  expect(fake.sent).toBe(2 ** 24);
});

test("a head that was cut is asked for again", async () => {
  fake.faults.push({ cutAt: 1000 }, { status: 503 });
  expect((await openFile(makeGguf(100, 8000))).tensors()).toHaveLength(1);
});

test.each([
  ["a server that sends whole files only", { ignoreRange: true }],
  ["a server that sends more than was asked for", { ignoreEnd: true }],
  ["a server that sends less than was asked for", { partBytes: 300_000 }],
  ["a server that compresses", { ignoreRange: true, gzip: true }],
])("%s is no hindrance", async (_, fault) => {
  fake.lastingFaults.push({ path: "a.gguf", ...fault });
  const gguf = await openFile(makeGguf(250_000, 20_000));
  expect(gguf.metadataArray("tokenizer.ggml.tokens", 249_999, 1)).toEqual(["word number 249999"]);
  expect(gguf.tensors()).toHaveLength(1);
});

test.each([
  ["another part", { shiftRange: 1 }, /another part of the file/],
  ["a web page", { page: "<html>Please log in</html>" }, /a web page came instead of the file/],
  ["416", { status: 416 }, /416/],
])("%s in place of the head is an error soon", async (_, fault, message) => {
  fake.lastingFaults.push({ path: "a.gguf", ...fault });
  await expect(openFile(makeGguf(100, 8000))).rejects.toMatchObject({
    code: "NETWORK",
    message: expect.stringMatching(message),
  });
});

test("a tensor that ends behind the file is refused, as in a local file", async () => {
  const content = makeGguf(100, 8000);
  await expect(openFile(content.subarray(0, content.length - 5000))).rejects.toMatchObject({
    code: "BAD_FILE",
    message: expect.stringMatching(/^test\/model\/a\.gguf: /),
  });
});

test("a file that is none is not read on", async () => {
  await expect(openFile(Buffer.alloc(20_000_000, "text"))).rejects.toMatchObject({ code: "BAD_FILE" });
  expect(fake.sent).toBe(2 ** 20);
});

test.each([
  ["text", Buffer.from("this is not a model ".repeat(100))],
  ["nothing", Buffer.alloc(0)],
  ["the magic alone", Buffer.from("GGUF")],
])("%s is refused", async (_, content) => {
  await expect(openFile(content)).rejects.toMatchObject({ code: "BAD_FILE" });
});
