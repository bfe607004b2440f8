// Tasks that are told as one: the subjects of MMLU, their four fields, and all of them.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../../src/engine/model.js";
import { formatResults } from "../../src/eval/results-table.js";
import { evaluateTasks } from "../../src/eval/run-tasks.js";
import { tasksOf } from "../../src/eval/tasks/all.js";
import { tinyModel } from "../support/fixtures.js";

let model: Model;
let scratch: string;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "bitnet-mmlu-"));
  model = await loadModel(tinyModel);
});
afterAll(() => {
  model.close();
  rmSync(scratch, { recursive: true, force: true });
});

const subjects = tasksOf("mmlu").map(({ name }) => name.slice("mmlu_".length));

/** Two questions of each subject, three of every third, in one file for all. */
function writeQuestions(name: string, of: readonly string[]): string {
  const path = join(scratch, name);
  const rows = of.flatMap((subject, place) =>
    Array.from({ length: 2 + (place % 3 === 0 ? 1 : 0) }, (_, i) => ({
      question: `Question ${i} about ${subject}?`,
      subject,
      choices: ["one", "two", "three", "four"],
      answer: (place + i) % 4,
    })),
  );
  const text = rows.map((row) => JSON.stringify(row)).join("\n");
  mkdirSync(path);
  writeFileSync(join(path, "test.jsonl"), text);
  writeFileSync(join(path, "dev.jsonl"), text);
  return path;
}

describe("the group mmlu", () => {
  it("counts its subjects by their questions, and pools their variances", async () => {
    const data = { mmlu: writeQuestions("all", subjects) };
    const { results, samples } = await evaluateTasks({ model, tasks: ["mmlu"], data, shots: 1, cacheDir: false });
    const { mmlu = {}, mmlu_stem = {} } = results.groups ?? {};
    const values = Object.values(samples).map((list) => list.map(({ acc }) => Number(acc)));
    const all = values.flat();
    const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
    expect(mmlu.sample_len).toBe(all.length);
    expect(mmlu["acc,none"]).toBeCloseTo(sum(all) / all.length, 12);
    // With se_i^2 = s_i^2 / n_i the pooled variance is the mean of the deviations from each subject's own mean.
    const squares = values.map((list) => sum(list.map((value) => (value - sum(list) / list.length) ** 2)));
    const expected = Math.sqrt(sum(squares) / (all.length - values.length) / all.length);
    expect(mmlu["acc_stderr,none"]).toBeCloseTo(expected, 12);
    expect(results.group_subtasks.mmlu).toEqual(["mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities"]);
    expect(mmlu_stem.alias).toBe("stem");
    expect(results["n-shot"]).toMatchObject({ mmlu: 1, mmlu_stem: 1, mmlu_anatomy: 1 });

    const table = formatResults(results).split("\n");
    expect(table[2]).toMatch(/^\|mmlu +\| +2\|none +\| +1\|acc +\|↑ +\|0\.\d{4}\|± +\|0\.\d{4}\|$/);
    expect(table[3]).toMatch(/^\| - humanities +\|/);
    expect(table[4]).toMatch(/^\| {2}- formal_logic +\|/);
  });

  it("is not told where a subject has no questions: that is an error with its name", async () => {
    const data = { mmlu: writeQuestions("part", subjects.slice(1)) };
    await expect(evaluateTasks({ model, tasks: ["mmlu"], data, cacheDir: false })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(/no rows of mmlu_abstract_algebra/),
    });
  });
});
