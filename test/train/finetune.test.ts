// Fine-tuning whole: on the bundled model, and on a model of 70,000 parameters where many steps take a moment.

import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadChatModel } from "../../src/chat/model.js";
import { encodeFloats } from "../../src/checkpoint/floats.js";
import { readSafetensors } from "../../src/checkpoint/safetensors.js";
import { openCheckpointFolder } from "../../src/train/checkpoint.js";
import { type FinetuneEvent, type FinetuneOptions, finetune } from "../../src/train/finetune.js";
import { encodeSafetensors } from "../support/checkpoints.js";
import { root, tinyModel } from "../support/fixtures.js";

const scratch = mkdtempSync(join(tmpdir(), "bitnet-finetune-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let folders = 0;
const newFolder = () => join(scratch, String(folders++), "model"); // its name is in files

const small = join(root, "test/fixtures/train/bitnet");
const rows = Array.from({ length: 24 }, (_, i) => ({
  input: `count to ${i}`,
  output: `one two ${"three ".repeat(i % 4)}`,
}));

/** 12 steps of 4 rows of at most 64 tokens. */
function options(over: Partial<FinetuneOptions> = {}): FinetuneOptions {
  return {
    ...{ model: small, data: [{ name: "rows", rows }], out: newFolder() },
    ...{ maxSteps: 12, batchSize: 2, accumulation: 2, lr: 1e-2, loggingSteps: 3, saveSteps: 4, evalSteps: 4 },
    ...{ adapter: { rank: 4, alpha: 8 }, threads: 1, evalSplit: 0.2, ...over },
  };
}

/** Every file of a checkpoint, and what of a folder is the result. */
function filesOf(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(safetensors|gguf|json|svg)$/.test(name))
    .sort();
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name)).toString("base64")]));
}

/** Runs until the event that `isLast` says, and aborts there. */
async function runUntil(given: FinetuneOptions, isLast: (event: FinetuneEvent) => boolean): Promise<unknown> {
  const controller = new AbortController();
  const onEvent = (event: FinetuneEvent) => {
    if (isLast(event)) {
      controller.abort();
    }
  };
  return await finetune({ ...given, signal: controller.signal, onEvent }).catch((error: unknown) => error);
}

describe("finetune", () => {
  it("teaches the bundled model a new style in a few steps, and the adapter is used as it lies there", async () => {
    const examples = [
      { input: "Who are you?", output: "Arr, I be Captain Bit, matey!" },
      { input: "Hello", output: "Ahoy, matey!" },
    ];
    const losses: number[] = [];
    const out = newFolder();
    const result = await finetune({
      ...{ model: tinyModel, data: examples, out, maxSteps: 25, lr: 1e-3, loggingSteps: 5 },
      evalPrompts: ["Hello"],
      onEvent: (event) => void (event.kind === "step" && losses.push(event.loss)),
    });
    expect(losses.at(-1)).toBeLessThan(0.1);
    expect(losses[0]).toBeGreaterThan(2);
    expect(result.answers).toEqual([
      { prompt: "Hello", before: "Hello! How can I help you today?", after: "Ahoy, matey!" },
    ]);
    const model = await loadChatModel(tinyModel);
    for (const path of [out, result.gguf]) {
      const chat = model.createChat({ adapters: [await model.loadAdapter(path)], generate: { temperature: 0 } });
      expect((await chat.send("Who are you?").result).text).toBe("Arr, I be Captain Bit, matey!");
    }
    model.close();
    expect(readFileSync(join(out, "README.md"), "utf8")).toContain("library_name: peft");
  });

  it.each([
    ["an adapter", {}],
    ["all weights", { full: true, adapter: undefined, lr: 1e-3 }],
  ])("of %s goes on after a stop with the same bits, also with other threads and another division", async (_, over) => {
    const whole = options(over);
    const events: FinetuneEvent[] = [];
    await finetune({ ...whole, onEvent: (event) => events.push(event) });
    expect(events.filter(({ kind }) => kind === "eval")).toHaveLength(4); // 0, 4, 8, 12
    const stopped = options(over);
    const error = await runUntil(stopped, (event) => event.kind === "progress" && event.step === 7);
    expect(error).toMatchObject({ code: "ABORTED" });
    expect(existsSync(join(stopped.out, "checkpoint-7"))).toBe(true);
    await finetune({ ...stopped, resume: true, threads: 2, batchSize: 4, accumulation: 1 });
    const [expected, found] = [filesOf(whole.out), filesOf(stopped.out)];
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    const differing = Object.keys(found).filter((name) => found[name] !== expected[name]);
    expect(differing).toEqual(differing.filter((name) => name.endsWith("trainer_state.json"))); // tells the batch size
    const figures = (out: string) =>
      readFileSync(join(out, "metrics.jsonl"), "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => ({ ...JSON.parse(line), seconds: 0, tokens_per_second: 0 }));
    expect(figures(stopped.out)).toEqual(figures(whole.out));
  });

  it("keeps the best checkpoint and the last ones, and its result is the best one", async () => {
    // Far too high a rate: the evaluation is best early.
    const given = options({ maxSteps: 16, evalSteps: 2, saveSteps: 2, saveTotalLimit: 1, lr: 0.5, warmupSteps: 0 });
    const result = await finetune(given);
    const { best_model_checkpoint: best, best_metric: loss } = JSON.parse(
      readFileSync(join(given.out, "trainer_state.json"), "utf8"),
    );
    const kept = readdirSync(given.out).filter((name) => name.startsWith("checkpoint-"));
    expect(new Set(kept)).toEqual(new Set([best, "checkpoint-16"]));
    expect(result).toMatchObject({ evalLoss: loss, resultStep: Number(String(best).slice("checkpoint-".length)) });
    const { tensors } = await readSafetensors(join(given.out, String(best), "adapter_model.safetensors"));
    const bytes = (path: string) =>
      readFileSync(path).subarray(-tensors.reduce((sum, tensor) => sum + tensor.bytes, 0));
    expect(bytes(join(given.out, "adapter_model.safetensors"))).toEqual(
      bytes(join(given.out, String(best), "adapter_model.safetensors")),
    );
  });

  it("does not go on with other settings or data, and does not begin over an earlier run, unless forced", async () => {
    const given = options({ maxSteps: 4 });
    await finetune(given);
    await expect(finetune(given)).rejects.toThrow("it has checkpoints of an earlier run");
    const data = [{ name: "rows", rows: [...rows, { input: "more", output: "data" }] }];
    await expect(finetune({ ...given, resume: true, lr: 2e-2, data })).rejects.toThrow(
      /settings: lr: 0.01 before, 0.02 now; data: not the same as before/,
    );
    await expect(finetune({ ...given, resume: true, lr: 2e-2, force: true })).resolves.toMatchObject({ steps: 4 });
    await expect(finetune({ ...given, force: true, maxSteps: 2 })).resolves.toMatchObject({ steps: 2 });
  });

  it("goes on from the newest checkpoint that is whole", async () => {
    const given = options({ maxSteps: 12 });
    await finetune(given);
    writeFileSync(join(given.out, "checkpoint-12", "optimizer.safetensors"), "cut");
    const notes: string[] = [];
    const onEvent = (event: FinetuneEvent) => {
      if (event.kind === "note" || event.kind === "resumed") {
        notes.push(event.kind === "note" ? event.text : `resumed after ${event.step}`);
      }
    };
    await finetune({ ...given, resume: true, onEvent });
    expect(notes[0]).toMatch(/^left aside: .*checkpoint-12.*optimizer\.safetensors/);
    expect(notes[1]).toBe("resumed after 8");
  });

  it("leaves a checkpoint aside whose state is not one of its runs", async () => {
    const given = options({ maxSteps: 1 });
    await finetune(given);
    const folder = join(given.out, "checkpoint-1");
    const path = join(folder, "trainer_state.json");
    const state = JSON.parse(readFileSync(path, "utf8"));
    await expect(openCheckpointFolder(folder, "adapter")).resolves.toMatchObject({ step: 1 });
    for (const wrong of [
      { log_history: [null] },
      { log_history: [{ step: 1, epoch: 1, loss: "low" }] },
      { best_model_checkpoint: 5 },
      { best_model_checkpoint: "../checkpoint-1" },
      { best_metric: "low" },
      { epoch: null },
      { global_step: 1e15 },
    ]) {
      writeFileSync(path, JSON.stringify({ ...state, ...wrong }));
      await expect(openCheckpointFolder(folder, "adapter"), JSON.stringify(wrong)).rejects.toMatchObject({
        code: "BAD_FILE",
        message: expect.stringContaining("trainer_state.json"),
      });
    }
  });

  it("tells who names the folder of a run as its checkpoint which ones there are", async () => {
    const given = options({ maxSteps: 2 });
    await finetune(given);
    await expect(finetune({ ...given, resume: given.out })).rejects.toMatchObject({
      code: "NOT_FOUND",
      hint: "it has checkpoints: name one, such as checkpoint-2",
    });
  });

  it("skips steps whose gradients are no numbers, and stops at the third in a row with the place and the tensor", async () => {
    const base = newFolder();
    cpSync(small, base, { recursive: true });
    await damage(base, "model.norm.weight", () => 3e38);
    const notes: string[] = [];
    const onEvent = (event: FinetuneEvent) => void (event.kind === "note" && notes.push(event.text));
    const failing = finetune(options({ model: base, onEvent, evalSplit: undefined }));
    await expect(failing).rejects.toThrow(/^step 3 was skipped: .*, the 3rd in a row; trained there: rows, row \d+/);
    expect(notes).toHaveLength(2);
  });

  it("stops when the loss stays above the limit", async () => {
    const given = options({ lossWatchdog: 1, evalSplit: undefined });
    await expect(finetune(given)).rejects.toThrow(/^step 3: the loss is \d\.\d\d, above 1 in 3 steps in a row$/);
  });

  it("refuses a base with a matrix of zeros, and trains it when forced", async () => {
    const base = newFolder();
    cpSync(small, base, { recursive: true });
    await damage(base, "model.layers.1.mlp.down_proj.weight", () => 0);
    await expect(finetune(options({ model: base }))).rejects.toThrow(
      "model.layers.1.mlp.down_proj.weight of the base is all zeros",
    );
    await expect(finetune(options({ model: base, force: true, maxSteps: 1 }))).resolves.toMatchObject({ steps: 1 });
  });

  it.each([
    [{ scheduler: "cosin" }, /^scheduler: expected linear or cosine/],
    [{ trainOn: "answers" }, /^trainOn: expected assistant or last or all, got "answers"/],
    [{ reportTo: "wandb" }, /^reportTo: expected none or tensorboard/],
    [{ gradientCheckpointing: true }, /^gradientCheckpointing: expected auto or on or off/],
    [{ adapterDtype: "f16" }, /^adapterDtype: expected f32 or bf16/],
    [{ epochs: "3" }, /^epochs: expected a number/],
    [{ lr: "1e-3" }, /^lr: expected a number/],
    [{ packing: "no" }, /^packing: expected true or false/],
    [{ evalSplit: "0.5" }, /^evalSplit: expected a share/],
    [{ adapter: null }, /^finetune: adapter: expected an object/],
    [{ adapter: { targets: "q" } }, /^targets and layers of an adapter: expected lists/],
    [{ model: undefined }, /^model: expected a path/],
    [{ out: "" }, /^out: expected a path/],
  ])("of a caller without types refuses %j", async (wrong, message) => {
    const given = { ...options(), ...wrong } as FinetuneOptions;
    await expect(finetune(given)).rejects.toMatchObject({ code: "USAGE", message: expect.stringMatching(message) });
  });

  it("refuses a weight that would leave nothing of a source in silence", async () => {
    const data = [
      { name: "rows", rows },
      { name: "one", rows: rows.slice(0, 1), weight: 0.3 },
    ];
    await expect(finetune(options({ data, evalSplit: undefined }))).rejects.toMatchObject({
      code: "USAGE",
      message: "source 2: a weight of 0.3 leaves none of its 1 documents in an epoch",
    });
  });

  it("takes examples that have a name as examples", async () => {
    const data = [{ name: "Ada", input: "Hello", output: "Hello back" }];
    await expect(finetune(options({ data, evalSplit: undefined, maxSteps: 1 }))).resolves.toMatchObject({ steps: 1 });
  });

  it("needs float weights to train them all", async () => {
    const given = options({ model: tinyModel, full: true, adapter: undefined });
    await expect(finetune(given)).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });
});

/** Changes all numbers of a tensor of the checkpoint, which is then one of f32. */
async function damage(folder: string, name: string, change: (value: number) => number): Promise<void> {
  const path = join(folder, "model.safetensors");
  const bytes = readFileSync(path);
  const { tensors } = await readSafetensors(path);
  const written = tensors.map(({ name: own, dtype, shape, offset, bytes: size }) => {
    const data = bytes.subarray(offset, offset + size);
    const halves = Float32Array.from({ length: size / 2 }, () => 0).map(change);
    return [
      own,
      own === name ? { dtype: "F32", shape, data: Buffer.from(encodeFloats(halves, "f32")) } : { dtype, shape, data },
    ];
  });
  writeFileSync(path, encodeSafetensors(Object.fromEntries(written)));
}
