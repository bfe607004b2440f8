// An adapter that has learned something, made in a second, and the examples that it has learned.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AdapterShape, TrainTarget } from "../../src/train/core/trainable.js";
import { finetune } from "../../src/train/finetune.js";
import { type FamilyName, trainFixture } from "./adapters.js";

/** Writes examples to `folder`/examples.jsonl and an adapter that was trained on them to `folder`/adapter. */
export async function trainAdapter(
  family: FamilyName,
  folder: string,
  targets?: readonly TrainTarget[],
): Promise<{ adapter: string; examples: string }> {
  const examples = join(folder, "examples.jsonl");
  const lines = ["red", "green", "blue"].map((colour) => ({
    prompt: `the ${colour} one`,
    completion: ` is ${colour}`,
  }));
  writeFileSync(examples, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const adapter: AdapterShape = { rank: 4, alpha: 8, dropout: 0, targets };
  const out = join(folder, "adapter");
  await finetune({
    model: trainFixture(family),
    data: examples,
    ...{ out, adapter, maxSteps: 30, batchSize: 3, accumulation: 1, lr: 1e-2, saveSteps: 0, maxLength: 64, threads: 1 },
  });
  return { adapter: out, examples };
}
