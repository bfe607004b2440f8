import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compareResults } from "../../src/eval/compare-results.js";
import { mcNemar, normalTest, type Pair, pairedT } from "../../src/eval/paired-tests.js";

const repeat = (count: number, pair: Pair) => Array.from({ length: count }, () => pair);

describe("paired tests", () => {
  // scipy.stats: binomtest(2, 12).pvalue, ttest_rel, 2 * norm.sf
  it("McNemar's is that of the binomial distribution", () => {
    const pairs = [...repeat(2, [1, 0]), ...repeat(10, [0, 1]), ...repeat(50, [1, 1])];
    const { p, onlyA, onlyB } = mcNemar(pairs);
    expect(p).toBeCloseTo(0.03857421875, 10);
    expect([onlyA, onlyB]).toEqual([2, 10]);
    expect(mcNemar(repeat(5, [1, 1])).p).toBe(1);
  });

  it("Student's is that of the t distribution", () => {
    // Differences 1, 2, 3, 4: t = 3.873, 3 degrees of freedom.
    const pairs = [1, 2, 3, 4].map((difference) => [0, difference] as const);
    expect(pairedT(pairs).p).toBeCloseTo(0.030466, 5);
    expect(pairedT(repeat(3, [0.5, 0.5])).p).toBe(1);
  });

  it("that of two errors is normal", () => {
    expect(normalTest(1.96, 0.6, 0.8).p).toBeCloseTo(0.0499958, 6);
    expect(normalTest(0, 1, 1).p).toBeCloseTo(1, 6);
  });
});

describe("two files of results", () => {
  let scratch: string;
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), "bitnet-compare-"));
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  function writeResults(name: string, values: readonly number[], more: object = {}, keepsSamples = true): string {
    const folder = join(scratch, name);
    mkdirSync(folder);
    const acc = values.reduce((sum, value) => sum + value, 0) / values.length;
    const results = { arc: { "acc,none": acc, "acc_stderr,none": 0.1, sample_len: values.length } };
    writeFileSync(join(folder, "results_1.json"), JSON.stringify({ results, "n-shot": { arc: 0 }, ...more }));
    const lines = values.map((value, doc_id) => JSON.stringify({ doc_id, doc_hash: "h", filter: "none", acc: value }));
    if (keepsSamples) {
      writeFileSync(join(folder, "samples_arc_1.jsonl"), `${lines.join("\n")}\n`);
    }
    return join(folder, "results_1.json");
  }

  it("are compared document by document where samples are there", async () => {
    const a = writeResults("a", [1, 0, 0, 0]);
    const b = writeResults("b", [1, 1, 1, 0]);
    const [comparison] = await compareResults(a, b);
    expect(comparison).toMatchObject({ task: "arc", metric: "acc", difference: 0.5, test: "McNemar", documents: 4 });
    expect(comparison).toMatchObject({ onlyA: 0, onlyB: 2, caveats: [] });
    expect(comparison?.p).toBeCloseTo(0.5, 10);
  });

  it("are compared by their errors where they are not; other settings are told", async () => {
    const a = writeResults("c", [1, 0], {}, false);
    const b = writeResults("d", [1, 1], { "n-shot": { arc: 5 } }, false);
    const [comparison] = await compareResults(a, b);
    expect(comparison).toMatchObject({ test: "normal", caveats: ["shots: 0 and 5"] });
    expect(comparison?.p).toBeCloseTo(0.000407, 5);
  });

  it("say what one of them does not tell, and in which line samples are damaged", async () => {
    const a = writeResults("e", [1, 0], { "n-shot": {}, versions: { arc: 1 } });
    const b = writeResults("f", [1, 1], { versions: { arc: "1" } });
    const [comparison] = await compareResults(a, b);
    expect(comparison?.caveats).toEqual(["shots: not told and 0"]);
    appendFileSync(join(scratch, "f", "samples_arc_1.jsonl"), '{"doc_id": 2, "acc"');
    await expect(compareResults(a, b)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("samples_arc_1.jsonl, line 3"),
    });
  });

  it("must be results, and have something in common", async () => {
    const other = join(scratch, "other.json");
    writeFileSync(other, "[]");
    await expect(compareResults(other, other)).rejects.toMatchObject({ code: "BAD_FILE" });
  });
});
