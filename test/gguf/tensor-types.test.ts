// The list of tensor types, and that everything which offers types offers those of the list.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  convertCheckpoint,
  generateDummy,
  listKernels,
  listTensorTypes,
  loadModel,
  openGguf,
  setupModel,
} from "../../src/index.js";
import { findFixture, root, runBitnet } from "../support/fixtures.js";

const types = listTensorTypes();
const lowerCase = (chosen: typeof types) => chosen.map(({ name }) => name.toLowerCase());
const embeddings = lowerCase(types.filter(({ writable }) => writable));
const matrices = lowerCase(types.filter(({ fileType }) => fileType !== undefined));

test("a type is listed with its id, its block and what it can be", () => {
  expect(types.find(({ name }) => name === "Q6_K")).toEqual({
    name: "Q6_K",
    id: 14,
    blockElements: 256,
    blockBytes: 210,
    ternary: false,
    readable: true,
    writable: true,
    substitute: "Q8_0",
  });
  expect(types.find(({ name }) => name === "TQ2_0")).toMatchObject({ id: 35, ternary: true, readable: false });
  expect(new Set(types.map(({ id }) => id)).size).toBe(types.length);
  expect(matrices).toEqual(expect.arrayContaining(["i2_s", "tl1", "tl2", "iq2_bn", "f16"]));
});

describe("docs/formats.md", () => {
  const text = readFileSync(join(root, "docs", "formats.md"), "utf8");
  const [, ternary = "", floats = ""] = text.split(/^## .*\n/m);

  test("names every ternary type", () => {
    const named = new Set(ternary.match(/^\| ([A-Z0-9_, ]+) \|/gm)?.flatMap((cell) => cell.match(/[A-Z0-9_]+/g) ?? []));
    expect([...named]).toEqual(types.filter((type) => type.ternary).map(({ name }) => name));
  });

  test("has the types of everything else as they are", () => {
    const rows = types
      .filter(({ readable }) => readable)
      .map(({ name, blockBytes, blockElements, writable, substitute = "" }) =>
        [name, (8 * blockBytes) / blockElements, blockElements, writable ? "yes" : "", substitute].join(" | "),
      );
    const cells = floats.match(/^\| [A-Z].*/gm)?.map((line) => line.split("|").slice(1, -1));
    expect(cells?.map((line) => line.map((cell) => cell.trim()).join(" | "))).toEqual(rows);
  });
});

describe("the help names every type of the list", () => {
  const names = (text: string) => new Set(text.match(/\b[a-z]+\d\w*\b/g));
  test.each([["convert"], ["dummy"], ["setup-env"]])("of bitnet %s", async (command) => {
    const { stdout } = await runBitnet([command, "--help"], { env: { ...process.env, COLUMNS: "1000" } });
    expect([...names(stdout)]).toEqual(expect.arrayContaining([...embeddings, ...matrices]));
  });
});

test("a model is set up with every embedding type that a conversion writes", async () => {
  for (const type of embeddings) {
    const { status, stderr } = await runBitnet(["setup-env", "-md", "/nowhere", "--quant-embd", type]);
    expect({ type, status, stderr }).toMatchObject({ status: 1, stderr: expect.stringMatching(/no model directory/) });
  }
});

test("a type that does not exist is refused before anything is looked for", async () => {
  const usage = (message: RegExp) => ({ code: "USAGE", message: expect.stringMatching(message) });
  await expect(setupModel({ modelDir: "/nowhere", type: "q9" })).rejects.toMatchObject(
    usage(/unknown output type "q9"; known: .*\bi2_s\b/),
  );
  await expect(setupModel({ modelDir: "/nowhere", embeddingType: "q5_1" })).rejects.toMatchObject(
    usage(/unknown embedding type "q5_1"; known: .*\bq3_k\b/),
  );
});

test("every embedding type is written, and what its blocks do not divide gets the substitute", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-types-"));
  const outfile = join(folder, "model.gguf");
  const typeOf = (path: string) =>
    openGguf(path)
      .tensors()
      .find(({ name }) => name === "token_embd.weight")?.type;
  try {
    for (const type of types.filter(({ writable }) => writable)) {
      for (const [size, cols] of [
        ["125M", 768],
        ["bitnet-embedding-270m", 640],
      ] as const) {
        await generateDummy({ outfile, size, layers: 1, vocabSize: 300, embeddingType: type.name });
        const expected = cols % type.blockElements === 0 ? type.name : type.substitute;
        expect({ size, given: type.name, type: typeOf(outfile) }).toEqual({ size, given: type.name, type: expected });
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

// No kernel reads these types: their rows are dequantized, and what is computed is what floats give.
test("a model with an embedding and a head of K types with minima has the very logits of its dequantized twin", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-types-"));
  const [quantized, floats] = [join(folder, "quantized.gguf"), join(folder, "floats.gguf")];
  const source = findFixture("golden", "llama-TQ2_0-q6_k.gguf") ?? ""; // with a head of its own
  const ids = [1, 300, 65, 1000, 1792];
  const logitsOf = async (path: string, kernel: string) => {
    await using model = await loadModel(path, { kernel });
    await using session = model.createSession();
    await session.prefill(ids, { logits: "all" });
    return session.logits().slice();
  };
  try {
    for (const type of ["Q5_K", "Q4_K", "Q2_K"]) {
      await convertCheckpoint({ source, outfile: quantized, outtype: "i2_s", embeddingType: type, outputType: type });
      const types = openGguf(quantized).tensors();
      expect(types.filter((tensor) => tensor.type === type).map(({ name }) => name)).toHaveLength(2);
      await convertCheckpoint({ source: quantized, outfile: floats, outtype: "i2_s", embeddingType: "f32" });
      for (const { name } of listKernels().filter(({ supported }) => supported)) {
        const [given, twin] = [await logitsOf(quantized, name), await logitsOf(floats, name)];
        expect(given.every(Number.isFinite)).toBe(true);
        expect({ type, name, same: given.every((value, i) => value === twin[i]) }).toEqual({ type, name, same: true });
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
