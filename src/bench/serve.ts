// Load on servers that speak OpenAI's protocol: what answers cost there, with so many at once. Several servers take turns,
// so that a slow minute of the machine is a slow one of all.

import { setMaxListeners } from "node:events";
import { countOf } from "../system/counts.js";
import { BitnetError, throwIfAborted } from "../system/errors.js";
import { JoinedSignal } from "../system/signals.js";
import { Random } from "./random.js";
import { describeRefusal, LoadClient } from "./serve-client.js";
import { type Clock, machineClock } from "./serve-clock.js";
import { asObject } from "./serve-events.js";
import { addLook, type MemoryUse, readMemory } from "./serve-memory.js";
import { measureTokensPerWord, PromptMaker, wordsFor } from "./serve-prompts.js";
import { type ServeResult, toResult } from "./serve-result.js";
import { type GoodputLimits, type Load, runRound, Tally } from "./serve-round.js";

export const endpoints = { chat: "/v1/chat/completions", completions: "/v1/completions" } as const;
export type Endpoint = keyof typeof endpoints;

export interface ServerTarget {
  url: string;
  /** Its process, where that is known. */
  pid?: number;
}

export interface ServePlan {
  servers: readonly ServerTarget[];
  apiKey?: string;
  /** Default: the first model that each server lists. */
  model?: string;
  endpoint: Endpoint;
  /** Tokens of prompts, each a test of its own. */
  prompts: readonly number[];
  answer: number; // tokens
  loads: readonly Load[];
  runs: number;
  durationMs: number; // of a round
  timeoutMs: number; // of a request
  warmup: boolean;
  /** Every request of a test has the same prompt: what a server gains by knowing it. */
  samePrompt: boolean;
  /** Answers go on to their full length where the model would end them: `ignore_eos`, which OpenAI itself refuses. */
  ignoreEos: boolean;
  goodput: GoodputLimits;
  seed: number;
  /** After the rounds: so many times the rate of answers that the most streams got, for one round. */
  overload?: number;
  signal: AbortSignal;
  onProgress?: (progress: { done: number; total: number; what: string }) => void;
  clock?: Clock;
}

export interface ServerInfo {
  url: string;
  model: string;
  /** As its /tokenize counts them; null: it has none, and a word counts as a token. */
  tokensPerWord: number | null;
}

export interface ServeReport {
  servers: ServerInfo[];
  endpoint: Endpoint;
  answer: number;
  samePrompt: boolean;
  goodput: GoodputLimits;
  durationMs: number;
  seed: number;
  startedAt: string;
  /** Stopped before the end: what there is. */
  isPartial: boolean;
  results: ServeResult[];
}

/** A server while it is measured. */
interface Subject extends ServerInfo {
  client: LoadClient;
  pid?: number;
}

/** One cell of the report. */
interface Test {
  subject: Subject;
  prompt: number;
  load: Load;
  tally: Tally;
  prompts: PromptMaker;
  isOverload: boolean;
  memory?: MemoryUse;
}

/** Throws NETWORK where a server cannot be used; when `signal` fires, what was measured until then is the report. */
export async function runServeBench(plan: ServePlan): Promise<ServeReport> {
  const clock = plan.clock ?? machineClock;
  const startedAt = new Date().toISOString();
  setMaxListeners(0, plan.signal); // one of each stream that waits
  const subjects: Subject[] = [];
  const tests: Test[] = [];
  try {
    for (const server of plan.servers) {
      subjects.push(await openServer(server, plan, clock));
    }
    tests.push(...listTests(plan, subjects));
    await measure(plan, tests, clock);
  } catch (error) {
    if (!plan.signal.aborted) {
      throw error;
    }
  } finally {
    for (const { client } of subjects) {
      client.close();
    }
  }
  const { endpoint, answer, samePrompt, goodput, durationMs, seed } = plan;
  return {
    servers: subjects.map(({ url, model, tokensPerWord }) => ({ url, model, tokensPerWord })),
    ...{ endpoint, answer, samePrompt, goodput, durationMs, seed, startedAt },
    isPartial: plan.signal.aborted,
    results: tests.filter(({ tally }) => tally.requests > 0).map(describeTest),
  };
}

function describeTest({ subject, prompt, load, tally, isOverload, memory }: Test): ServeResult {
  return toResult({ server: subject.url, prompt, load, isOverload, memory }, tally);
}

async function openServer({ url, pid }: ServerTarget, plan: ServePlan, clock: Clock): Promise<Subject> {
  const client = new LoadClient(url, { apiKey: plan.apiKey, clock });
  const model = plan.model ?? (await findModel(client, plan.signal));
  const tokensPerWord = (await measureTokensPerWord(client, model, plan.signal)) ?? null;
  return { url: client.origin, model, tokensPerWord, client, pid };
}

async function findModel(client: LoadClient, signal: AbortSignal): Promise<string> {
  const { isGood, status, text } = await client.fetch("/v1/models", undefined, signal);
  const what = `${client.origin}/v1/models`;
  if (!isGood) {
    const reason = describeRefusal(text);
    throw new BitnetError("NETWORK", `${what}: status ${status}${reason === "" ? "" : `: ${reason}`}`, {
      hint: status === 401 ? "--api-key gives the key" : "--model names the model where a server does not list any",
    });
  }
  const id = firstId(text);
  if (id === undefined) {
    throw new BitnetError("NETWORK", `${what}: expected a list of models with an id each`, {
      hint: "is this the address of an OpenAI-compatible server?",
    });
  }
  return id;
}

function firstId(text: string): string | undefined {
  try {
    const { data } = asObject(JSON.parse(text));
    const { id } = asObject(Array.isArray(data) ? data[0] : undefined);
    return typeof id === "string" ? id : undefined;
  } catch {
    return undefined;
  }
}

/** By prompt, then load, then server: in this order they are measured, too. */
function listTests(plan: ServePlan, subjects: readonly Subject[]): Test[] {
  const makers = new Map(subjects.map((subject) => [subject, new Map<number, PromptMaker>()]));
  const makerOf = (subject: Subject, prompt: number) => {
    const known = makers.get(subject)?.get(prompt);
    const count = wordsFor(prompt, subject.tokensPerWord ?? undefined);
    // Of the same seed for all servers: they are asked the same.
    const maker = known ?? new PromptMaker(count, { seed: plan.seed * 65_537 + prompt, isRepeated: plan.samePrompt });
    makers.get(subject)?.set(prompt, maker);
    return maker;
  };
  return plan.prompts.flatMap((prompt) =>
    plan.loads.flatMap((load) =>
      subjects.map((subject) => {
        const prompts = makerOf(subject, prompt);
        return { subject, prompt, load, tally: new Tally(plan.goodput), prompts, isOverload: false };
      }),
    ),
  );
}

async function measure(plan: ServePlan, tests: Test[], clock: Clock): Promise<void> {
  const overloads = plan.overload === undefined ? [] : busiestTests(tests);
  const total = tests.length * plan.runs + overloads.length;
  let done = 0;
  const run = async (test: Test, run: number) => {
    plan.onProgress?.({ done, total, what: nameTest(test) });
    await measureRound(plan, test, run, clock);
    done++;
  };
  await warmUp(plan, tests);
  const planned = [...tests];
  for (let turn = 0; turn < plan.runs; turn++) {
    for (const test of planned) {
      await run(test, turn);
    }
  }
  for (const test of overloads) {
    const rates = test.tally.rounds.map(({ answers }) => answers).sort((a, b) => a - b);
    const rate = (rates[rates.length >> 1] ?? 0) * (plan.overload ?? 1);
    if (rate > 0) {
      const load: Load = { kind: "open", rate };
      const overload: Test = { ...test, load, tally: new Tally(plan.goodput), isOverload: true, memory: undefined };
      tests.push(overload);
      await run(overload, plan.runs);
    }
  }
  plan.onProgress?.({ done, total, what: "done" });
}

/** The test of each server and prompt with the most streams. */
function busiestTests(tests: readonly Test[]): Test[] {
  const streamsOf = ({ load }: Test) => (load.kind === "closed" ? load.streams : 0);
  const busiest = new Map<string, Test>();
  for (const test of tests) {
    const key = `${test.prompt} ${test.subject.url}`;
    const known = busiest.get(key);
    if (known === undefined || streamsOf(test) > streamsOf(known)) {
      busiest.set(key, test);
    }
  }
  return [...busiest.values()];
}

export function nameLoad(load: Load): string {
  return load.kind === "closed" ? countOf(load.streams, "stream") : `${Number(load.rate.toPrecision(3))} requests/s`;
}

function nameTest({ subject, prompt, load }: Test): string {
  return `${subject.url}, prompt ${prompt}, ${nameLoad(load)}`;
}

/** One request per server and length of prompt, which is not counted. Throws NETWORK with what the server says to it. */
async function warmUp(plan: ServePlan, tests: readonly Test[]): Promise<void> {
  const isFirst = (test: Test) =>
    tests.findIndex(({ subject, prompt }) => subject === test.subject && prompt === test.prompt) ===
    tests.indexOf(test);
  for (const test of plan.warmup ? tests.filter(isFirst) : []) {
    const { client } = test.subject;
    const { signal, timeoutMs } = plan;
    const warmed = await client.stream({ path: endpoints[plan.endpoint], body: bodyOf(plan, test), signal, timeoutMs });
    throwIfAborted(signal);
    if (warmed.outcome !== "ok") {
      const { outcome, reason } = warmed;
      const status = /^\d+$/.test(outcome) ? `status ${outcome}` : outcome;
      throw new BitnetError("NETWORK", `${client.origin}${endpoints[plan.endpoint]}: ${status}: ${reason ?? ""}`, {
        hint: "this was the warm-up; nothing was measured",
      });
    }
  }
}

function bodyOf({ endpoint, answer, ignoreEos }: ServePlan, { subject, prompts }: Test): object {
  const text = prompts.next();
  return {
    model: subject.model,
    ...(endpoint === "chat" ? { messages: [{ role: "user", content: text }] } : { prompt: text }),
    max_tokens: answer,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
    ...(ignoreEos && { ignore_eos: true }),
  };
}

async function measureRound(plan: ServePlan, test: Test, turn: number, clock: Clock): Promise<void> {
  const { signal, timeoutMs, durationMs } = plan;
  throwIfAborted(signal);
  const { client } = test.subject;
  const random = new Random(plan.seed * 8191 + turn);
  const path = endpoints[plan.endpoint];
  const makeBody = () => bodyOf(plan, test);
  const ended = new AbortController();
  await lookAtMemory(test, signal);
  using either = new JoinedSignal(signal, ended.signal);
  const watching = watchMemory(test, clock, either.signal);
  await runRound({ client, path, makeBody, load: test.load, durationMs, timeoutMs, random, clock, signal }, test.tally);
  ended.abort();
  await watching;
  await lookAtMemory(test, signal);
}

const lookMs = 2000; // between two looks at the memory

async function watchMemory(test: Test, clock: Clock, signal: AbortSignal): Promise<void> {
  for (;;) {
    await clock.sleep(lookMs, signal);
    if (signal.aborted) {
      return;
    }
    await lookAtMemory(test, signal);
  }
}

async function lookAtMemory(test: Test, signal: AbortSignal): Promise<void> {
  const { client, pid } = test.subject;
  test.memory = addLook(test.memory, await readMemory(client, pid, signal));
}
