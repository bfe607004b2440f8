// Writes training data of this project's own: short stories and chats in everyday English, as JSON lines.
//   node scripts/make-training-data.mjs OUT [--megabytes 50] [--seed 1] [--tests 1000]
//
// OUT/train.jsonl and OUT/valid.jsonl have stories ({"text"}) and chats ({"messages"}); OUT/test.jsonl has chats without their
// last answer, the answer, and the words that a right answer must have. Valid and test are made of combinations (a template
// with what stands in it, two numbers of a sum, a hero with a thing in a kind of story) that no line of the training data has,
// with any seed. No line is there twice. See docs/training-data.md.

import { once } from "node:events";
import { createWriteStream, mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeChat, makeTest } from "./training-data/chats.mjs";
import { hashText, Random } from "./training-data/random.mjs";
import { makeStory } from "./training-data/stories.mjs";

const storyShare = 0.3; // of the bytes
const validShare = 0.02;

/** Lines that were not there before. */
class Lines {
  bytes = 0;
  count = 0;
  #seen;
  #file;

  constructor(path, seen) {
    this.#file = createWriteStream(path);
    this.#seen = seen;
  }

  async add(value) {
    const line = `${JSON.stringify(value)}\n`;
    const hash = hashText(line) * 2 ** 20 + (hashText(`${line}+`) % 2 ** 20);
    if (this.#seen.has(hash)) {
      return;
    }
    this.#seen.add(hash);
    this.bytes += Buffer.byteLength(line);
    this.count++;
    if (!this.#file.write(line)) {
      await once(this.#file, "drain");
    }
  }

  async end() {
    this.#file.end();
    await once(this.#file, "close");
  }
}

async function fillTraining(lines, random, bytes) {
  let stories = 0;
  while (lines.bytes < bytes) {
    const isStory = stories <= storyShare * lines.bytes;
    const before = lines.bytes;
    const made = isStory ? makeStory(random, false) : makeChat(random);
    if (made !== undefined) {
      await lines.add(isStory ? { text: made.text } : { messages: made });
      stories += isStory ? lines.bytes - before : 0;
    }
  }
}

/** What is held out, whole. */
async function fillValidation(lines, random, bytes) {
  while (lines.bytes < bytes) {
    const isStory = random.chance(0.5);
    const made = isStory ? makeStory(random, true) : makeTest(random);
    if (made !== undefined) {
      const answer = { role: "assistant", content: made.answer };
      await lines.add(isStory ? { text: made.text } : { messages: [...made.messages, answer] });
    }
  }
}

async function fillTests(lines, random, count) {
  while (lines.count < count) {
    const made = makeTest(random);
    if (made !== undefined) {
      await lines.add(made);
    }
  }
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      megabytes: { type: "string", default: "50" },
      seed: { type: "string", default: "1" },
      tests: { type: "string", default: "1000" },
    },
  });
  const [out] = positionals;
  const [bytes, seed, tests] = [Number(values.megabytes) * 1e6, Number(values.seed), Number(values.tests)];
  if (out === undefined || !(bytes > 0) || !Number.isInteger(seed) || !(tests >= 0)) {
    console.error("usage: node scripts/make-training-data.mjs OUT [--megabytes N] [--seed N] [--tests N]");
    process.exitCode = 2;
    return;
  }
  mkdirSync(out, { recursive: true });
  const seen = new Set();
  const fills = [
    ["train", (lines) => fillTraining(lines, new Random(seed), bytes)],
    ["valid", (lines) => fillValidation(lines, new Random(seed + 1_000_003), bytes * validShare)],
    ["test", (lines) => fillTests(lines, new Random(seed + 2_000_003), tests)],
  ];
  for (const [name, fill] of fills) {
    const lines = new Lines(join(out, `${name}.jsonl`), seen);
    await fill(lines);
    await lines.end();
    console.log(`${name}.jsonl: ${lines.count} lines, ${lines.bytes} bytes`);
  }
}

await main();
