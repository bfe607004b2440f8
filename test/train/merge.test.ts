import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel } from "../../src/engine/model.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { openTrainable } from "../../src/train/core/trainable.js";
import { exportModel } from "../../src/train/export-model.js";
import { type MergeMeasure, type MergeOptions, mergeAdapter } from "../../src/train/merge.js";
import { convertBase, copyGolden, families, trainFixture, writeChanged } from "../support/adapters.js";
import { trainAdapter } from "../support/trained.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-merge-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(families)("an adapter of a $name model", ({ name: family }) => {
  const place = join(folder, family);
  let options: Omit<MergeOptions, "out"> & { evalData: string };
  let gguf = "";
  beforeAll(async () => {
    await mkdir(place);
    const { adapter, examples } = await trainAdapter(family, place);
    options = { base: trainFixture(family), adapters: [{ path: adapter }], evalData: examples, threads: 1 };
    gguf = await convertBase(family, place);
  });

  test("is merged into the master, and what that costs is told", async () => {
    const report = await mergeAdapter({ ...options, out: join(place, "merged"), acceptLoss: Number.POSITIVE_INFINITY });
    expect(readdirSync(report.folder)).toEqual(["master", "model.gguf", "packed"]);
    const { losses, lost = Number.NaN, changed } = report;
    expect(losses?.adapter).toBeLessThan((losses?.base ?? 0) - 1);
    expect(lost).toBeCloseTo(
      ((losses?.merged ?? 0) - (losses?.adapter ?? 0)) / ((losses?.base ?? 0) - (losses?.adapter ?? 0)),
      12,
    );
    expect(changed?.codes).toBeGreaterThan(0);
    expect(changed?.codes).toBeLessThan((changed?.total ?? 0) / 2);
    expect(report.documents).toBe(3);
  });

  test("is not written where the merge takes back more than is accepted", async () => {
    const out = join(place, "refused");
    let measured: MergeMeasure | undefined;
    const onMeasured = (measure: MergeMeasure) => {
      measured = measure;
    };
    const merging = mergeAdapter({ ...options, out, acceptLoss: 0, onMeasured });
    await expect(merging).rejects.toMatchObject({
      code: "USAGE",
      message: expect.stringMatching(/^the merge takes back \S+ % of what the adapter has gained, more than 0 %/),
    });
    expect(measured?.lost).toBeGreaterThan(0);
    expect(existsSync(out)).toBe(false);
    const { lost = 0 } = measured ?? {};
    expect((await mergeAdapter({ ...options, out, acceptLoss: lost + 1e-6 })).lost).toBe(lost);
  });

  test("loses nothing in float matrices, whatever form the base has", async () => {
    const fromFolder = await mergeAdapter({ ...options, out: join(place, "f16"), to: "f16" });
    const fromFile = await mergeAdapter({ ...options, base: gguf, out: join(place, "f16-of-gguf"), to: "f16" });
    expect(fromFile.losses).toEqual(fromFolder.losses);
    expect(Math.abs(fromFile.lost ?? 1)).toBeLessThan(0.01);
    expect(fromFile.changed).toBeUndefined();
    expect(readdirSync(fromFile.folder)).toEqual(["model.gguf"]);
    const model = await loadModel(fromFile.gguf ?? "");
    expect(new Set(matrixTypes(fromFile.gguf ?? ""))).toEqual(new Set(["F16"]));
    expect(model.gguf.metadata()["general.file_type"]).toBe(1);
    model.close();
  });
});

function matrixTypes(path: string, name = /\.(attn_[qkv]|attn_output|ffn_(gate|up|down))\.weight$/): string[] {
  return openGguf(path)
    .tensors()
    .filter((tensor) => name.test(tensor.name))
    .map(({ type }) => type);
}

test("what no adapter touches stays ternary in float merges, and half of an adapter is half of it", async () => {
  const place = join(folder, "some");
  await mkdir(place);
  const { adapter, examples } = await trainAdapter("bitnet", place, ["q", "down"]);
  const common = { base: trainFixture("bitnet"), to: "f16", evalData: examples } as const;
  const whole = await mergeAdapter({ ...common, adapters: [{ path: adapter }], out: join(place, "whole") });
  expect(new Set(matrixTypes(whole.gguf ?? "", /(attn_q|ffn_down)\.weight$/))).toEqual(new Set(["F16"]));
  expect(new Set(matrixTypes(whole.gguf ?? "", /(attn_k|attn_output|ffn_up)\.weight$/))).toEqual(new Set(["I2_S"]));
  const halves = [0.5, 0.5].map((scale) => ({ path: adapter, scale }));
  const twice = await mergeAdapter({ ...common, adapters: halves, out: join(place, "twice") });
  expect(twice.losses?.merged).toBeCloseTo(whole.losses?.merged ?? 0, 3);
});

describe("refused is", () => {
  const adapters = [{ path: trainFixture("llama", "adapter") }];
  const anything = { acceptLoss: Number.POSITIVE_INFINITY };
  const out = join(folder, "none");
  const refusal = async (options: Partial<MergeOptions>) => {
    const error = await mergeAdapter({ base: trainFixture("llama"), adapters, out, ...anything, ...options }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(existsSync(out)).toBe(false);
    return error;
  };

  test("a base without master, of which the delta would vanish", async () => {
    const trainable = await openTrainable(
      { checkpoint: trainFixture("llama") },
      { mode: "full", seed: 1, maxLength: 8 },
    );
    const { packed = "" } = await exportModel(join(folder, "exported"), trainable, { source: trainFixture("llama") });
    trainable.close();
    for (const base of [await convertBase("llama", folder), packed]) {
      expect(await refusal({ base })).toMatchObject({
        code: "UNSUPPORTED",
        message: expect.stringContaining("vanishes without a trace"),
        hint: expect.stringContaining("--to f16"),
      });
    }
  });

  test("a checkpoint of which nothing says that it is ternary", async () => {
    const base = join(folder, "float");
    await mkdir(base);
    for (const name of ["model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
      await copyFile(trainFixture("llama", name), join(base, name));
    }
    const { quantization_config: _, ...config } = JSON.parse(
      readFileSync(trainFixture("llama", "config.json"), "utf8"),
    );
    writeFileSync(join(base, "config.json"), JSON.stringify(config));
    expect(await refusal({ base })).toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("nothing says"),
    });
  });

  test("what a caller without types may hand over", async () => {
    const cases = [
      [{ recover: { steps: 0, data: [{ input: "a", output: "b" }] } }, "recover.steps: expected a positive integer"],
      [{ to: "f32" as "f16" }, "to: expected ternary or f16"],
      [{ adapters: [{ path: "" }] }, "adapters[0].path: expected a path"],
      [{ base: "" }, "base: expected a path"],
    ] as const;
    for (const [wrong, message] of cases) {
      const expected = { code: "USAGE", message: expect.stringContaining(message) };
      expect(await refusal(wrong)).toMatchObject(expected);
    }
    expect(await refusal({ signal: AbortSignal.abort() })).toMatchObject({ code: "ABORTED" });
  });

  test("an adapter with a number that is none, whatever the matrices become", async () => {
    const path = writeChanged(
      join(folder, "nan"),
      {
        tensors: (all) => {
          const [first = ""] = Object.keys(all);
          return Object.fromEntries(
            Object.entries(all).map(([name, { data, ...tensor }]) => [
              name,
              { ...tensor, data: name === first ? Buffer.alloc(data.length, 0xff) : data },
            ]),
          );
        },
      },
      "llama",
    );
    for (const to of ["ternary", "f16"] as const) {
      expect(await refusal({ to, adapters: [{ path }] })).toMatchObject({
        code: "BAD_FILE",
        message: expect.stringMatching(/nan.*: model\.layers\.\d\..* has a number that is NaN or infinite/),
      });
    }
  });

  test("an adapter of another model, and one that gains nothing on the data", async () => {
    expect(await refusal({ base: trainFixture("bitnet") })).toMatchObject({ code: "USAGE" });
    const evalData = [{ prompt: "a", completion: "b" }];
    const useless = [{ path: copyGolden("llama", join(folder, "useless")), scale: 0 }];
    expect(await refusal({ adapters: useless, evalData, acceptLoss: 0.05 })).toMatchObject({
      code: "USAGE",
      message: expect.stringContaining("lowers the loss of this data not at all"),
    });
  });

  test("a merge that nothing measures, unless anything is accepted", async () => {
    expect(await refusal({ acceptLoss: undefined })).toMatchObject({
      code: "USAGE",
      hint: expect.stringContaining("inf"),
    });
    const { losses, changed } = await mergeAdapter({
      ...{ base: trainFixture("llama"), adapters: [{ path: trainFixture("llama", "adapter"), scale: 0 }] },
      ...{ out: join(folder, "unmeasured"), ...anything },
    });
    expect(losses).toBeUndefined();
    expect(changed?.codes).toBe(0);
  });
});

test("training after the merge brings back what it has cost", async () => {
  const place = join(folder, "recovered");
  await mkdir(place);
  const { adapter, examples } = await trainAdapter("llama", place);
  const common = { base: trainFixture("llama"), adapters: [{ path: adapter }], evalData: examples };
  const accepted = { ...common, acceptLoss: Number.POSITIVE_INFINITY };
  const merged = await mergeAdapter({ ...accepted, out: join(place, "merged") });
  const recover = { steps: 20, data: examples, lr: 2e-3, batchSize: 3, accumulation: 1 };
  const recovered = await mergeAdapter({ ...accepted, recover, out: join(place, "out") });
  expect(recovered.losses?.merged).toBeLessThan(merged.losses?.merged ?? 0);
  expect(readdirSync(recovered.folder)).toEqual(["master", "model.gguf", "packed"]);
  expect(recovered.changed?.codes).toBeGreaterThan(0);
});
