import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { loadModel, type Model } from "../../src/engine/model.js";
import type { EvaluateTasksOptions, EvaluationProgress } from "../../src/eval/options.js";
import type { EvaluationResults } from "../../src/eval/results.js";
import { evaluateTasks } from "../../src/eval/run-tasks.js";
import type { GenerationTask } from "../../src/eval/task.js";
import { FakeHub } from "../support/fake-hub.js";
import { root, tinyModel } from "../support/fixtures.js";

const folder = join(root, "test", "fixtures", "eval");
const arc = join(folder, "tasks", "arc.jsonl");
const format = JSON.parse(readFileSync(join(folder, "lmeval-result-format.json"), "utf8"));

let model: Model;
let scratch: string;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "bitnet-eval-"));
  model = await loadModel(tinyModel);
});
afterAll(() => {
  model.close();
  rmSync(scratch, { recursive: true, force: true });
});

const evaluateArc = (options: Partial<EvaluateTasksOptions> = {}) =>
  evaluateTasks({ model, tasks: ["arc_challenge"], data: { arc_challenge: arc }, cacheDir: false, ...options });

/** Everything but times, and what an earlier run has spared. */
function withoutTimes({ date, total_evaluation_time_seconds, bitnet, ...rest }: EvaluationResults) {
  const { cached, tokens, ...own } = bitnet;
  return { ...rest, bitnet: own };
}

describe("files of results", () => {
  it("have the keys of lm-eval's, and its hashes", async () => {
    const output = join(scratch, "schema");
    const { path = "" } = await evaluateArc({ shots: 2, output, keepSamples: true });
    const results = JSON.parse(readFileSync(path, "utf8"));
    // Of a checkout of lm-eval, and what its writer puts into files of their own.
    const foreign = ["git_hash", "transformers_version", "lm_eval_version", "upper_git_hash", "samples", "sample_line"];
    const expected = Object.keys(format).filter((key) => !foreign.includes(key));
    expect(Object.keys(results)).toEqual(expect.arrayContaining(expected));
    expect(Object.keys(results.config)).toEqual(expect.arrayContaining(Object.keys(format.config)));
    expect(Object.keys(results.results.arc_challenge)).toEqual(Object.keys(format.results.my_arc_challenge));
    expect(path).toMatch(/schema\/tiny-bitnet\/results_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d+\.json$/);

    const lines = readFileSync(path.replace(/results_(.*)\.json$/, "samples_arc_challenge_$1.jsonl"), "utf8");
    const [line] = lines.split("\n").map((text) => (text === "" ? {} : JSON.parse(text)));
    const { resps, filtered_resps, acc, acc_norm, ...theirs } = format.sample_line;
    expect(line).toMatchObject(theirs);
    expect(line.resps).toHaveLength(resps.length);
    expect(line.filtered_resps[0][1]).toBe(filtered_resps[0][1]);
    expect([line.acc, line.acc_norm]).toEqual([acc, acc_norm]);
  });

  it("say N/A for the error of a single document", async () => {
    const { results } = await evaluateArc({ limit: 1 });
    expect(results.results.arc_challenge).toMatchObject({ sample_len: 1, "acc_stderr,none": "N/A" });
  });

  it("hold the tasks that were done when the run was stopped", async () => {
    const stop = new AbortController();
    const output = join(scratch, "stopped");
    const data = { arc_challenge: arc, arc_easy: arc };
    const onResults = () => stop.abort();
    const run = evaluateArc({ tasks: ["arc_challenge", "arc_easy"], data, output, signal: stop.signal, onResults });
    await expect(run).rejects.toMatchObject({ code: "ABORTED" });
    const [name = ""] = readdirSync(join(output, "tiny-bitnet")).filter((file) => file.startsWith("results_"));
    const results = JSON.parse(readFileSync(join(output, "tiny-bitnet", name), "utf8"));
    expect(Object.keys(results.results)).toEqual(["arc_challenge"]);
  });
});

describe("documents", () => {
  it("are the first so many, a share, or those that are named; metrics are over these", async () => {
    const ids = async (options: Partial<EvaluateTasksOptions>) =>
      (await evaluateArc(options)).samples.arc_challenge?.map(({ doc_id }) => doc_id);
    expect(await ids({ limit: 3 })).toEqual([0, 1, 2]);
    expect(await ids({ limit: 0.15 })).toEqual([0, 1]);
    expect(await ids({ samples: { arc_challenge: [7, 2] } })).toEqual([2, 7]);
    await expect(ids({ samples: { arc_challenge: [10] } })).rejects.toThrow("there is no document 10");
  });

  it("that are not as the task wants them are told with file, place and column", async () => {
    const path = join(scratch, "wrong.jsonl");
    writeFileSync(path, readFileSync(arc, "utf8").replace('"answerKey": "C"', '"answerKey": "Z"'));
    await expect(evaluateArc({ data: { arc_challenge: path } })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringMatching(/wrong\.jsonl.*2.*answerKey.*"Z"/),
    });
  });

  it("of a task that does not exist are no slip to pass over", async () => {
    const run = evaluateArc({ data: { arc_challenge: arc, arc_chalenge: arc } });
    await expect(run).rejects.toMatchObject({ code: "USAGE", hint: "did you mean arc_challenge?" });
  });

  it("that are too long for the context lose their beginning, and are counted", async () => {
    const { results, samples } = await evaluateArc({ shots: 5, contextSize: 64 });
    expect(results.bitnet.truncated.arc_challenge).toBeGreaterThan(0);
    const lengths = samples.arc_challenge?.map(
      ({ bitnet }) => (bitnet.contexts.at(-1)?.length ?? 0) + (bitnet.continuations.at(-1)?.length ?? 0),
    );
    expect(Math.max(...(lengths ?? []))).toBe(65);
  });

  it("cost their context once, whatever the number of choices", async () => {
    const { results } = await evaluateArc({ shots: 5 });
    const { evaluated, reused } = results.bitnet.tokens;
    expect(reused).toBeGreaterThan(evaluated); // three or four choices of a token or two after a hundred of context
  });
});

describe("a chat", () => {
  it("has no space before choices, shots in one message, and as turns where that is asked for", async () => {
    const render = (messages: readonly { role: string; content: string | null }[]) =>
      messages.map(({ role, content }) => `<${role}>${content}`).join("");
    const chat = { name: "test", render };
    const options = { shots: 1, limit: 1, chat, system: "Be brief." };
    const single = await evaluateArc(options);
    const [context, choice] = single.samples.arc_challenge?.[0]?.arguments[0] ?? [];
    expect(context).toMatch(/^<system>Be brief\.<user>Question: .*\nAnswer: .*\n\nQuestion: .*\nAnswer:$/);
    expect(choice).toBe("green");
    const turns = await evaluateArc({ ...options, multiturn: true });
    expect(turns.samples.arc_challenge?.[0]?.arguments[0]?.[0]).toMatch(
      /^<system>Be brief\.<user>Question: .*\nAnswer:<assistant>[^<]*<user>Question: .*\nAnswer:$/,
    );
  });
});

const writeTask: GenerationTask = {
  kind: "generation",
  name: "made_up",
  version: 1,
  source: { id: "made/up" },
  licence: "none",
  split: "test",
  documents: 10,
  shots: { from: [], draw: "first" },
  prompt: (doc) => `Question: ${doc.question}\nAnswer:`,
  target: () => "yes",
  stops: ["\n"],
  maxTokens: 8,
  filters: [
    { name: "whole", apply: (text) => text },
    { name: "first", apply: (text) => text.trim().split(" ")[0] || "[invalid]" },
  ],
  metrics: [{ name: "length" }],
  measure: (_doc, answer) => ({ length: answer.length }),
};

describe("texts that the model writes", () => {
  it("are judged once for each filter", async () => {
    const options = { tasks: [writeTask], data: { made_up: arc } };
    const { results, samples } = await evaluateArc(options);
    expect(Object.keys(results.results.made_up ?? {})).toEqual(
      expect.arrayContaining(["length,whole", "length_stderr,whole", "length,first"]),
    );
    expect(samples.made_up?.map(({ filter }) => filter)).toEqual([
      ...Array.from({ length: 10 }, () => "whole"),
      ...Array.from({ length: 10 }, () => "first"),
    ]);
    expect(results.bitnet.answers.made_up?.cut).toBeGreaterThan(0);
    const [sample] = samples.made_up ?? [];
    expect(sample?.arguments[0]?.[1]).toMatchObject({ until: ["\n"], do_sample: false, max_gen_toks: 8 });
  });

  it("are kept and not judged where that is asked for", async () => {
    const { results } = await evaluateArc({ tasks: [writeTask], data: { made_up: arc }, predictOnly: true });
    expect(results.results.made_up).toMatchObject({ "bypass,whole": 999, "bypass_stderr,whole": "N/A" });
  });
});

it("tells how far the download of data sets is", async () => {
  const fake = await FakeHub.start();
  fake.repositories.set("datasets/allenai/ai2_arc", { files: { "ARC-Challenge/test.jsonl": readFileSync(arc) } });
  vi.stubEnv("HF_ENDPOINT", fake.url);
  vi.stubEnv("HF_HOME", join(scratch, "hub"));
  vi.stubEnv("HF_HUB_OFFLINE", "");
  const downloads: EvaluationProgress["download"][] = [];
  try {
    const { results } = await evaluateArc({ data: {}, limit: 1, onProgress: (one) => downloads.push(one.download) });
    expect(results["n-samples"].arc_challenge).toEqual({ original: 10, effective: 1 });
  } finally {
    vi.unstubAllEnvs();
    await fake.stop();
  }
  const totalBytes = readFileSync(arc).length;
  expect(downloads).toContainEqual({ doneBytes: totalBytes, totalBytes });
});

describe("the cache of answers", () => {
  it("spares what an earlier run has answered; fresh runs take nothing of it", async () => {
    const cacheDir = join(scratch, "cache");
    const first = await evaluateArc({ cacheDir, limit: 4 });
    expect(first.results.bitnet.cached).toBe(0);
    const second = await evaluateArc({ cacheDir });
    expect(second.results.bitnet.cached).toBe(first.results.bitnet.requests);
    expect((await evaluateArc({ cacheDir, fresh: true })).results.bitnet.cached).toBe(0);
    expect(withoutTimes(second.results)).toEqual(withoutTimes((await evaluateArc()).results));
  });

  it("brings a killed run to the same results", async () => {
    const cacheDir = join(scratch, "killed");
    const child = spawn(process.execPath, ["--input-type=module", "-e", killedRun(cacheDir)], { stdio: "inherit" });
    const ended = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
    // The task waits for ever after its fourth document; what came before is written within a second.
    await expect.poll(() => linesOf(cacheDir)).toBeGreaterThanOrEqual(39 + 4);
    child.kill("SIGKILL");
    expect(await ended).toBe("SIGKILL");
    appendFileSync(join(cacheDir, cacheFile(cacheDir)), '{"key":"torn');

    const tasks = ["arc_challenge", writeTask];
    const data = { arc_challenge: arc, made_up: arc };
    const resumed = await evaluateArc({ tasks, data, cacheDir });
    expect(resumed.results.bitnet.cached).toBeGreaterThanOrEqual(39 + 4);
    const whole = await evaluateArc({ tasks, data });
    expect(withoutTimes(resumed.results)).toEqual(withoutTimes(whole.results));
    expect(resumed.samples).toEqual(whole.samples);
    const lines = readFileSync(join(cacheDir, cacheFile(cacheDir)), "utf8")
      .trimEnd()
      .split("\n");
    expect(lines.map((line) => typeof JSON.parse(line).key)).toEqual(lines.map(() => "string"));
  });
});

const cacheFile = (path: string) => readdirSync(path).find((name) => name.endsWith(".jsonl")) ?? "";

function linesOf(path: string): number {
  const name = existsSync(path) ? cacheFile(path) : "";
  return name === "" ? 0 : readFileSync(join(path, name), "utf8").split("\n").length - 1;
}

/** The same tasks in a process of its own. */
function killedRun(cacheDir: string): string {
  const library = pathToFileURL(join(root, "dist", "index.js")).href;
  return `
    import { evaluateTasks, loadModel } from ${JSON.stringify(library)};
    let written = 0;
    const measure = async () => {
      if (++written > 4 * 2) {
        await new Promise((resolve) => setTimeout(resolve, 2 ** 31 - 1));
      }
      return { length: 0 };
    };
    const whole = { name: "whole", apply: (text) => text };
    await evaluateTasks({
      model: await loadModel(${JSON.stringify(tinyModel)}),
      tasks: ["arc_challenge", {
        kind: "generation", name: "made_up", version: 1, source: { id: "made/up" }, licence: "none", split: "test",
        documents: 10, shots: { from: [], draw: "first" }, target: () => "yes", stops: ["\\n"], maxTokens: 8,
        prompt: (doc) => \`Question: \${doc.question}\\nAnswer:\`,
        filters: [whole, { ...whole, name: "first" }], metrics: [{ name: "length" }], measure,
      }],
      data: { arc_challenge: ${JSON.stringify(arc)}, made_up: ${JSON.stringify(arc)} },
      cacheDir: ${JSON.stringify(cacheDir)},
      parallel: 1,
    });`;
}
