// Adapters in use, against golden logits, in every form and with every kernel.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listKernels, loadModel, type Model } from "../../src/engine/model.js";
import { convertBase, families, goldenError, goldenLogits, trainFixture } from "../support/adapters.js";

const kernels = listKernels().filter(({ supported }) => supported);

describe.each(families)("the golden adapter of $name", ({ name, tolerance, rank, alpha }) => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-test-"));
  let path: string;
  let model: Model;
  beforeAll(async () => {
    path = await convertBase(name, folder);
    model = await loadModel(path, { threads: 2 });
  });
  afterAll(() => {
    model.close();
    rmSync(folder, { recursive: true });
  });

  test.each(kernels)("gives the golden logits with kernel $name, 1 and 2 threads", async ({ name: kernel }) => {
    const all: Float32Array[] = [];
    for (const threads of [1, 2]) {
      await using own = await loadModel(path, { threads, kernel });
      const adapter = await own.loadAdapter(trainFixture(name, "adapter"));
      const logits = await goldenLogits(own, name, [adapter]);
      expect(goldenError(name, logits)).toBeLessThan(tolerance);
      all.push(logits);
    }
    expect(all[0]).toEqual(all[1]);
  });

  test("is the same in PEFT's form and in llama.cpp's, and adds the same bits", async () => {
    const forms = ["", "adapter_model.safetensors", "adapter.gguf"].map((file) => trainFixture(name, "adapter", file));
    const adapters = await Promise.all(forms.map((form) => model.loadAdapter(form)));
    expect(new Set(adapters.map(({ hash }) => hash)).size).toBe(1);
    expect(adapters.map(({ ranks }) => ranks)).toEqual([[rank], [rank], [rank]]);
    const [folderLogits, fileLogits, ggufLogits] = await Promise.all(
      adapters.map((adapter) => goldenLogits(model, name, [adapter])),
    );
    expect(fileLogits).toEqual(folderLogits);
    expect(ggufLogits).toEqual(folderLogits);
  });

  test("is the model's own where a session names none, and scale 0 is the base", async () => {
    const base = await goldenLogits(model, name);
    expect(goldenError(name, base)).toBeGreaterThan(0.1);
    const fingerprint = model.fingerprint();
    const adapter = await model.loadAdapter(trainFixture(name, "adapter"));
    expect(await goldenLogits(model, name, [{ adapter, scale: 0 }])).toEqual(base);
    model.adapters = [adapter];
    try {
      expect(model.fingerprint()).not.toBe(fingerprint);
      expect(goldenError(name, await goldenLogits(model, name))).toBeLessThan(tolerance);
      expect(await goldenLogits(model, name, [])).toEqual(base);
    } finally {
      model.adapters = [];
    }
    expect(model.fingerprint()).toBe(fingerprint);
  });

  test("scales by alpha: half of it twice is all of it once, and less is not", async () => {
    const adapter = await model.loadAdapter(trainFixture(name, "adapter"), { scale: 0.5 });
    const twice = await goldenLogits(model, name, [adapter, adapter]);
    expect(goldenError(name, twice)).toBeLessThan(tolerance);
    expect(goldenError(name, await goldenLogits(model, name, [adapter]))).toBeGreaterThan(2 * tolerance);
    expect(alpha / rank).toBe(2);
  });

  test("reaches scores and embeddings, too", async () => {
    const adapter = await model.loadAdapter(trainFixture(name, "adapter"));
    const [plain] = (await model.embed(["hi there"], { pooling: "mean" })).vectors;
    const [adapted] = (await model.embed(["hi there"], { pooling: "mean", adapters: [adapter] })).vectors;
    expect(adapted).not.toEqual(plain);
    await using without = model.createSession({ contextSize: 64 });
    await using session = model.createSession({ contextSize: 64, adapters: [adapter] });
    const { logprobs } = await session.score("hi there yes");
    expect(logprobs).not.toEqual((await without.score("hi there yes")).logprobs);
  });

  test("does not belong to another model", async () => {
    await using other = await loadModel(path, { threads: 1 });
    const adapter = await other.loadAdapter(trainFixture(name, "adapter"));
    expect(() => model.createSession({ adapters: [adapter] })).toThrow(/loaded for another model/);
    adapter.close();
    expect(() => other.createSession({ adapters: [adapter] })).toThrow(/the adapter is closed/);
  });
});

test("an adapter of another family or shape is refused with both shapes named", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-test-"));
  try {
    await using model = await loadModel(await convertBase("bitnet", folder), { threads: 1 });
    await expect(model.loadAdapter(trainFixture("llama", "adapter"))).rejects.toThrow(
      /q_proj\.lora_A\.weight is for a matrix of 32 x 32; that of this model is 64 x 64/,
    );
    await expect(model.loadAdapter(trainFixture("llama", "adapter", "adapter.gguf"))).rejects.toThrow(/64 x 64/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
