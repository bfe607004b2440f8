// What sessions that share a model cost each other and the process: latency of files while many prompts are read, the
// time of a prompt that begins like an earlier one, memory of idle sessions.
//   node scripts/bench-serving.mjs MODEL.gguf [--threads N] [--sessions 16] [--prompt 512]

import { stat } from "node:fs/promises";
import { parseArgs } from "node:util";
import { loadModel } from "../dist/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string" },
    sessions: { type: "string", default: "16" },
    prompt: { type: "string", default: "512" },
  },
});
const [path] = positionals;
if (path === undefined) {
  console.error("usage: node scripts/bench-serving.mjs MODEL.gguf [--threads N] [--sessions 16] [--prompt 512]");
  process.exit(2);
}
const count = Number(values.sessions);
const promptTokens = Number(values.prompt);
const idsOf = (n, seed) => Array.from({ length: n }, (_, i) => 10 + ((seed * 7919 + i * 131) % 1500));
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.floor((list.length - 1) * q)];

const model = await loadModel(path, { threads: values.threads === undefined ? undefined : Number(values.threads) });

async function measureLatency() {
  const sessions = Array.from({ length: count }, () => model.createSession({ contextSize: promptTokens + 64 }));
  let isRunning = true;
  const work = Promise.all(sessions.map((session, i) => session.prefill(idsOf(promptTokens, i + 1)))).then(() => {
    isRunning = false;
  });
  const latencies = [];
  while (isRunning) {
    const begun = performance.now();
    await stat(path);
    latencies.push(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await work;
  for (const session of sessions) {
    session.close();
  }
  const [half, most] = [quantile(latencies, 0.5), quantile(latencies, 0.99)];
  console.log(`stat() while ${count} prompts are read: median ${half.toFixed(3)} ms, p99 ${most.toFixed(3)} ms`);
}

async function measureSharing() {
  const common = idsOf(1000, 999);
  const times = [];
  for (const seed of [1, 2]) {
    const session = model.createSession({ contextSize: 2048 });
    const begun = performance.now();
    const { reused } = await session.prefill([...common, ...idsOf(50, seed * 31)]);
    times.push(performance.now() - begun);
    console.log(`prompt of 1050 tokens, ${reused} known: ${times.at(-1).toFixed(0)} ms`);
    session.close();
  }
  console.log(`the second costs ${((100 * times[1]) / times[0]).toFixed(1)} % of the first`);
}

async function measureMemory() {
  const before = process.memoryUsage().rss;
  const held = model.stats().heldBytes;
  const sessions = [];
  for (let i = 0; i < 16; i++) {
    const session = model.createSession({ contextSize: 2048 });
    await session.prefill(idsOf(40, 5000 + i));
    sessions.push(session);
  }
  const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
  const blocks = model.stats().heldBytes - held;
  const grown = process.memoryUsage().rss - before;
  console.log(`16 idle sessions: ${mib(grown)} MiB more, ${mib(blocks)} of them keys and values`);
  for (const session of sessions) {
    session.close();
  }
}

await measureLatency();
await measureSharing();
await measureMemory();
model.close();
