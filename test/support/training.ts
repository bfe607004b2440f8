// The files that pages about training speak of, small enough for a moment.

import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./fixtures.js";

/** Variables that make every training short. */
export const shortTraining = { BITNET_FINETUNE_MAX_STEPS: "2", BITNET_TRAIN_MAX_STEPS: "2" };

/** Into `folder`: examples, texts, questions, a config.json and a master. */
export function prepareTraining(folder: string): void {
  const small = join(root, "test", "fixtures", "train", "bitnet");
  const examples = Array.from({ length: 24 }, (_, i) => ({ input: `say ${i}`, output: `It is ${i * i} or ${i * 7}.` }));
  const lines = (rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  for (const name of ["examples.jsonl", "chats.jsonl", "pirate.jsonl"]) {
    writeFileSync(join(folder, name), lines(examples));
  }
  writeFileSync(
    join(folder, "texts.jsonl"),
    lines(examples.map(({ input, output }) => ({ text: `${input}: ${output}` }))),
  );
  writeFileSync(join(folder, "questions.txt"), "Hello\n");
  const config = JSON.parse(readFileSync(join(small, "config.json"), "utf8")) as object;
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, vocab_size: 264 }));
  mkdirSync(join(folder, "master"), { recursive: true });
  for (const name of ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]) {
    cpSync(join(small, name), join(folder, "master", name));
  }
}
