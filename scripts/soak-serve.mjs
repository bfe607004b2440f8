// Many short requests of all kinds against one server process, and what is left of them afterwards: memory, handles, timers,
// sessions. node scripts/soak-serve.mjs [REQUESTS] [MINUTES]; needs `npm run build`. Exits with 1 if something is left.

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const place = (path) => new URL(`../${path}`, import.meta.url);
const mostDrift = 0.02; // of the resident memory, from the end of the warm-up to the end
const warmUpShare = 0.3; // until then caches fill
const rows = 10;
const width = 12; // requests at once

/** The process that is measured: a server that tells its parent what it holds. */
async function serve() {
  const { startServer } = await import(place("dist/serve/server.js"));
  const server = await startServer({
    modelPath: fileURLToPath(place("models/tiny-bitnet.gguf")),
    port: 0,
    parallel: 4,
    promptCacheBytes: 8 * 2 ** 20,
    responseStore: 16,
    connectionsPerAddress: 0,
  });
  const service = await server.ready;
  process.send({ url: server.urls[0] });
  process.on("disconnect", () => process.exit(0));
  process.on("message", async () => {
    // Twice: what the first pass finalizes is freed by the second.
    for (let i = 0; i < 2; i++) {
      globalThis.gc();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const { rss, heapUsed, external } = process.memoryUsage();
    const resources = {};
    for (const name of process.getActiveResourcesInfo()) {
      resources[name] = (resources[name] ?? 0) + 1;
    }
    const { running, waiting } = service.admission;
    process.send({ rss, heapUsed, external, resources, running, waiting, engine: service.model.stats() });
  });
}

async function soak(requests, budget) {
  const child = fork(fileURLToPath(import.meta.url), ["--server"], { execArgv: ["--expose-gc"], stdio: "inherit" });
  const receive = () => new Promise((resolve) => child.once("message", resolve));
  const measure = () => {
    const answer = receive();
    child.send("measure");
    return answer;
  };
  const { url } = await receive();
  const begun = performance.now();
  const state = { url, next: 0, statuses: new Map() };
  const readings = [];
  printHead();
  for (let row = 0; row <= rows; row++) {
    await runTo(Math.floor((requests * row) / rows), state);
    await settled(measure);
    const reading = { ...(await measure()), requests: state.next, seconds: (performance.now() - begun) / 1000 };
    printRow(reading);
    readings.push(reading);
    if (performance.now() - begun > budget) {
      console.log(`ends early: ${budget / 60_000} minutes are over`);
      break;
    }
  }
  child.disconnect();
  child.kill("SIGKILL");
  console.log(`statuses: ${[...state.statuses].map(([status, count]) => `${status} x ${count}`).join(", ")}`);
  return judge(readings, requests);
}

/** Answers of clients that left are ended by then, and connections of theirs closed. */
async function settled(measure) {
  for (let i = 0; i < 50; i++) {
    const { running, waiting } = await measure();
    if (running + waiting === 0) {
      return;
    }
  }
}

async function runTo(end, state) {
  const work = async () => {
    while (state.next < end) {
      const i = state.next++;
      const status = await kinds[i % kinds.length](state.url, i);
      state.statuses.set(status, (state.statuses.get(status) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
}

async function post(url, path, body, init = {}) {
  return fetch(url + path, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json" },
    ...init,
  });
}

/** The whole answer is read. */
async function ask(url, path, body) {
  const response = await post(url, path, body);
  await response.text();
  return response.status;
}

/** Leaves after the first piece of a stream, or after some milliseconds. */
async function leave(url, path, body, { after } = {}) {
  const left = new AbortController();
  try {
    const timer = after === undefined ? undefined : setTimeout(() => left.abort(), after);
    const response = await post(url, path, body, { signal: left.signal });
    for await (const _ of response.body) {
      left.abort();
    }
    clearTimeout(timer);
    return response.status;
  } catch {
    return "left";
  }
}

const schema = {
  type: "object",
  properties: { name: { enum: ["Tom", "Lily"] }, age: { type: "integer", minimum: 1, maximum: 99 } },
  required: ["name", "age"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "find", description: "Finds.", parameters: schema } }];
const chatOf = (i) => [{ role: "user", content: `Tell me about ${i % 7} cats and ${i % 501} dogs.` }];
const chat = "/v1/chat/completions";

const kinds = [
  (url, i) => ask(url, chat, { messages: chatOf(i), max_tokens: 4, seed: i }),
  (url, i) => ask(url, chat, { messages: chatOf(i), max_tokens: 6, stream: true, n: 2 }),
  (url, i) => leave(url, chat, { messages: chatOf(i), max_tokens: 200, stream: true, ignore_eos: true }),
  (url, i) => leave(url, chat, { messages: chatOf(i), max_tokens: 200, ignore_eos: true }, { after: i % 20 }),
  (url, i) =>
    ask(url, chat, {
      messages: chatOf(i),
      max_tokens: 16,
      // Some of one's own: compiled grammars are kept, not all of them.
      response_format: { type: "json_schema", json_schema: { schema: { ...schema, title: `s${i % 997}` } } },
    }),
  (url, i) =>
    ask(url, chat, { messages: chatOf(i), max_tokens: 24, tools, tool_choice: "required", stream: i % 2 === 0 }),
  (url, i) => ask(url, chat, { messages: chatOf(i), max_tokens: 6, grammar: `root ::= "a${i % 997}" [b-d]+` }),
  (url, i) => ask(url, "/v1/completions", { prompt: `Once ${i % 501}`, max_tokens: 2, echo: true, logprobs: 2 }),
  (url, i) => ask(url, "/completion", { prompt: `The ${i % 501}`, n_predict: 3, n_probs: 2, stream: i % 2 === 0 }),
  (url, i) => ask(url, "/v1/responses", { input: `Who is ${i}?`, max_output_tokens: 4, stream: i % 2 === 0 }),
  (url, i) => ask(url, "/v1/messages", { messages: chatOf(i), max_tokens: 4, stream: i % 2 === 0 }),
  (url, i) => ask(url, "/api/chat", { messages: chatOf(i), options: { num_predict: 3 } }),
  (url, i) => ask(url, "/tokenize", { content: `Once ${i}`, with_pieces: true }),
  (url, i) => ask(url, chat, { messages: [{ role: "nobody", content: `${i}` }] }),
  (url, i) => ask(url, chat, `{"messages": [${i}`),
  (url, i) => ask(url, chat, { messages: chatOf(i), max_tokens: 4, grammar: `root ::= ${i} (` }),
];

const columns = [
  ["requests", ({ requests }) => requests],
  ["seconds", ({ seconds }) => seconds.toFixed(1)],
  ["RSS MB", ({ rss }) => (rss / 1e6).toFixed(1)],
  ["heap MB", ({ heapUsed }) => (heapUsed / 1e6).toFixed(1)],
  ["external MB", ({ external }) => (external / 1e6).toFixed(1)],
  ["running", ({ running, waiting }) => `${running}+${waiting}`],
  ["resources", ({ resources }) => describeResources(resources)],
];

/** Connections of the clients' pool come and go. */
function describeResources(resources) {
  return Object.entries(resources)
    .filter(([name]) => name !== "TCPSocketWrap")
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}

function printHead() {
  console.log(columns.map(([name]) => name.padStart(11)).join(" "));
}

function printRow(reading) {
  console.log(columns.map(([, read]) => String(read(reading)).padStart(11)).join(" "));
}

/** 0 if nothing is left. */
function judge(readings, requests) {
  const first = readings.find((reading) => reading.requests >= requests * warmUpShare) ?? readings[0];
  const last = readings.at(-1);
  const drift = last.rss / first.rss - 1;
  const problems = [
    ...(drift > mostDrift ? [`memory has grown by ${(drift * 100).toFixed(1)} %`] : []),
    ...(last.engine.running + last.engine.waiting + last.engine.heldBytes > 0
      ? ["sequences are left in the engine"]
      : []),
    ...(last.running + last.waiting > 0 ? [`${last.running + last.waiting} requests are left`] : []),
    ...(describeResources(last.resources) === describeResources(first.resources)
      ? []
      : [`other resources: ${describeResources(first.resources)} before, ${describeResources(last.resources)} after`]),
  ];
  console.log(`memory: ${(drift * 100).toFixed(2)} % since request ${first.requests}`);
  const { steps, running, waiting, heldBytes, cachedBytes } = last.engine;
  console.log(`engine: ${JSON.stringify({ steps, running, waiting, heldBytes, cachedBytes })}`);
  for (const problem of problems) {
    console.error(`left over: ${problem}`);
  }
  return problems.length === 0 ? 0 : 1;
}

if (process.argv[2] === "--server") {
  await serve();
} else {
  const [requests = "10000", minutes = "10"] = process.argv.slice(2);
  if (!(Number(requests) >= 100 && Number(minutes) > 0)) {
    console.error("usage: node scripts/soak-serve.mjs [REQUESTS, at least 100] [MINUTES]");
    process.exit(2);
  }
  process.exitCode = await soak(Number(requests), Number(minutes) * 60_000);
}
