// Training from nothing in a folder: what of an earlier run there is never lost in silence.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type PretrainOptions, preparePretrain, pretrain } from "../../src/train/pretrain.js";
import { root } from "../support/fixtures.js";

const scratch = mkdtempSync(join(tmpdir(), "bitnet-pretrain-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let folders = 0;
const newFolder = () => join(scratch, String(folders++), "model");

const config = join(scratch, "config.json"); // without a tokenizer beside it
const architecture = JSON.parse(readFileSync(join(root, "test/fixtures/train/bitnet/config.json"), "utf8"));
writeFileSync(config, JSON.stringify({ ...architecture, vocab_size: 280 }));

/** Ten texts of words that no other `seed` has. */
const textsOf = (seed: string) =>
  Array.from({ length: 10 }, (_, i) => ({ text: `The ${seed}${i} and the ${seed}ish ${i} ${seed}ed ${i + 1} times.` }));

function options(over: Partial<PretrainOptions> = {}): PretrainOptions {
  return {
    ...{ config, data: textsOf("walk"), out: newFolder(), tokenizer: "new", vocabSize: 280 },
    ...{ maxSteps: 2, batchSize: 2, threads: 1, ...over },
  };
}

describe("pretrain", () => {
  it("leaves the tokenizer of an earlier run as it is, unless that is begun over", async () => {
    const given = options();
    await pretrain(given);
    const tokenizer = () => readFileSync(join(given.out, "start", "tokenizer.json"), "utf8");
    const begun = tokenizer();
    const other = { ...given, data: textsOf("jump") };
    for (const run of [pretrain, preparePretrain]) {
      await expect(run(other)).rejects.toThrow("it has checkpoints of an earlier run");
    }
    const elsewhere = options({ data: textsOf("sing") });
    await pretrain(elsewhere);
    const replacing = { ...given, tokenizer: join(elsewhere.out, "start"), vocabSize: undefined };
    await expect(pretrain({ ...replacing, resume: true })).rejects.toThrow(
      "not the tokenizer that the run was begun with",
    );
    expect(tokenizer()).toBe(begun);
    await expect(pretrain({ ...given, resume: true })).resolves.toMatchObject({ steps: 2 });
    await expect(pretrain({ ...replacing, force: true })).resolves.toMatchObject({ steps: 2 });
    expect(tokenizer()).not.toBe(begun);
  });

  it("keeps the checkpoints of an earlier run until nothing can refuse the new one", async () => {
    const given = options();
    await pretrain(given);
    await expect(pretrain({ ...given, force: true, kernel: "none" })).rejects.toThrow("none");
    expect(existsSync(join(given.out, "checkpoint-2"))).toBe(true);
  });

  it("does not go on without evaluation where a split of the data takes none", async () => {
    await expect(pretrain(options({ evalSplit: 1e-9 }))).rejects.toMatchObject({
      code: "USAGE",
      message: "a split of 1e-9 leaves none of 10 documents to evaluate",
    });
  });

  it.each([
    [{ data: [] }, "no training data"],
    [{ maxSamples: -1 }, "maxSamples: expected a positive integer, got -1"],
    [{ vocabSize: -5 }, "the size of the vocabulary: expected an integer from 260 to 1048576, got -5"],
    [{ config: "" }, 'config: expected a path, got ""'],
  ])("of a caller without types refuses %j", async (wrong, message) => {
    await expect(pretrain(options(wrong))).rejects.toMatchObject({ code: "USAGE", message });
  });

  it.skipIf(process.platform === "win32")(
    "reads devices neither as data nor without an end as config.json",
    async () => {
      const tokenizer = { tokenizer: join(root, "test/fixtures/train/bitnet"), vocabSize: undefined };
      for (const over of [{}, tokenizer]) {
        await expect(pretrain(options({ ...over, data: "/dev/zero" }))).rejects.toThrow("it is not a regular file");
      }
      await expect(pretrain(options({ data: "/dev/zero:0.5" }))).rejects.toThrow("it is not a regular file");
      await expect(pretrain(options({ config: "/dev/zero" }))).rejects.toThrow("too large");
    },
  );

  it("takes no size of a vocabulary beside a tokenizer, and no folder without one", async () => {
    const tokenizer = join(root, "test/fixtures/train/bitnet");
    await expect(pretrain(options({ tokenizer }))).rejects.toMatchObject({
      message: expect.stringContaining("a vocabulary of 280 is for a new tokenizer"),
    });
    const empty = { tokenizer: scratch, vocabSize: undefined };
    await expect(pretrain(options(empty))).rejects.toThrow(`${scratch}: no tokenizer`);
  });
});
