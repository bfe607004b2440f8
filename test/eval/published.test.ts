import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { comparePublished, findPublished, publishedModels } from "../../src/eval/published.js";
import { findTask } from "../../src/eval/tasks/all.js";
import { root, tinyModel } from "../support/fixtures.js";

test("a model is found by its path, its repository or its file", () => {
  expect(findPublished("models/BitNet-b1.58-2B-4T/ggml-model-i2_s.gguf").repo).toBe("microsoft/BitNet-b1.58-2B-4T");
  expect(findPublished("microsoft/bitnet-b1.58-2B-4T-gguf").repo).toBe("microsoft/BitNet-b1.58-2B-4T");
  expect(findPublished("/x/bitnet_b1_58-3B.gguf").repo).toBe("1bitLLM/bitnet_b1_58-3B");
  expect(() => findPublished("models/tiny-bitnet.gguf")).toThrow(
    "no published results are known of models/tiny-bitnet.gguf",
  );
});

test("every published figure is of a task and a metric that there are", () => {
  for (const { figures } of publishedModels) {
    for (const { task, metric } of figures) {
      const row = findTask(task);
      const [name, filter] = metric.split(",");
      expect(row.metrics.map((one) => one.name)).toContain(name);
      const filters = "kind" in row && row.kind === "generation" ? row.filters.map((one) => one.name) : ["none"];
      expect(filters).toContain(filter);
    }
  }
});

test("each number stands beside its setting, and what is unknown is said to be", () => {
  const ours = {
    results: {
      arc_challenge: { "acc,none": 0.4, "acc_norm,none": 0.5, "acc_norm_stderr,none": 0.0146 },
      mmlu: { "acc,none": 0.5, "acc_stderr,none": "N/A" },
      gsm8k: { "exact_match,flexible-extract": 0.5 },
      lambada_openai: { "acc,none": 0.6 },
    },
    "n-shot": { arc_challenge: 25, mmlu_anatomy: 5 },
    "n-samples": {
      arc_challenge: { original: 1172, effective: 1172 },
      mmlu_anatomy: { original: 135, effective: 10 },
    },
    group_subtasks: { mmlu: ["mmlu_anatomy"] },
    chat_template: null,
  };
  const [arc, mmlu, ...others] = comparePublished(ours, findPublished("bitnet-b1.58-2B-4T"));
  expect(others).toEqual([]);
  expect(arc).toMatchObject({
    task: "arc_challenge",
    metric: "acc_norm,none",
    value: 50,
    error: 1.46,
    published: 49.91,
  });
  expect(arc?.difference).toBeCloseTo(0.09, 10);
  expect(arc?.setting).toBe("25-shot, plain");
  expect(arc?.publishedSetting).toBe("shots unknown, template unknown, metric not told");
  expect(mmlu).toMatchObject({ setting: "5-shot, plain, 10 of 135 questions" });
  expect(mmlu?.error).toBeUndefined();
  expect(mmlu?.publishedSetting).toBe("shots unknown, template unknown, metric not told, number unchecked");
  const [large] = comparePublished({ ...ours, "n-shot": {}, chat_template: "x" }, findPublished("bitnet_b1_58-large"));
  expect(large).toMatchObject({
    metric: "acc,none",
    setting: "0-shot, chat",
    publishedSetting: "0-shot, plain, metric not told, lm-eval 0.3.0",
  });
});

test("bitnet eval tasks --compare published shows them, and refuses where there are none", () => {
  const scratch = mkdtempSync(join(tmpdir(), "bitnet-published-"));
  const evaluate = (model: string, ...more: string[]) => {
    const data = `arc_challenge=${join(root, "test", "fixtures", "eval", "tasks", "arc.jsonl")}`;
    const args = [
      "eval",
      "tasks",
      "-m",
      model,
      "-t",
      "arc_challenge",
      "--data",
      data,
      "--limit",
      "2",
      "--compare",
      "published",
    ];
    const env = { ...process.env, XDG_CACHE_HOME: scratch };
    return spawnSync(process.execPath, [join(root, "bin", "bitnet.js"), ...args, ...more], { env, encoding: "utf8" });
  };
  try {
    const model = join(scratch, "bitnet_b1_58-3B.gguf");
    symlinkSync(tinyModel, model);
    const { stdout } = evaluate(model);
    expect(stdout).toContain("Published of 1bitLLM/bitnet_b1_58-3B (the model's card), in per cent\nTASK ");
    expect(stdout).toMatch(/^arc_challenge {2}acc .* 28\.00 .* 0-shot, plain, 2 of 10 questions /m);
    expect(JSON.parse(evaluate(model, "--json").stdout).published).toMatchObject([{ published: 28 }]);
    const refused = evaluate(tinyModel);
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain("no published results are known of");
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
