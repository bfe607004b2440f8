import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel, type Model } from "../../src/engine/model.js";
import type { CodeRunner } from "../../src/eval/code/runner.js";
import type { Doc } from "../../src/eval/data/types.js";
import { evaluateTasks } from "../../src/eval/run-tasks.js";
import type { GenerationTask, MetricValues } from "../../src/eval/task.js";
import { findTask } from "../../src/eval/tasks/all.js";
import { cutAtStops } from "../../src/eval/tasks/extraction.js";
import { tinyModel } from "../support/fixtures.js";

// The answers of lm-evaluation-harness itself to small data sets.
const golden = JSON.parse(readFileSync("test/fixtures/eval/generation.json", "utf8"));

function generationTask(name: string): GenerationTask {
  const task = findTask(name);
  if (!("kind" in task) || task.kind !== "generation") {
    throw new Error(`${name} is no task of generated texts`);
  }
  return task;
}

const rowsOf = (file: string): Doc[] =>
  readFileSync(`test/fixtures/eval/tasks/${file}.jsonl`, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

const prepared = (task: GenerationTask, doc: Doc) => task.prepare?.(doc) ?? doc;

const tasks: Record<string, GenerationTask> = {
  gsm8k: generationTask("gsm8k"),
  triviaqa: generationTask("triviaqa"),
  math500: generationTask("hendrycks_math500"),
};

async function judge(task: GenerationTask, row: Doc, answer: string, filter: string, more = {}) {
  const doc = prepared(task, row);
  const filtered = task.filters.find(({ name }) => name === filter)?.apply(answer, doc, { isChat: false }) ?? "";
  return { filtered, metrics: await task.measure(doc, filtered, { filter, ...more }) };
}

interface Canned {
  task: string;
  doc_id: number;
  filter: string;
  response: string;
  filtered: string;
  exact_match: number;
}

test.each(golden.samples as Canned[])(
  "$task $doc_id, $filter: of $response counts $filtered",
  async ({ task: name, doc_id, filter, response, filtered, exact_match }) => {
    const task = tasks[name] as GenerationTask;
    const row = rowsOf(name)[doc_id] as Doc;
    const answer = cutAtStops(String(row._canned), task.stops);
    expect(answer).toBe(response);
    expect(await judge(task, row, answer, filter)).toEqual({ filtered, metrics: { exact_match } });
  },
);

test("prompts and stops are those of lm-evaluation-harness", () => {
  const names = ["gsm8k", "triviaqa", "math500"];
  for (const [place, { prompt, gen }] of golden.prompts.entries()) {
    const task = tasks[names[place] ?? ""] as GenerationTask;
    const [first] = rowsOf(names[place] ?? "") as [Doc];
    expect(prompt.split("\n\n").at(-1)).toBe(task.prompt(prepared(task, first)));
    expect(task.stops).toEqual(gen.until);
  }
});

test("MATH: an answer in a box counts beside the reading of lm-evaluation-harness", async () => {
  const row = { problem: "?", solution: "So $\\boxed{\\frac{1}{2}}$." };
  const answer = "With $x = 1$ the answer is $\\boxed{\\frac12}$.";
  expect((await judge(tasks.math500 as GenerationTask, row, answer, "boxed")).metrics).toEqual({ exact_match: 1 });
  expect((await judge(tasks.math500 as GenerationTask, row, answer, "none")).metrics).toEqual({ exact_match: 0 });
  expect((await judge(tasks.math500 as GenerationTask, row, "It is $0.5$.", "boxed")).filtered).toBe("[invalid]");
  expect(() => prepared(tasks.math500 as GenerationTask, { ...row, solution: "3" })).toThrow(
    "column solution: expected a text with the answer in \\boxed{}",
  );
});

test("gsm8k_cot shows its eight questions and compares with the number after ####", async () => {
  const task = generationTask("gsm8k_cot");
  const shots = task.shots.from as Doc[];
  expect(shots).toHaveLength(8);
  expect(task.prompt(shots[7] as Doc)).toBe(
    "Q: Olivia has $23. She bought five bagels for $3 each. How much money does she have left?\nA:",
  );
  expect(task.shots.target?.(shots[7] as Doc)).toMatch(/^Olivia had 23 dollars\. .* The answer is 8\.$/);
  const doc = { question: "?", answer: "14*100=1400\n#### 1,400" };
  expect(task.target(doc)).toBe("1,400");
  expect((await judge(task, doc, "So it is. The answer is 1400.", "strict-match")).metrics).toEqual({ exact_match: 1 });
  expect((await judge(task, doc, "It is 1400.", "strict-match")).filtered).toBe("[invalid]");
});

test("IFEval gives each instruction of a prompt, and all of them together", async () => {
  const row = {
    prompt: "?",
    instruction_id_list: ["punctuation:no_comma", "detectable_format:number_bullet_lists"],
    kwargs: [{ num_bullets: null }, { num_bullets: 2 }],
  };
  const { metrics } = await judge(generationTask("ifeval"), row, "Sure, here:\n- a\n- b", "none");
  expect(metrics).toEqual({
    prompt_level_strict_acc: 0,
    inst_level_strict_acc: [false, true],
    prompt_level_loose_acc: 1,
    inst_level_loose_acc: [true, true],
  });
  await expect(judge(generationTask("ifeval"), { ...row, kwargs: [] }, "a", "none")).rejects.toThrow(
    "column kwargs: expected a list with an object for each of instruction_id_list",
  );
});

test("programs are not run unless somebody runs them, and are written for EvalPlus", async () => {
  const task = generationTask("humaneval");
  const row = { task_id: "HumanEval/0", prompt: "def f():\n", test: "def check(c):\n    pass\n", entry_point: "f" };
  const answer = "    return 1\n```\nIt returns 1.";
  const filter = task.filters[0];
  expect((await judge(task, row, answer, "create_test")).metrics).toEqual({});
  expect(filter?.apply(answer, row, { isChat: false })).toBe(`${row.prompt}${answer}`);
  const solution = filter?.apply(answer, row, { isChat: true }) ?? "";
  expect(task.codeSample?.(row, solution)).toEqual({
    task_id: "HumanEval/0",
    completion: "    return 1\n",
    solution: "def f():\n    return 1\n",
  });
  const asked: [string, number | undefined][] = [];
  const codeRunner = {
    run: async ({ text }: { text: string }, { seconds }: { seconds?: number }) => {
      asked.push([text, seconds]);
      return { passed: true };
    },
  } as unknown as CodeRunner;
  expect((await judge(task, row, "    return 1", "create_test", { codeRunner })).metrics).toEqual({ "pass@1": 1 });
  await judge(generationTask("humaneval_plus"), row, "", "create_test", { codeRunner });
  expect(asked.map(([, seconds]) => seconds)).toEqual([10, 60]);
  expect(asked[0]?.[0]).toMatch(/^def f\(\):\n {4}return 1\n[\s\S]*def check\(c\):\n {4}pass\n[\s\S]*check\(f\)\n/);
});

test("wikitext counts words and bytes of the page as it was, lambada asks for the last word", () => {
  const wikitext = findTask("wikitext");
  const lambada = findTask("lambada_openai");
  if (!("kind" in wikitext) || wikitext.kind !== "rolling" || !("kind" in lambada) || lambada.kind !== "continuation") {
    throw new Error("wikitext and lambada_openai are of other kinds");
  }
  const page = " A café , built \n ";
  const expected: MetricValues = { word_perplexity: [-3, 6], byte_perplexity: [-3, 19], bits_per_byte: [-3, 19] };
  expect(wikitext.text({ page })).toBe(" A café, built\n");
  expect(wikitext.measure({ page }, -3)).toEqual(expected);
  const doc = { text: "One  two three" };
  expect([lambada.prompt(doc), lambada.target(doc)]).toEqual(["One  two", " three"]);
  expect(lambada.measure(doc, -2, true)).toEqual({ perplexity: -2, acc: 1 });
});

describe("with a model", () => {
  let model: Model;
  let scratch: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), "bitnet-generation-"));
    model = await loadModel(tinyModel);
  });
  afterAll(() => {
    model.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  const evaluate = (task: string, path: string, more = {}) =>
    evaluateTasks({ model, tasks: [task], data: { [task]: path }, cacheDir: false, ...more });

  test("prompts with shots are those of lm-evaluation-harness", async () => {
    // The harness drew its shots from the same rows.
    const folder = mkdtempSync(join(scratch, "gsm8k-"));
    for (const split of ["train", "test"]) {
      writeFileSync(join(folder, `${split}.jsonl`), readFileSync("test/fixtures/eval/tasks/gsm8k.jsonl"));
    }
    const { samples, results } = await evaluate("gsm8k", folder, { limit: 1, writing: { maxTokens: 4 } });
    expect(samples.gsm8k?.map(({ filter }) => filter)).toEqual(["strict-match", "flexible-extract"]);
    expect(samples.gsm8k?.[0]?.arguments[0]?.[0]).toBe(golden.prompts[0].prompt);
    expect(results.bitnet.answers.gsm8k).toMatchObject({ cut: 1, invalid: { "strict-match": 1 } });
  });

  test("programs are written for EvalPlus where nobody has confirmed to run them", async () => {
    const row = { task_id: "HumanEval/0", prompt: "def f():\n", test: "def check(c):\n    pass\n", entry_point: "f" };
    const path = join(scratch, "humaneval.jsonl");
    writeFileSync(path, `${JSON.stringify(row)}\n`);
    const notes: string[] = [];
    const onNote = (text: string) => notes.push(text);
    const output = join(scratch, "results");
    const { results } = await evaluate("humaneval", path, { output, onNote, writing: { maxTokens: 4 } });
    expect(Object.keys(results.results.humaneval ?? {})).toEqual(["name", "alias", "sample_len"]);
    expect(results.bitnet.codeRunner).toBeNull();
    expect(notes.join()).toContain("humaneval: programs are not run unless that is confirmed");
    const folder = join(output, "tiny-bitnet");
    const file = readdirSync(folder).find((name) => name.startsWith("evalplus_humaneval_")) ?? "";
    const line = JSON.parse(readFileSync(join(folder, file), "utf8"));
    expect(Object.keys(line)).toEqual(["task_id", "completion", "solution"]);
    expect(line.solution).toBe(row.prompt + line.completion);
  });
});
