// How much more sequences that decode together get than one: tokens per second of all, beside a pass over as many rows.
//   node scripts/bench-sequences.mjs MODEL.gguf [--threads N] [--counts 1,2,4,8,16] [--tokens 48] [--rounds 3] [--json]

import { parseArgs } from "node:util";
import { loadModel } from "../dist/index.js";
import { loadAddon } from "../dist/native/addon.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string" },
    counts: { type: "string", default: "1,2,4,8,16" },
    tokens: { type: "string", default: "48" },
    prompt: { type: "string", default: "16" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
  },
});
const [path] = positionals;
if (path === undefined) {
  console.error("usage: node scripts/bench-sequences.mjs MODEL.gguf [--threads N] [--counts 1,2,4,8,16]");
  process.exit(2);
}
const threads = values.threads === undefined ? undefined : Number(values.threads);
const tokens = Number(values.tokens);
const promptTokens = Number(values.prompt);
const counts = values.counts.split(",").map(Number);

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const idsOf = (n, seed) => Array.from({ length: n }, (_, i) => 10 + ((seed * 7919 + i * 131) % 1500));

/** Tokens per second of `count` sessions from the first token of the last one on, all of them generating. */
async function decodeTogether(model, count) {
  const sessions = Array.from({ length: count }, () => model.createSession({ contextSize: 512, sharePrompts: false }));
  const arrivals = await Promise.all(
    sessions.map(async (session, i) => {
      const times = [];
      const options = { maxTokens: tokens, temperature: 0, ignoreEos: true };
      for await (const _ of session.generateTokens(idsOf(promptTokens, i), options)) {
        times.push(performance.now());
      }
      session.close();
      return times;
    }),
  );
  const start = Math.max(...arrivals.map((times) => times[0]));
  const end = Math.min(...arrivals.map((times) => times.at(-1)));
  const counted = arrivals.flat().filter((time) => time > start && time <= end).length;
  return (counted * 1000) / (end - start);
}

/** Rows per second of passes over `count` tokens of one sequence, every row with its logits. */
async function passOfRows(native, count) {
  const session = native.createSession({ contextSize: 1024, sharePrompts: false });
  const base = Int32Array.from(idsOf(promptTokens, 1));
  const seconds = [];
  for (let i = 0; i < 12; i++) {
    await session.prefill(base, "last");
    const rows = Int32Array.from([...base, ...idsOf(count, i + 2)]);
    const begun = performance.now();
    await session.prefill(rows, "all");
    seconds.push((performance.now() - begun) / 1000);
  }
  session.close();
  return count / median(seconds);
}

const model = await loadModel(path, { threads });
const native = await loadAddon().loadModel(path, { threads });
const results = counts.map((count) => ({ count, together: [], pass: [] }));
for (let round = 0; round < Number(values.rounds); round++) {
  for (const result of results) {
    result.together.push(await decodeTogether(model, result.count));
    result.pass.push(await passOfRows(native, result.count));
  }
}
if (values.json) {
  console.log(JSON.stringify(results));
} else {
  console.log("| sequences | tokens/s together | rows/s of a pass with all logits | share |\n|--:|--:|--:|--:|");
  for (const { count, together, pass } of results) {
    const [a, b] = [median(together), median(pass)];
    console.log(`| ${count} | ${a.toFixed(1)} | ${b.toFixed(1)} | ${((100 * a) / b).toFixed(0)} % |`);
  }
}
model.close();
native.close();
