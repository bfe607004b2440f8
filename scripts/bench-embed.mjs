// How many embeddings a second a model computes, for texts of several lengths: `node scripts/bench-embed.mjs MODEL.gguf
// [--tokens 16,128,512] [--texts 256] [--threads N] [--rounds 5] [--json]`. Every length has the same number of tokens in all,
// --texts times the shortest length; the median of the rounds after one to warm up counts. With --ids FILE the token ids of the inputs
// are written there as JSON, one list for each length, so that another program can be given the same.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { loadModel } from "../dist/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: "string", default: "16,128,512" },
    texts: { type: "string", default: "256" },
    threads: { type: "string" },
    rounds: { type: "string", default: "5" },
    ids: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const [path] = positionals;
if (path === undefined) {
  console.error("expected the path of a model of embeddings");
  process.exit(2);
}

/** Ids that repeat in every run: xorshift. */
function makeInputs(count, length, vocabSize, seed) {
  let state = seed;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % vocabSize;
  };
  return Array.from({ length: count }, () => Array.from({ length }, next));
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };
const model = await loadModel(path, threads);
const lengths = values.tokens.split(",").map(Number);
const total = Number(values.texts) * Math.min(...lengths);
const results = [];
const written = {};
for (const length of lengths) {
  const inputs = makeInputs(
    Math.max(1, Math.round(total / length)),
    length,
    model.tokenizer.info.vocabSize,
    1 + length,
  );
  written[length] = inputs;
  const seconds = [];
  for (let round = 0; round <= Number(values.rounds); round++) {
    const startedAt = performance.now();
    await model.embed(inputs);
    seconds.push((performance.now() - startedAt) / 1000);
  }
  const time = median(seconds.slice(1));
  results.push({
    tokens: length,
    texts: inputs.length,
    seconds: time,
    textsPerSecond: inputs.length / time,
    tokensPerSecond: total / time,
  });
}
if (values.ids !== undefined) {
  writeFileSync(values.ids, JSON.stringify(written));
}
const { kernel, threads: used, architecture } = model.info;
if (values.json) {
  console.log(
    JSON.stringify({ model: path, architecture, kernel, threads: used, pooling: model.info.pooling, results }),
  );
} else {
  console.log(`${path}: ${architecture}, kernel ${kernel}, ${used} threads`);
  for (const { tokens, texts, textsPerSecond, tokensPerSecond } of results) {
    console.log(
      `${texts} texts of ${tokens} tokens: ${textsPerSecond.toFixed(1)} texts/s, ${tokensPerSecond.toFixed(0)} tokens/s`,
    );
  }
}
model.close();
