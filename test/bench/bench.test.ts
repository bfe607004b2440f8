// bitnet bench: what it reports, its arithmetic, and what it reads and writes. No test looks at how fast anything is.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { Chalk } from "chalk";
import { afterAll, describe, expect, test } from "vitest";
import { compareResults, parseEarlier } from "../../src/bench/compare.js";
import { type BenchResult, nameTest } from "../../src/bench/end-to-end.js";
import { averageWatts, openEnergyMeter, sumJoules } from "../../src/bench/energy.js";
import { limitOf, listWork, totalWork } from "../../src/bench/limits.js";
import { drawPlot } from "../../src/bench/plot.js";
import { labelModel, toCsv, toMarkdown, toSql } from "../../src/bench/report.js";
import { medianOf, summarize } from "../../src/bench/stats.js";
import { denseTwinBytes, embeddingTwinBytes, writeDenseTwin } from "../../src/bench/twins.js";
import { formatBenchTable } from "../../src/cli/bench-table.js";
import { listKernels } from "../../src/engine/model.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";
import { parseXml } from "../support/xml.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-bench-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const quick = ["-m", tinyModel, "-r", "2", "--no-roofline"];

async function bench(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await runBitnet(["bench", ...args]);
  expect({ status, stderr }).toMatchObject({ status: 0, stderr: expect.not.stringContaining("error:") });
  return stdout;
}

interface Report {
  machine: Record<string, unknown>;
  results: BenchResult[];
  limits: { kernel: string; threads: number; readBandwidth: number; int8Peak: number }[];
  energy: { source?: string; unavailable?: string };
  comparisons?: { test: string; ratio: number; low: number; high: number; earlier: { description: string } }[];
}

async function benchJson(...args: string[]): Promise<Report> {
  return JSON.parse(await bench(...args, "-o", "json")) as Report;
}

function result(changes: Partial<BenchResult> = {}, samples = [10, 20, 30]): BenchResult {
  return {
    tuning: null,
    model: {
      path: "/models/a.gguf",
      name: "A",
      architecture: "bitnet",
      weightType: "I2_S",
      embeddingType: "F16",
      bytes: 1e9,
      parameters: 2e9,
      copiedBytes: 0,
      fastHead: true,
    },
    kernel: "avx2",
    threads: 2,
    cacheType: "f16",
    test: "pp128",
    prompt: 128,
    generate: 0,
    depth: 0,
    startedAt: "2026-01-01T00:00:00.000Z",
    seconds: samples.map((speed) => 128 / speed),
    tokensPerSecond: { ...summarize(samples), samples },
    bytes: 1,
    operations: 1,
    joulesPerToken: null,
    ...changes,
  };
}

describe("bitnet bench", () => {
  test("measures an int8 cache, which has less to read after a filled context", async () => {
    const args = ["-p", "0", "-n", "2", "-d", "256", "-r", "1", "--no-roofline"];
    const [f16] = (await benchJson(...args)).results;
    const [q8] = (await benchJson(...args, "-ctk", "q8_0")).results;
    expect([f16?.cacheType, q8?.cacheType]).toEqual(["f16", "q8"]);
    expect(q8?.bytes).toBeLessThan(f16?.bytes ?? 0);
    expect(labelModel(result({ cacheType: "q8" }))).toContain("q8 cache");
  });

  test("measures prefill and decode for every number of threads and depth", async () => {
    const report = await benchJson(
      "-m",
      tinyModel,
      "-p",
      "8,300",
      "-n",
      "4",
      "-pg",
      "8,4",
      "-t",
      "1,2",
      "-d",
      "0,5",
      "-r",
      "2",
    );
    const tests = ["pp8", "pp300", "tg4", "pp8+tg4", "pp8 @ d5", "pp300 @ d5", "tg4 @ d5", "pp8+tg4 @ d5"];
    expect(report.results.map(({ threads, test }) => `${threads} ${test}`)).toEqual(
      [1, 2].flatMap((threads) => tests.map((name) => `${threads} ${name}`)),
    );
    for (const { seconds, prompt, generate, tokensPerSecond, limit, model } of report.results) {
      expect(seconds).toHaveLength(2);
      expect(Math.min(...seconds)).toBeGreaterThan(0);
      expect(tokensPerSecond.samples).toEqual(seconds.map((time) => (prompt + generate) / time));
      expect(tokensPerSecond).toMatchObject(summarize(tokensPerSecond.samples));
      expect(limit?.percent).toBeGreaterThan(0);
      expect(["memory", "compute"]).toContain(limit?.bound);
      expect(model).toMatchObject({ path: tinyModel, weightType: "I2_S", embeddingType: "F16" });
    }
    expect(report.limits.map(({ threads }) => threads)).toEqual([1, 2]);
    expect(Math.min(...report.limits.flatMap((limits) => [limits.readBandwidth, limits.int8Peak]))).toBeGreaterThan(
      1e6,
    );
    expect(report.machine).toMatchObject({ version: expect.stringMatching(/^\d+\.\d+\.\d+/), cpu: expect.any(String) });
    expect(report.energy.source ?? report.energy.unavailable).toMatch(/\w/);
  });

  test("counts the bytes of the weights and of the filled context", async () => {
    const { results } = await benchJson(...quick, "-p", "1", "-n", "1", "-d", "0,100");
    const bytes = Object.fromEntries(results.map((entry) => [entry.test, entry.bytes]));
    const tensors = openGguf(tinyModel).tensors();
    const matrices = tensors.filter(({ name, shape }) => shape.length === 2 && name.startsWith("blk."));
    const weights = matrices.reduce(
      (sum, { shape }) => sum + Math.ceil((shape[0] ?? 0) / 128) * 32 * (shape[1] ?? 0),
      0,
    );
    expect(bytes.tg1).toBeGreaterThan(weights);
    expect(bytes.tg1).toBeLessThan(
      weights + 1.1 * (tensors.find(({ name }) => name === "token_embd.weight")?.bytes ?? 0),
    );
    expect(bytes["tg1 @ d100"]).toBeGreaterThan(bytes.tg1 ?? Number.POSITIVE_INFINITY);
    const operations = 2 * matrices.reduce((sum, { shape }) => sum + (shape[0] ?? 0) * (shape[1] ?? 0), 0);
    expect(results.map((entry) => entry.operations)).toEqual([operations, operations, operations, operations]);
  });

  test("prints a table with the machine, the limits and what is known of the energy", async () => {
    const text = await bench("-m", tinyModel, "-p", "8", "-n", "4", "-r", "2", "-t", "1", "--kernel", "scalar");
    const lines = text.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^bitnet \d+\.\d+\.\d+, .+ \(\d+ cores.*, \w+\), \d+ GiB, /);
    expect(lines[2]).toMatch(/^\| model +\| +size \| +params \| kernel \| threads \| test \| +t\/s \| /);
    expect(lines[4]).toMatch(
      /^\| bitnet-b1\.58 I2_S, F16 embedding \| +1\.84 MiB \| 3\.68 M \| scalar \| +1 \| pp8 +\| +[\d.]+ ± [\d.]+ \| +[\d.]+ \[[\d.]+-[\d.]+\] \| +[\d.]+ G(B|OP)\/s \| +\d+ % \((memory|compute)\) \|$/,
    );
    expect(lines[5]).toMatch(/\| tg4 +\|/);
    expect(text).toMatch(/^Limits measured with 1 thread: [\d.]+ GB\/s read, [\d.]+ GOP\/s int8 \(scalar\)\.$/m);
    expect(text).toMatch(/^Energy: (RAPL|powermetrics|not available: .+)/m);
  });

  test("writes one JSON object per line, or CSV with a header", async () => {
    const lines = (await bench(...quick, "-p", "4", "-n", "2", "-o", "jsonl")).trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as BenchResult).test)).toEqual(["pp4", "tg2"]);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ machine: { cpu: expect.any(String) } });

    const [header = "", ...rows] = (await bench(...quick, "-p", "4", "-n", "2", "-o", "csv")).trimEnd().split("\n");
    expect(header.split(",")).toEqual(
      expect.arrayContaining(["cpu", "kernel", "threads", "test", "median_ts", "stddev_ts"]),
    );
    expect(rows).toHaveLength(2);
    expect(rows.every((row) => row.split(",").length >= header.split(",").length)).toBe(true);
  });

  test("takes several models, by commas or repeated, and kernels and layouts by name", async () => {
    const copy = join(folder, "with,comma.gguf");
    writeFileSync(copy, readFileSync(tinyModel));
    const args = ["-p", "2", "-n", "0", "-r", "1", "--no-roofline", "--no-warmup", "-t", "1"];
    const { results } = await benchJson(
      "-m",
      `${tinyModel},${tinyModel}`,
      "-m",
      copy,
      "--kernel",
      "scalar",
      "--layout",
      "trit",
      ...args,
    );
    expect(results.map(({ model, kernel }) => `${basename(model.path)} ${kernel} ${model.layout}`)).toEqual([
      "tiny-bitnet.gguf scalar trits",
      "with,comma.gguf scalar trits",
    ]);
  });

  test.each([
    [["-p", "0", "-n", "0"], 1, /nothing to measure/],
    [["-p", "x"], 2, /: expected an integer/],
    [["-pg", "8"], 2, /two numbers of tokens/],
    [["-o", "xml"], 2, /md, csv, json, jsonl/],
    [["--kernel", "mmx", "-p", "1"], 1, /no kernel is named 'mmx'/],
    [["-m", "missing.gguf"], 1, /missing\.gguf/],
    [["--compare", "missing.json"], 1, /missing\.json/],
    [["--baseline", "f32"], 2, /f16/],
  ])("refuses %j", async (args, expected, message) => {
    const { status, stdout, stderr } = await runBitnet(["bench", ...args]);
    expect({ status, stdout }).toEqual({ status: expected, stdout: "" });
    expect(stderr).toMatch(message);
  });

  test.skipIf(process.platform === "win32")("ends with 130 at Ctrl-C", async () => {
    const args = ["bench", "-m", tinyModel, "-p", "16", "-n", "0", "-r", "10000", "--no-roofline"];
    const running = spawn(process.execPath, [join(root, "bin", "bitnet.js"), ...args]);
    await once(running.stderr, "data"); // the first percent
    running.kill("SIGINT");
    expect(await once(running, "close")).toEqual([130, null]);
  });
});

describe("--compare", () => {
  const llamaBench = [
    {
      model_filename: "/x/b.gguf",
      model_type: "2B",
      build_commit: "abc",
      n_threads: 2,
      n_prompt: 128,
      n_gen: 0,
      samples_ts: [5, 10],
    },
    { model_filename: "/x/b.gguf", n_threads: 1, n_prompt: 128, n_gen: 0, avg_ts: 4 },
    { model_filename: "/x/b.gguf", n_threads: 2, n_prompt: 0, n_gen: 16, n_depth: 64, avg_ts: 4, stddev_ts: 1 },
  ];

  test("reads llama-bench's JSON and gives the ratio of medians with its spread", () => {
    const earlier = parseEarlier(JSON.stringify(llamaBench), "x.json");
    expect(earlier.map(({ test, threads }) => `${threads} ${test}`)).toEqual(["2 pp128", "1 pp128", "2 tg16 @ d64"]);
    const comparisons = compareResults([result()], earlier);
    expect(comparisons).toHaveLength(1);
    expect(comparisons[0]).toMatchObject({ test: "pp128", threads: 2, median: 20, ratio: 20 / 7.5, low: 1, high: 6 });
    expect(comparisons[0]?.earlier.description).toBe("llama-bench abc, 2B");
  });

  test("takes what Python writes, and says where it is no JSON", () => {
    const text = JSON.stringify({ ...llamaBench[0], other: 0 }).replace('"other":0', '"other":NaN');
    expect(parseEarlier(text, "x.json").map(({ samples }) => samples)).toEqual([[5, 10]]);
    expect(parseEarlier(`${text}\r\n\r\n${text}\r\n`, "x.jsonl")).toHaveLength(2);
    expect(() => parseEarlier(`${text}\n\n{"a" 1}\n`, "x.jsonl")).toThrow(
      'x.jsonl: not valid JSON at line 3, column 6: expected a colon but found "1"',
    );
    expect(() => parseEarlier('[\n  {"a": 1},\n  nothing]', "x.json")).toThrow(
      "x.json: not valid JSON at line 3, column 3",
    );
  });

  test("does not take more samples than a run can have", () => {
    const many = { ...llamaBench[0], samples_ts: Array(500_000).fill(1) };
    expect(() => parseEarlier(JSON.stringify([many]), "x.json")).toThrow(/no results/);
  });

  test("prefers the file of the same name", () => {
    const same = { ...llamaBench[0], model_filename: "/y/a.gguf", samples_ts: [40] };
    const earlier = parseEarlier(JSON.stringify([...llamaBench, same]), "x.json");
    expect(compareResults([result()], earlier).map(({ ratio }) => ratio)).toEqual([0.5]);
  });

  test("reads its own output, as one object or as lines", () => {
    const own = result();
    const expected = [
      { model: "/models/a.gguf", description: "bitnet avx2, I2_S", test: "pp128", threads: 2, samples: [10, 20, 30] },
    ];
    expect(parseEarlier(JSON.stringify({ machine: {}, results: [own] }), "x")).toEqual(expected);
    expect(parseEarlier(`${JSON.stringify(own)}\n${JSON.stringify(own)}\n`, "x")).toEqual([...expected, ...expected]);
  });

  test.each([
    ["not json"],
    ["[]"],
    ["{}"],
    ['[{"model_filename":"a","n_threads":2,"n_prompt":1,"avg_ts":-1}]'],
    ["[null]"],
    ["3"],
  ])("refuses %s", (text) => {
    expect(() => parseEarlier(text, "x.json")).toThrow(/^x\.json: /);
  });

  test("shows the ratios beside the results", async () => {
    const path = file("earlier.json", JSON.stringify([{ ...llamaBench[0], n_prompt: 4, n_threads: 1 }]));
    const args = [...quick, "-p", "4", "-n", "2", "-t", "1", "--compare", path];
    expect(await bench(...args)).toMatch(
      /^\| compared with +\|.*\n.*\n\| llama-bench abc, 2B \| tiny-bitnet\.gguf \| +1 \| pp4 +\| +7\.50 \|/m,
    );
    const { comparisons = [] } = await benchJson(...args);
    expect(comparisons.map(({ test }) => test)).toEqual(["pp4"]);
    expect(comparisons[0]?.low).toBeLessThanOrEqual(comparisons[0]?.ratio ?? 0);
    expect(comparisons[0]?.high).toBeGreaterThanOrEqual(comparisons[0]?.ratio ?? Number.POSITIVE_INFINITY);
  });
});

describe("as llama-bench", () => {
  test("takes the whole command line of llama-bench and of e2e_benchmark.py", async () => {
    const line = "-n 2 -p 4 -t 1 -ngl 0 -b 1 -ub 512 -fa 1 -mmp 1 -ctk f16 -ctv f16 -nkvo 1 -sm none -mg 0 -embd 0";
    const more =
      "-r 1 --prio 0 --delay 0 --no-warmup --progress -C 0x3 --cpu-strict 1 --poll 50 --numa distribute -nopo 0 -dio 0 -rpc x";
    const { status, stdout, stderr } = await runBitnet(["bench", "-m", tinyModel, ...`${line} ${more}`.split(" ")]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toMatch(/\| pp4 .*\n.*\| tg2 /);
    expect(stderr).toMatch(/note: --batch-size has no effect: batches have the size that is fastest/);
    for (const harmless of ["--n-gpu-layers", "--flash-attn", "--mmap", "--nkvo", "--split-mode", "--main-gpu"]) {
      expect(stderr).not.toContain(harmless);
    }
  });

  test("takes the long names of e2e_benchmark.py", async () => {
    const line = "--n-token 2 --n-prompt 4 --threads 1 -r 1 --no-roofline";
    const { status, stdout } = await runBitnet(["bench", "--model", tinyModel, ...line.split(" ")]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/\| pp4 .*\n.*\| tg2 /);
  });

  test.each([
    ["-c", /-d fills it/],
    ["-hf", /-m takes owner\/name/],
  ])("says what to do instead of %s", async (name, hint) => {
    const { status, stderr } = await runBitnet(["bench", "-m", tinyModel, name, "1"]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringMatching(hint) });
  });

  test("measures ranges, and says its results under llama-bench's names, too", async () => {
    const lines = (await bench(...quick, "-p", "2-8*2", "-n", "0", "-t", "1-2", "-o", "jsonl")).trimEnd().split("\n");
    const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown> & { samples_ts: number[] });
    expect(entries.map(({ n_threads, n_prompt }) => `${n_threads} ${n_prompt}`)).toEqual(
      [1, 2].flatMap((threads) => [2, 4, 8].map((prompt) => `${threads} ${prompt}`)),
    );
    expect(entries[0]).toMatchObject({ model_filename: tinyModel, n_gen: 0, n_depth: 0, type_k: "f16" });
    for (const { samples_ts, avg_ts } of entries) {
      expect(samples_ts).toHaveLength(2);
      expect(avg_ts).toBe(summarize(samples_ts).mean);
    }
  });

  test("writes SQL with the same columns in every row, quoting what texts hold", () => {
    const types = { text: ["a"], integer: ["n"] };
    expect(
      toSql(
        "t",
        [
          { a: "it's", n: 2, x: 0.5 },
          { a: null, n: undefined, x: 3 },
        ],
        types,
      ),
    ).toBe(
      "CREATE TABLE IF NOT EXISTS t (\n  a TEXT,\n  n INTEGER,\n  x REAL\n);\n\n" +
        "INSERT INTO t (a, n, x) VALUES ('it''s', 2, 0.5);\nINSERT INTO t (a, n, x) VALUES (NULL, NULL, 3);\n",
    );
  });

  test("writes to a file of that ending, and once more to stderr", async () => {
    const path = join(folder, "results.sql");
    const args = ["bench", ...quick, "-p", "4", "-n", "0", "-o", path, "-oe", "csv"];
    const { status, stdout, stderr } = await runBitnet(args);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
    expect(stderr).toMatch(/^build_commit,.*,n_prompt,.*avg_ts/m);
    expect(readFileSync(path, "utf8")).toMatch(
      /^CREATE TABLE IF NOT EXISTS llama_bench \(\n[\s\S]*\nINSERT INTO llama_bench /,
    );
  });

  test("measures a model with other types of embedding and leaves nothing behind", async () => {
    const env = { TMPDIR: mkdtempSync(join(folder, "tmp-")) };
    const args = ["bench", ...quick, "-p", "4", "-n", "0", "--embedding-types", "Q6_K,f32,q6_k", "-o", "json"];
    const { status, stdout, stderr } = await runBitnet(args, { env });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const { results } = JSON.parse(stdout) as Report;
    expect(results.map(({ model }) => `${model.path} ${model.weightType} ${model.embeddingType}`)).toEqual([
      `${tinyModel} I2_S Q6_K`,
      `${tinyModel} I2_S F32`,
    ]);
    expect(results[0]?.model.bytes).toBeLessThan(results[1]?.model.bytes ?? 0);
    expect(readdirSync(env.TMPDIR)).toEqual([]);
    expect(Math.abs(embeddingTwinBytes(tinyModel, "q6_k") - (results[0]?.model.bytes ?? 0))).toBeLessThan(4096);
  });
});

describe("the table on a terminal", () => {
  const machine = {
    version: "0.1.0",
    cpu: "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
    cores: 32,
    processors: 64,
    memoryBytes: 2 ** 36,
    os: "Linux 6.1.0-32-amd64",
    arch: "x64",
    node: "22.0.0",
    isTranslated: false,
  };
  const results = [
    result({ limit: { percent: 50, bound: "memory" } }, [90000, 91000]),
    result({ test: "pp512+tg128 @ d4096", threads: 16, limit: { percent: 140.4, bound: "compute" } }),
    result({ kernel: "avx512vnni", joulesPerToken: 0.25 }),
  ];
  const report = { machine, results, limits: [], energy: { unavailable: "no counter ".repeat(12).trim() } };

  test.each([60, 80, 120])("fits %d columns", (columns) => {
    const lines = formatBenchTable(report, columns, new Chalk({ level: 0 })).split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(lines.filter((line) => line.startsWith("a.gguf: bitnet I2_S, F16 embedding,"))).toHaveLength(2);
    expect(lines.find((line) => line.includes("pp128"))).toMatch(
      columns < 80 ? /^ +2 +pp128 +90500 ± 707 +50 % memory$/ : /^ +2 +pp128 +90500 ± 707 +█+░+ +50 % memory$/,
    );
    expect(lines.find((line) => line.includes("@ d4096"))).toMatch(/20.00 ± 10.00 +█* ?140 % compute$/);
  });
});

describe("--plot", () => {
  /** Texts and colours of the labels of lines, in all panels. */
  function labelsOf(svg: string): { text: string; color: string }[] {
    return [...svg.matchAll(/<text [^>]*style="fill: ([^"]*)">([^<]*)</g)].map(([, color = "", text = ""]) => ({
      text,
      color,
    }));
  }

  test("labels lines with what tells them apart and nothing else, and a colour has one meaning", () => {
    const make = (kernel: string, threads: number, prompt: number) => result({ kernel, threads, prompt });
    const all = ["amx", "avx2"].flatMap((kernel) => [1, 2].flatMap((n) => [64, 512].map((p) => make(kernel, n, p))));
    const svg = drawPlot(all, "machine");
    const labels = labelsOf(svg);
    expect(labels.map(({ text }) => text)).toEqual([
      "amx, 64 tokens",
      "amx, 512 tokens",
      "avx2, 64 tokens",
      "avx2, 512 tokens",
      "amx, 1 thread",
      "amx, 2 threads",
      "avx2, 1 thread",
      "avx2, 2 threads",
    ]);
    const kernelsOf = new Map(labels.map(({ text, color }) => [color, text.split(",")[0]]));
    expect([...kernelsOf.values()].sort()).toEqual(["amx", "avx2"]);
    expect(svg).toContain(">a.gguf (bitnet I2_S, F16 embedding)<");
    expect(svg).toContain("@media (prefers-color-scheme: dark)");
  });

  test("gives no colour two meanings, however many there are, and every label a line of its own", () => {
    const many = Array.from({ length: 30 }, (_, i) =>
      [1, 2].map((threads) => result({ threads, kernel: `kernel${i}` }, [i + threads])),
    ).flat();
    const svg = drawPlot(many, "machine");
    const labels = labelsOf(svg);
    expect(labels).toHaveLength(30);
    const colored = labels.map(({ color }) => color).filter((color) => color !== "var(--ink)");
    expect(new Set(colored).size).toBe(colored.length);
    const heights = [...svg.matchAll(/<text x="[\d.]+" y="([\d.]+)" style/g)]
      .map(([, y]) => Number(y))
      .sort((a, b) => a - b);
    expect(heights.every((y, i) => i === 0 || y - (heights[i - 1] ?? 0) >= 14.9)).toBe(true);
    expect(() => parseXml(svg)).not.toThrow();
  });

  test("draws an SVG that is well-formed and names the machine and every series", async () => {
    const path = join(folder, "speed.svg");
    await bench(...quick, "-p", "4,8", "-n", "2", "-t", "1,2", "--plot", path);
    const svg = readFileSync(path, "utf8");
    const parsed = parseXml(svg);
    expect(parsed.name).toBe("svg");
    expect(parsed.attributes.xmlns).toBe("http://www.w3.org/2000/svg");
    expect(svg).toMatch(/>bitnet \d+\.\d+\.\d+, /);
    for (const title of ["Decode over threads", "Prefill over threads", "Prefill over the size of the batch"]) {
      expect(svg).toContain(title);
    }
    expect(svg).not.toMatch(/NaN|undefined/);
    expect(svg).toMatch(/2 threads/);
  });

  test("escapes what files are called, and draws single points", () => {
    const odd = result();
    odd.model.architecture = '<script>&"';
    const svg = drawPlot([odd], "a < b & c");
    expect(() => parseXml(svg)).not.toThrow();
    expect(svg).not.toContain("<script>");
    expect(() => drawPlot([], "")).toThrow(/nothing to draw/);
  });
});

describe("--baseline f16", () => {
  test("measures the dense twin, gives the speed-up and leaves nothing behind", async () => {
    const env = { TMPDIR: mkdtempSync(join(folder, "tmp-")) };
    const args = ["bench", ...quick, "-p", "4", "-n", "2", "--baseline", "f16", "-o", "json"];
    const { status, stdout, stderr } = await runBitnet(args, { env });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toMatch(/writing the F16 baseline, 7\.4\d MB/);
    const report = JSON.parse(stdout) as Report;
    expect(report.results.map(({ model, test }) => `${model.weightType} ${test}`)).toEqual([
      "I2_S pp4",
      "I2_S tg2",
      "F16 pp4",
      "F16 tg2",
    ]);
    expect(report.comparisons?.map(({ test, earlier }) => `${test} ${earlier.description.split(", ")[1]}`)).toEqual([
      "pp4 F16",
      "tg2 F16",
    ]);
    expect(readdirSync(env.TMPDIR)).toEqual([]);
  });

  test("knows the size of the twin before it is written", async () => {
    const bytes = denseTwinBytes(tinyModel);
    const twin = await writeDenseTwin(tinyModel, { folder });
    expect(Math.abs(readFileSync(twin.path).length - bytes)).toBeLessThan(4096);
    expect(() => denseTwinBytes(twin.path)).toThrow(/no ternary matrices/);
    await twin.delete();
    expect(() => readFileSync(twin.path)).toThrow();
  });
});

describe("bitnet bench kernels", () => {
  test("verifies and times every kernel of this CPU in every layout", async () => {
    const args = [
      "kernels",
      "--shapes",
      "33x300",
      "--batches",
      "1,9",
      "--layouts",
      "all",
      "-r",
      "2",
      "-t",
      "1",
      "--cached",
      "--json",
    ];
    const report = JSON.parse(await bench(...args)) as {
      results: {
        kernel: string;
        layout: string;
        tokens: number;
        seconds: { samples: number[] };
        limit: { percent: number };
      }[];
      machine: object;
    };
    const kernels = listKernels().filter(({ supported }) => supported);
    expect(new Set(report.results.map(({ kernel }) => kernel))).toEqual(new Set(kernels.map(({ name }) => name)));
    expect(report.results).toHaveLength(kernels.length * 4 * 2);
    for (const { seconds, limit } of report.results) {
      expect(seconds.samples).toHaveLength(2);
      expect(Math.min(...seconds.samples)).toBeGreaterThan(0);
      expect(limit.percent).toBeGreaterThan(0);
    }
    expect(report.machine).toHaveProperty("cpu");
  });

  test("names the layouts in memory as docs/layouts.md does, and takes the names of files and options too", async () => {
    const common = ["kernels", "--shapes", "33x300", "--batches", "1", "--kernel", "scalar", "-r", "1", "-t", "1"];
    const layoutsOf = async (names: string) => {
      const report = JSON.parse(await bench(...common, "--cached", "--json", "--layouts", names));
      return (report as { results: { layout: string }[] }).results.map(({ layout }) => layout);
    };
    const names = ["i2_s", "trits", "pairs", "triples"];
    expect(await layoutsOf(names.join(","))).toEqual(names);
    expect(await layoutsOf("i2s,trit,TL1,tl2")).toEqual(names);
  });

  test("takes test_gemm_kernel.sh's options", async () => {
    const path = join(folder, "gemm.csv");
    const common = ["kernels", "--shapes", "33x300", "--batches", "1", "--kernel", "scalar", "-t", "1", "--cached"];
    expect(await bench(...common, "-s", "-i", "3", "-o", path)).toBe("");
    expect(readFileSync(path, "utf8")).toMatch(/^version,.*,time_ms,.*\n.*,scalar,i2_s,33,300,1,1,/);
  });

  test("takes the columns of test_gemm_kernel.sh as CSV", async () => {
    const args = [
      "kernels",
      "--shapes",
      "gemm",
      "--batches",
      "1",
      "--kernel",
      "scalar",
      "-r",
      "1",
      "-t",
      "1",
      "--cached",
      "-o",
      "csv",
    ];
    const lines = (await bench(...args)).trimEnd().split("\n");
    expect(lines[0]).toMatch(/,time_ms,.*,throughput_tokens_per_sec,/);
    expect(lines.slice(1).map((line) => line.match(/scalar,i2_s,(\d+,\d+),1,1/)?.[1])).toEqual([
      "2048,2048",
      "8192,2048",
      "2048,8192",
    ]);
  });

  test.each([
    [["--shapes", "3B,x"], /: expected shapes like/],
    [["--layouts", "q4"], /: expected names of layouts/],
    [["--batches", "0"], /: expected an integer/],
  ])("refuses %j", async (args, message) => {
    const { status, stderr } = await runBitnet(["bench", "kernels", ...args]);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });

  test("refuses options of bench that stand before it", async () => {
    const { status, stderr } = await runBitnet(["bench", "-t", "1", "kernels"]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/after it: -t/);
  });
});

describe("arithmetic", () => {
  test("summaries: mean, median, sample deviation, extremes", () => {
    expect(summarize([1, 2, 3, 10])).toEqual({ mean: 4, median: 2.5, deviation: Math.sqrt(50 / 3), min: 1, max: 10 });
    expect(summarize([7])).toEqual({ mean: 7, median: 7, deviation: 0, min: 7, max: 7 });
    expect(medianOf([3, 1, 2])).toBe(2);
  });

  test("names tests as llama-bench does", () => {
    expect(nameTest({ prompt: 512, generate: 0, depth: 0 })).toBe("pp512");
    expect(nameTest({ prompt: 0, generate: 128, depth: 4096 })).toBe("tg128 @ d4096");
    expect(nameTest({ prompt: 512, generate: 128, depth: 0 })).toBe("pp512+tg128");
  });

  test("work: weights once per batch and per decoded token, the head once per token that is sampled", () => {
    const cost = { weightBytes: 1000, headBytes: 100, kvBytes: 1, ternaryOperations: 10, batchTokens: 4 };
    expect(listWork(cost, { prompt: 6, generate: 0, depth: 2 })).toEqual([
      { bytes: 1000 + 6, operations: 40 },
      { bytes: 1000 + 100 + 8, operations: 20 },
    ]);
    const decode = listWork(cost, { prompt: 0, generate: 2, depth: 5 });
    expect(decode.map(({ bytes }) => bytes)).toEqual([1106, 1107]);
    expect(totalWork(decode)).toEqual({ bytes: 2213, operations: 20 });
  });

  test("limit: each part takes the longer of reading and multiplying", () => {
    const limits = { kernel: "x", threads: 1, readBandwidth: 100, int8Peak: 10 };
    expect(
      limitOf(
        [
          { bytes: 300, operations: 10 },
          { bytes: 100, operations: 50 },
        ],
        limits,
      ),
    ).toEqual({ seconds: 8, bound: "compute" });
    expect(limitOf([{ bytes: 300, operations: 10 }], limits)).toEqual({ seconds: 3, bound: "memory" });
  });

  test("CSV quotes what needs it; tables align numbers to the right", () => {
    expect(toCsv([{ a: 'x,"y"', b: 1, c: undefined }])).toBe('a,b,c\n"x,""y""",1,\n');
    expect(
      toMarkdown(
        [
          ["a", "b"],
          ["xyz1", "2"],
        ],
        new Set([1]),
      ),
    ).toBe("| a    |   b |\n| ---- | --: |\n| xyz1 |   2 |\n");
  });
});

describe("energy", () => {
  function powercap(energy: string): string {
    const path = mkdtempSync(join(folder, "powercap-"));
    const domains = { "intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:1": "psys" };
    for (const [name, domain] of Object.entries(domains)) {
      mkdirSync(join(path, name));
      writeFileSync(join(path, name, "name"), `${domain}\n`);
      writeFileSync(join(path, name, "max_energy_range_uj"), "10000000\n");
      writeFileSync(join(path, name, "energy_uj"), energy);
    }
    return path;
  }

  test("sums the packages of RAPL, also when a counter wraps", async () => {
    const path = powercap("9000000\n");
    const meter = await openEnergyMeter("linux", path);
    expect(meter.status).toEqual({ source: "RAPL, package-0" });
    await meter.start();
    writeFileSync(join(path, "intel-rapl:0", "energy_uj"), "1500000\n");
    expect(await meter.stop()).toBe(2.5);
    expect(sumJoules([{ range: 100 }, { range: 100 }], [10, 90], [30, 20])).toBeCloseTo(50e-6, 12);
  });

  test("says why there is no energy, and never guesses", async () => {
    const none = await openEnergyMeter("linux", join(folder, "nowhere"));
    expect(none.status).toEqual({ unavailable: expect.stringMatching(/cannot be read/) });
    await none.start();
    expect(await none.stop()).toBeNull();
    expect((await openEnergyMeter("linux", mkdtempSync(join(folder, "empty-")))).status).toEqual({
      unavailable: expect.stringMatching(/no RAPL package/),
    });
    expect((await openEnergyMeter("freebsd")).status).toEqual({ unavailable: expect.stringMatching(/freebsd/) });
  });

  test("averages what powermetrics prints", () => {
    const sample = (mw: number) =>
      `CPU Power: ${mw} mW\nGPU Power: 30 mW\nCombined Power (CPU + GPU + ANE): ${mw + 30} mW\n`;
    expect(averageWatts(sample(1000) + sample(3000))).toBe(2);
    expect(averageWatts("no samples yet")).toBeNull();
  });
});

describe("scripts/bench-table.mjs", () => {
  const script = join(root, "scripts", "bench-table.mjs");
  const ours = {
    machine: { version: "1", cpu: "CPU X", cores: 2, processors: 2, memoryBytes: 2 ** 33, os: "L", arch: "x64" },
    results: [result()],
  };
  const peer = [{ cpu_info: "CPU X", model_filename: "/x/b.gguf", n_threads: 2, n_prompt: 128, samples_ts: [8] }];

  test("puts every engine and its rounds into one table, and into a document", () => {
    const files = [
      `bitnet=${file("o.json", JSON.stringify(ours))}`,
      `ik=${file("p.json", JSON.stringify(peer))}`,
      `ik=${file("q.json", JSON.stringify(peer))}`,
    ];
    const text = execFileSync(process.execPath, [script, ...files], { encoding: "utf8" });
    expect(text).toMatch(/CPU X \(2 cores, x64\), 8 GiB/);
    expect(text).toMatch(/\| bitnet \| .*\| +20\.0 \[10\.0-30\.0\] \|/);
    expect(text).toMatch(/\| ik +\| .*\| +8\.0 \[8\.0-8\.0\] \|/);
    expect(text.match(/^\| ik/gm)).toHaveLength(1);

    const begin = "<!-- benchmark table: begin (written by a script) -->";
    const document = file("doc.md", `before\n${begin}\nold\n<!-- benchmark table: end -->\nafter\n`);
    execFileSync(process.execPath, [script, "--write", document, ...files]);
    expect(readFileSync(document, "utf8")).toBe(`before\n${begin}\n\n${text}\n<!-- benchmark table: end -->\nafter\n`);
  });

  test("refuses figures of another machine", () => {
    const other = file("other.json", JSON.stringify([{ ...peer[0], cpu_info: "CPU Y" }]));
    const { status, stderr } = spawnSync(
      process.execPath,
      [script, `bitnet=${file("o2.json", JSON.stringify(ours))}`, `ik=${other}`],
      {
        encoding: "utf8",
      },
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/CPU Y, not on CPU X/);
  });
});
