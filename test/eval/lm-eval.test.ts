// The same data, prompts and numbers as lm-evaluation-harness 0.4.13 (test/fixtures/eval/README.md).

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listKernels, loadModel, type Model } from "../../src/engine/model.js";
import { type Evaluation, evaluateTasks } from "../../src/eval/run-tasks.js";
import { hashText, type Sample } from "../../src/eval/samples.js";
import type { Task } from "../../src/eval/task.js";
import { mmluTask } from "../../src/eval/tasks/choices.js";
import { tinyModel } from "../support/fixtures.js";

interface GoldenRequest {
  /** A whole text, and its log-likelihood. */
  rolling?: string;
  ll?: number;
  context?: string;
  /** Instead of a long one. */
  context_sha256?: string;
  /** Text, tokens, log-likelihood, whether it is what the model would write. */
  continuations?: [string, number, number, boolean][];
}

interface GoldenRun {
  results: Record<string, Record<string, number | string>>;
  requests: GoldenRequest[];
}

const folder = fileURLToPath(new URL("../fixtures/eval/", import.meta.url));
const readGolden = (name: string) => JSON.parse(readFileSync(`${folder}${name}`, "utf8"));
const golden: { runs: Record<string, GoldenRun> } = readGolden("lmeval.json");

const file = (name: string) => `${folder}tasks/${name}.jsonl`;
const data = {
  arc_challenge: file("arc"),
  boolq: file("boolq"),
  winogrande: file("winogrande"),
  hellaswag: file("hellaswag"),
  piqa: file("piqa"),
  openbookqa: file("openbookqa"),
  commonsense_qa: file("commonsense_qa"),
  truthfulqa_mc1: file("truthfulqa"),
  truthfulqa_mc2: file("truthfulqa"),
  mmlu_farm_animals: `${folder}tasks/mmlu`,
};

// lm-eval's table of results calls the made-up subject by the name of its group.
const farm = mmluTask("farm_animals", 3);
const goldenName = (task: string) => (task === farm.name ? "mmlu" : task);

const runs: { shots: number; tasks: (string | Task)[] }[] = [
  { shots: 0, tasks: [...Object.keys(data).filter((name) => name !== farm.name), farm] },
  { shots: 2, tasks: ["arc_challenge", "boolq", "winogrande", "hellaswag", farm] },
];

const common = { data, cacheDir: false, contextSize: 2048 } as const;

/** Per continuation token 0.1 and 1.5 % of the size, which is what differs between implementations of the network. */
function tolerance(tokens: number, logLikelihood: number): number {
  return 0.1 * tokens + 0.015 * Math.abs(logLikelihood);
}

// Kernels of different widths, and what one thread does alone.
const settings = listKernels()
  .filter(({ supported }) => supported)
  .map(({ name }, place) => ({ kernel: name, threads: 1 + (place % 2) }));

describe.each(settings)("$kernel, threads: $threads", ({ kernel, threads }) => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(tinyModel, { kernel, threads });
  });
  afterAll(() => model.close());

  describe.each(runs)("$shots shots", ({ shots, tasks }) => {
    const { results, requests } = golden.runs[`${shots}-shot`] as GoldenRun;
    let evaluation: Evaluation;
    beforeAll(async () => {
      evaluation = await evaluateTasks({ ...common, model, tasks, shots });
    });

    it("has the metrics and standard errors of lm-eval", () => {
      for (const [task, ours] of Object.entries(evaluation.results.results)) {
        const theirs = results[goldenName(task)] ?? {};
        expect(Object.keys(ours).filter((key) => key !== "name" && key !== "alias")).toEqual(Object.keys(theirs));
        for (const [key, value] of Object.entries(theirs)) {
          if (typeof value === "number") {
            expect(ours[key], `${task} ${key}`).toBeCloseTo(value, 6);
          } else {
            expect(ours[key]).toBe(value);
          }
        }
      }
    });

    it("asks what lm-eval asks: prompts and numbers of tokens, and the likelihoods within tolerance", () => {
      const asked = Object.values(evaluation.samples).flat().flatMap(askedOf);
      const theirs = new Map(
        requests.flatMap(({ context = "", context_sha256 = hashText(context), continuations = [] }) =>
          continuations.map(
            (continuation) => [JSON.stringify([context_sha256, continuation[0]]), continuation] as const,
          ),
        ),
      );
      expect(new Set(asked.map(({ key }) => key))).toEqual(new Set(theirs.keys()));
      for (const { key, tokens, logLikelihood, isGreedy } of asked) {
        const [, count = 0, expected = 0, greedy] = theirs.get(key) ?? [];
        expect(tokens, key).toBe(count);
        expect(Math.abs(logLikelihood - expected), key).toBeLessThan(tolerance(count, expected));
        expect(isGreedy, key).toBe(greedy);
      }
    });
  });
});

describe("pages of wikitext", () => {
  it("are read as lm-eval reads them, every token once", async () => {
    await using model = await loadModel(tinyModel);
    const evaluate = (contextSize: number) =>
      evaluateTasks({ ...common, model, data: { wikitext: file("pages") }, tasks: ["wikitext"], contextSize });
    const { results, samples } = await evaluate(2048);
    const theirs = golden.runs["0-shot"]?.requests.filter(({ rolling }) => rolling !== undefined) ?? [];
    expect(samples.wikitext?.map(({ arguments: [one] }) => one?.[0])).toEqual(theirs.map(({ rolling }) => rolling));
    for (const [place, { ll = 0 }] of theirs.entries()) {
      expect(Math.abs(Number(samples.wikitext?.[place]?.resps[0]?.[0]) / ll - 1)).toBeLessThan(0.005);
    }
    const { wikitext = {} } = results.results;
    const expected = golden.runs["0-shot"]?.results.wikitext ?? {};
    expect(Object.keys(wikitext)).toEqual(expect.arrayContaining(Object.keys(expected)));
    expect(Number(wikitext["bits_per_byte,none"])).toBeCloseTo(Number(expected["bits_per_byte,none"]), 2);
    expect(wikitext["word_perplexity_stderr,none"]).toBe("N/A");

    // In windows of 16 tokens each token is scored once, too, with one token before the window at least.
    const [page] = (await evaluate(16)).samples.wikitext ?? [];
    const whole = samples.wikitext?.[0]?.bitnet.continuations.flat();
    expect(page?.bitnet.continuations.flat()).toEqual(whole);
    expect(page?.bitnet.contexts.every(({ length }) => length >= 1)).toBe(true);
    expect(page?.bitnet.continuations.slice(0, -1).map(({ length }) => length)).toContain(16);
  });
});

function askedOf({ arguments: asked, resps, bitnet }: Sample) {
  return asked.map((one, place) => {
    const [[logLikelihood, isGreedy]] = resps[place] as [[number, boolean]];
    const [context, continuation] = one;
    const key = JSON.stringify([hashText(String(context)), continuation]);
    return { key, tokens: bitnet.continuations[place]?.length, logLikelihood, isGreedy };
  });
}
