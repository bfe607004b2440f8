// bitnet embed, search and sts as processes, on a small model of embeddings: every output, every input, and what is refused.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createPrinter } from "../../src/cli/embed-print.js";
import { NpyFile } from "../../src/embed/npy.js";
import { loadModel } from "../../src/engine/model.js";
import { findFixture, root, runBitnet, tinyModel, untilWritten } from "../support/fixtures.js";

const model = findFixture("eval/embed", "qwen3-bitnet.gguf") ?? "";
const folder = mkdtempSync(join(tmpdir(), "bitnet-embed-command-"));
const at = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));

const texts = ["The mill and the water.", "query: What is BitNet?", "Café 東京 🙂"];
let vectors: number[][];

beforeAll(async () => {
  await using loaded = await loadModel(model, { threads: 1 });
  vectors = (await loaded.embed(texts, { parseSpecial: true })).vectors.map((vector) => Array.from(vector));
});

const embed = (args: string[], input?: string) =>
  runBitnet(["embed", "-m", model, "-t", "1", ...args], input === undefined ? {} : { input });
const asFloats = (numbers: number[]) => Array.from(Float32Array.from(numbers));

test("the formats of llama-embedding are printed character for character", () => {
  const print = (
    format: Parameters<typeof createPrinter>[0],
    form = {},
    rows = [
      [0.25, -0.5],
      [-0, 1e-9],
    ],
  ) => {
    const printer = createPrinter(format, { isWhole: false, ofTokens: false, ...form });
    return printer.begin() + rows.map((row, i) => printer.add(row, `text ${i} of two`)).join("") + printer.end();
  };
  expect(print("")).toBe(
    "embedding 0:  0.250000 -0.500000 \nembedding 1: -0.000000  0.000000 \n\ncosine similarity matrix:\n\n" +
      "text 0 text 1 \n  1.00  -0.89 text 0 of \n -0.89   1.00 text 1 of \n",
  );
  expect(print("", {}, [[0.25, -0.5]])).toBe("embedding 0:  0.250000 -0.500000 \n");
  const wide = Array.from({ length: 20 }, (_, i) => i);
  expect(print("", { isWhole: true }, [wide, wide]).split("\n")[0]).toBe(
    `embedding 0: ${wide
      .slice(0, 16)
      .map((x) => `${String(x).padStart(6)} `)
      .join("")}`,
  );
  expect(print("", { ofTokens: true }, [[1, 2, 3, 4]])).toBe(
    "embedding 0:  1.000000  2.000000  3.000000  ...  2.000000  3.000000  4.000000 \n",
  );
  expect(print("array")).toBe("[[0.2500000,-0.5000000],[-0.0000000,0.0000000]]\n");
  expect(print("array", { isWhole: true }, [[0.5, 1.5, -2.5, 32760]])).toBe("[[0,2,-2,32760]]\n");
  expect(print("raw")).toBe("0.2500000 -0.5000000\n-0.0000000 0.0000000\n");
  const object = (i: number, list: string) =>
    `    {\n      "object": "embedding",\n      "index": ${i},\n      "embedding": [${list}]\n    }`;
  const data = `${object(0, "0.2500000,-0.5000000")},\n${object(1, "-0.0000000,0.0000000")}\n  ]`;
  const begin = '{\n  "object": "list",\n  "data": [\n';
  expect(print("json")).toBe(`${begin}${data}\n}\n`);
  expect(print("json+")).toBe(
    `${begin}${data},\n  "cosineSimilarity": [\n    [  1.00,  -0.89 ],\n    [ -0.89,   1.00 ]\n  ]\n}\n`,
  );
});

test("json is what the library computes, to seven decimals, and the line on stderr shows the pooling", async () => {
  const { stdout, stderr, status } = await embed(["-p", texts.join("\\n"), "--embd-output-format", "json"]);
  expect(status).toBe(0);
  const { data } = JSON.parse(stdout);
  expect(data.map(({ embedding }: { embedding: number[] }) => embedding)).toEqual(
    vectors.map((vector) => vector.map((x) => Number(x.toFixed(7)))),
  );
  expect(stderr).toMatch(/3 texts, \d+ tokens in .*; pooling mean, \d+ dimensions/);
  expect(stderr).toMatch(/note: the pooling is mean, as the file says/);
});

test("texts come from -p, a separator, files, JSON lines and stdin, with nothing lost", async () => {
  writeFileSync(at("texts.txt"), `${texts.join("\r\n")}\r\n`);
  writeFileSync(at("texts.jsonl"), `\ufeff${texts.map((text) => JSON.stringify({ id: 1, text })).join("\n")}\n\n`);
  const [first = "", ...others] = texts;
  const sources: [string[], string?][] = [
    [["-p", first, ...others.flatMap((text) => ["-p", text])]],
    [["-p", texts.join("<sep>"), "--embd-separator", "<sep>"]],
    [["-f", at("texts.txt")]],
    [["-f", at("texts.jsonl"), "--jsonl", "text"]],
    [[], texts.join("\n")],
    [["-f", "-", ...others.flatMap((text) => ["-p", text])], first],
  ];
  for (const [args, input] of sources) {
    const { stdout } = await embed([...args, "--embd-output-format", "jsonl", "--quiet"], input);
    const rows = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(
      rows.map(({ text }) => text),
      args.join(" "),
    ).toEqual(texts);
    expect(rows.map(({ embedding }) => asFloats(embedding))).toEqual(vectors);
  }
});

test("--json has the model, the pooling and vectors of the pooling that was asked for", async () => {
  const args = ["-p", texts[0] ?? "", "--pooling", "none", "--dimensions", "4", "--json", "--prefix", "x: "];
  const { stdout, stderr } = await embed(args);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ pooling: "none", dimensions: 4, normalize: 2, prefix: "x: ", precision: "float32" });
  expect(result.data[0].embedding).toHaveLength(result.tokens);
  expect(result.data[0].embedding[0]).toHaveLength(4);
  expect(stderr).not.toMatch(/as the file says/);
});

test("a run that was killed is gone on with, to the bytes of one that was not; search finds the texts", async () => {
  const lines = Array.from({ length: 1500 }, (_, i) => `the mill and the water number ${i}`);
  writeFileSync(at("many.txt"), `${lines.join("\n")}\n`);
  const args = ["-f", at("many.txt"), "--quantize", "int8", "-o"];
  const child = spawn(process.execPath, [
    ...[join(root, "bin", "bitnet.js"), "embed", "-m", model, "-t", "1", ...args, at("killed.npy")],
  ]);
  const gone = new Promise((resolve) => child.once("exit", resolve));
  await untilWritten(at("killed.texts.jsonl.partial"), child);
  child.kill("SIGKILL");
  await gone;
  if (!existsSync(at("killed.npy"))) {
    expect((await embed([...args, at("killed.npy")])).stderr).toMatch(/going on after \d+ texts of an earlier run/);
  }
  expect((await embed([...args, at("whole.npy")])).status).toBe(0);
  for (const name of ["npy", "texts.jsonl", "json"]) {
    expect(readFileSync(at(`killed.${name}`)).equals(readFileSync(at(`whole.${name}`))), name).toBe(true);
  }
  await using file = await NpyFile.open(at("whole.npy"));
  expect(file.shape).toMatchObject({ type: "int8", rows: 1500 });
  const query = "the mill and the water number 1234";
  const { stdout } = await runBitnet(["embed", "search", "--index", at("whole.npy"), "-p", query, "--top", "2"]);
  const [{ hits }] = JSON.parse(stdout).queries;
  expect(hits[0]).toMatchObject({ row: 1234, text: query });
  expect(hits).toHaveLength(2);
});

test("sts tells the correlations of local pairs", async () => {
  const rows = [
    [texts[0], "The mill and the water.", 5],
    [texts[0], "The mill and a water.", 4],
    [texts[0], "zebra", 0],
    [texts[1], texts[2], 1],
  ].map(([sentence1, sentence2, score]) => JSON.stringify({ sentence1, sentence2, score }));
  writeFileSync(at("test.jsonl"), rows.join("\n"));
  const sts = (...args: string[]) =>
    runBitnet(["embed", "sts", "-m", model, "-t", "1", "--data", at("test.jsonl"), ...args]);
  const { stdout, status } = await sts("--pooling", "last");
  expect(status).toBe(0);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ pairs: 4, pooling: "last", instruction: "Retrieve semantically similar text" });
  expect(Math.abs(result.spearman)).toBeLessThanOrEqual(1);
  expect(JSON.parse((await sts("--no-instruction")).stdout)).toMatchObject({ instruction: "", pooling: "mean" });
  writeFileSync(at("test.jsonl"), `${rows.join("\n")}\n${JSON.stringify({ sentence1: "a", sentence2: "b" })}\n`);
  expect((await sts()).stderr).toMatch(/row 5: score: expected a number/);
});

test("what cannot be done is told with the next step", async () => {
  const cases: [string[], number, RegExp][] = [
    [["embed", "-p", "a"], 1, /expected a model that embeds texts\nhint: give one with -m/],
    [
      ["embed", "-m", model, "-p", "a", "--quantize", "int8"],
      2,
      /needs the ranges.*\nhint: give --ranges or --calibration/,
    ],
    [["embed", "-m", model, "-p", "a", "-o", "x.npy", "--json"], 2, /expected one of --json, .* and -o/],
    [["embed", "-m", model, "-p", "a", "--embd-output-format", "npy"], 2, /say where with -o/],
    [["embed", "-m", model, "-p", "a", "--ranges", "x", "--quantize", "int4"], 2, /are for --quantize int8 or uint8/],
    [["embed", "-m", model, "-p", "a", "--prompt-name", "query"], 1, /the file has no prompt "query"\nhint: /],
    [
      ["embed", "-m", model, "-p", "a", "-o", at("none.npy"), "--pooling", "none"],
      1,
      /a row for each text\nhint: take jsonl/,
    ],
    [["embed", "-m", model, "-p", `ok\\n${"mill ".repeat(3000)}`], 1, /text 2 has \d+ tokens, more than the context/],
    [["embed", "search", "-p", "a"], 2, /expected --index FILE and a query/],
    [["embed", "search", "-m", model, "--index", at("none.npy"), "-p", "a"], 1, /none.npy: no such file/],
    [["embed", "-m", model, "-f", folder], 1, /bitnet-embed-command-\w+: it is a directory/],
    [["eval", "perplexity", "-f", folder], 1, /bitnet-embed-command-\w+: it is a directory/],
    [["run", "-m", model, "-p", "a"], 1, /hint: `bitnet embed`/],
    [["bench", "-m", model], 1, /^error: this model makes embeddings.*\nhint: `bitnet embed`/],
    [
      ["eval", "tasks", "-m", model, "-t", "arc_easy"],
      1,
      /^error: this model makes embeddings.*\nhint: `bitnet embed`/,
    ],
  ];
  const results = await Promise.all(cases.map(([args]) => runBitnet(args)));
  for (const [i, [args, status, message]] of cases.entries()) {
    expect(results[i]?.stderr, args.join(" ").slice(0, 80)).toMatch(message);
    expect(results[i]?.status).toBe(status);
  }
  expect(existsSync(at("none.npy.partial"))).toBe(false);
  const spelled = await runBitnet(["llama-embedding", "-m", tinyModel, "-p", "a", "--embd-normalize", "x"]);
  expect(spelled.stderr).toMatch(/'--embd-normalize <n>' argument 'x' is invalid/);
});
