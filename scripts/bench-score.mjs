// What scoring costs beside what it is made of: `node scripts/bench-score.mjs MODEL [REPETITIONS]`, after `npm run build`.
//
// Times score() over 512 tokens from the 256th on against a prefill of as many tokens and the head of 255 rows, and the peak
// of resident memory over that of the loaded model, for score() and for distributions(). A kernel, layout or number of threads
// is set as elsewhere, with BITNET_KERNEL, BITNET_LAYOUT, and the first argument after the repetitions.

import { readFileSync } from "node:fs";
import { loadModel } from "../dist/index.js";

const [path, repetitions = "5", threads] = process.argv.slice(2);
if (path === undefined) {
  throw new Error("expected a model: node scripts/bench-score.mjs MODEL [REPETITIONS] [THREADS]");
}
const length = 512;
const from = 257; // 255 tokens are scored

const model = await loadModel(path, threads === undefined ? {} : { threads: Number(threads) });
const { vocabSize } = model.tokenizer.info;
const ids = Int32Array.from({ length }, (_, i) => (i * 7919 + 13) % vocabSize);

/** Peak resident bytes since the last call; only Linux tells, where the mark can be reset. */
function peak() {
  const text = readFileSync("/proc/self/status", "utf8");
  return Number(/^VmHWM:\s+(\d+)/m.exec(text)?.[1]) * 1024;
}

async function median(work) {
  const times = [];
  for (let i = 0; i < Number(repetitions) + 1; i++) {
    const session = model.createSession({ contextSize: length, sharePrompts: false });
    const started = performance.now();
    await work(session);
    times.push(performance.now() - started);
    session.close();
  }
  times.shift(); // the first one warms up
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
}

await median((session) => session.prefill(ids)); // what any use of the model takes
const loaded = peak();
const prefill = await median((session) => session.prefill(ids));
const score = await median((session) => session.score(ids, { from }));
const scorePeak = peak();
const distributions = await median((session) => session.distributions(ids, { from }, () => {}));
const distributionsPeak = peak();
// The head of 255 rows alone: all rows of a prefill of whose tokens only the last 255 are evaluated anew, less the same without.
const headOf = async (logits) => {
  const times = [];
  for (let i = 0; i < Number(repetitions) + 1; i++) {
    const session = model.createSession({ contextSize: length, sharePrompts: false });
    await session.prefill(ids.subarray(0, length - 255));
    const started = performance.now();
    await session.prefill(ids, { logits });
    times.push(performance.now() - started);
    session.close();
  }
  times.shift();
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
};
const head = (await headOf("all")) - (await headOf("last"));

const ms = (value) => `${value.toFixed(1)} ms`;
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
console.log(`${path}: kernel ${model.info.kernel}, ${model.info.threads} threads, vocabulary ${vocabSize}`);
console.log(`prefill of ${length}              ${ms(prefill)}`);
console.log(`head of 255 rows             ${ms(head)}`);
console.log(`score from ${from}               ${ms(score)}, ${(score / (prefill + head)).toFixed(3)} x their sum`);
console.log(
  `distributions from ${from}       ${ms(distributions)}, ${(distributions / (prefill + head)).toFixed(3)} x their sum`,
);
console.log(`peak of score over prefill   ${mib(scorePeak - loaded)}`);
console.log(`peak of distributions        ${mib(distributionsPeak - loaded)}`);
model.close();
