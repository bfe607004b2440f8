// The ways in which a model can be run on this machine, each with the same prompt: what they give, and what to take for what.

import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { weightLayouts } from "../engine/layouts.js";
import { loadModel } from "../engine/model.js";
import { loadAddon } from "../native/addon.js";
import { BitnetError, reasonOf, throwIfAborted } from "../system/errors.js";
import { differenceOf, medianOf, mostDifference } from "./stats.js";

export interface StrategyOptions {
  /** Path of a GGUF file. */
  model: string;
  threads?: number;
  /** Where bitnet.cpp's llama-cli is. Default: looked for in PATH and in build/bin of the working folder. */
  bitnetCpp?: string;
  /** Folder of the model's checkpoint, for transformers. Without one it cannot run. */
  checkpoint?: string;
  signal?: AbortSignal;
  onRun?: (name: string) => void;
}

export interface StrategyRun {
  name: string;
  kind: "native" | "bitnet.cpp" | "transformers";
  kernel?: string;
  layout?: string;
  /** Why it was not run, or gave nothing. */
  problem?: string;
  loadMs?: number;
  /** Of the prompt and of the text. */
  promptTokensPerSecond?: number;
  tokensPerSecond?: number;
  /** For weights, beside what the file's own pages take; of native ones. */
  weightBytes?: number;
  text?: string;
}

export interface StrategyReport {
  prompt: string;
  runs: StrategyRun[];
  /** Whether all native ones gave the same text, bit for bit. Roundings may make another one of two words as likely as each other. */
  sameText: boolean;
  /** How far the logits after the prompt lie from those of the first native one, relative RMS; the largest. */
  difference: number;
  /** Whether all native ones computed the same but for roundings. */
  agrees: boolean;
  advice: { use: string; strategy: string; why: string }[];
}

const prompt = "Hello, this is a test.";
const maxTokens = 20;
const temperature = 0.7;
const seed = 1;
const rounds = 3;
const longEnough = 10_000; // ms: no further round of a strategy after so long
const timeLimit = 30_000; // ms, of a foreign program
const longestOutput = 2 ** 20; // bytes

/** Runs one after the other; takes some seconds for each. Throws what is wrong with the model. */
export async function compareStrategies(options: StrategyOptions): Promise<StrategyReport> {
  const runs: StrategyRun[] = [];
  const logits: Float32Array[] = [];
  for (const strategy of [...listNative(options, logits), runBitnetCpp, runTransformers]) {
    throwIfAborted(options.signal);
    runs.push(await strategy(options));
  }
  const native = runs.filter(({ kind, problem }) => kind === "native" && problem === undefined);
  const [first = new Float32Array()] = logits;
  const difference = logits.reduce((most, values) => Math.max(most, differenceOf(values, first)), 0);
  const sameText = new Set(native.map(({ text }) => text)).size === 1;
  return { prompt, runs, sameText, difference, agrees: difference <= mostDifference, advice: advise(native) };
}

type Strategy = (options: StrategyOptions) => Promise<StrategyRun>;

/** Each adds its logits after the prompt to `logits`. */
function listNative({ onRun }: StrategyOptions, logits: Float32Array[]): Strategy[] {
  const kernels = loadAddon().kernels();
  return kernels
    .filter(({ supported }) => supported)
    .flatMap(({ name: kernel }) =>
      weightLayouts.map((layout) => (options: StrategyOptions) => {
        onRun?.(`${kernel}, ${layout}`);
        return runNative(options, kernel, layout, logits);
      }),
    );
}

async function runNative(
  { model: path, threads, signal }: StrategyOptions,
  kernel: string,
  layout: (typeof weightLayouts)[number],
  logits: Float32Array[],
): Promise<StrategyRun> {
  const head = { name: `bitnet ${kernel}, ${layout}`, kind: "native", kernel, layout } as const;
  const begun = performance.now();
  await using model = await loadModel(path, { kernel, layout, threads, tuning: {}, signal });
  const loadMs = performance.now() - begun;
  const [promptSpeeds, speeds]: [number[], number[]] = [[], []];
  let text = "";
  for (let round = 0; round < rounds && performance.now() - begun < longEnough; round++) {
    await using session = model.createSession({ sharePrompts: false });
    const result = await session.complete(prompt, { maxTokens, temperature, seed, ignoreEos: true, signal });
    const { promptTokens, promptMs, decodedTokens, generateMs } = result.timings;
    promptSpeeds.push((1000 * promptTokens) / promptMs);
    speeds.push((1000 * decodedTokens) / generateMs);
    text = result.text;
  }
  await using session = model.createSession({ sharePrompts: false });
  await session.prefill(model.tokenizer.encode(prompt), { signal });
  logits.push(session.logits());
  return {
    ...{ ...head, loadMs, text, weightBytes: model.info.copiedBytes },
    promptTokensPerSecond: medianOf(promptSpeeds),
    tokensPerSecond: medianOf(speeds),
  };
}

async function runBitnetCpp({ model, threads, bitnetCpp, signal, onRun }: StrategyOptions): Promise<StrategyRun> {
  const head = { name: "bitnet.cpp", kind: "bitnet.cpp" } as const;
  const program = bitnetCpp ?? findProgram("llama-cli", [join("build", "bin")]);
  if (program === undefined) {
    return { ...head, problem: "no llama-cli in PATH or build/bin" };
  }
  onRun?.(head.name);
  const args = ["-m", model, "-p", prompt, "-n", String(maxTokens), "--temp", String(temperature), "-s", String(seed)];
  const counted = threads === undefined ? [] : ["-t", String(threads)];
  const { problem, stdout, stderr } = await runProgram(program, [...args, "-ngl", "0", "-no-cnv", ...counted], signal);
  const speeds = readLlamaTimings(stderr);
  if (problem !== undefined || speeds === undefined) {
    return { ...head, problem: problem ?? "its timings could not be read" };
  }
  return { ...head, ...speeds, text: stdout.slice(0, 1000) };
}

/** The lines at the end of llama-cli: "eval time = 123.45 ms / 19 runs ( 6.50 ms per token, 153.91 tokens per second)". */
export function readLlamaTimings(
  stderr: string,
): Pick<StrategyRun, "loadMs" | "promptTokensPerSecond" | "tokensPerSecond"> | undefined {
  const number = (pattern: RegExp) => {
    const found = pattern.exec(stderr)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const tokensPerSecond = number(/(?<!prompt )eval time =.*?([\d.]+) tokens per second/);
  return tokensPerSecond === undefined
    ? undefined
    : {
        loadMs: number(/load time =\s*([\d.]+) ms/),
        promptTokensPerSecond: number(/prompt eval time =.*?([\d.]+) tokens per second/),
        tokensPerSecond,
      };
}

// Prints one line of JSON: seconds to load, of the prompt, of the text, tokens of both, the text.
const transformersScript = `
import json, sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
path, prompt, n, temperature, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
begun = time.perf_counter()
tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
model = AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
loaded = time.perf_counter()
ids = tokenizer(prompt, return_tensors="pt").input_ids
torch.manual_seed(seed)
with torch.no_grad():
    model.generate(ids, max_new_tokens=1)
    first = time.perf_counter()
    out = model.generate(ids, max_new_tokens=n, min_new_tokens=n, do_sample=True, temperature=temperature)
done = time.perf_counter()
print(json.dumps({"loadMs": 1000 * (loaded - begun), "tokensPerSecond": n / (done - first),
    "promptTokensPerSecond": ids.shape[1] / (first - loaded), "text": tokenizer.decode(out[0][ids.shape[1]:])}))
`;

async function runTransformers({ checkpoint, signal, onRun }: StrategyOptions): Promise<StrategyRun> {
  const head = { name: "transformers", kind: "transformers" } as const;
  const python = findProgram("python3", []);
  const probe =
    "import importlib.util as u, sys; sys.exit(0 if u.find_spec('transformers') and u.find_spec('torch') else 1)";
  const isThere = python !== undefined && (await runProgram(python, ["-c", probe], signal)).problem === undefined;
  if (!isThere || python === undefined) {
    return { ...head, problem: "no python3 with transformers and torch" };
  }
  if (checkpoint === undefined) {
    return { ...head, problem: "it is here, but reads checkpoints: give the folder of one with --checkpoint" };
  }
  onRun?.(head.name);
  const args = [checkpoint, prompt, String(maxTokens), String(temperature), String(seed)];
  const { problem, stdout } = await runProgram(python, ["-c", transformersScript, ...args], signal, 10 * timeLimit);
  if (problem !== undefined) {
    return { ...head, problem };
  }
  try {
    return { ...head, ...(JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as object) };
  } catch {
    return { ...head, problem: "its answer could not be read" };
  }
}

/** An executable of this name in PATH or in one of these folders. */
function findProgram(name: string, folders: readonly string[]): string | undefined {
  const places = [...(process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== ""), ...folders];
  return places
    .map((folder) => join(folder, process.platform === "win32" ? `${name}.exe` : name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

interface Output {
  problem?: string;
  stdout: string;
  stderr: string;
}

/** Runs a program without a shell, for a limited time and with limited output. */
function runProgram(
  program: string,
  args: readonly string[],
  signal: AbortSignal | undefined,
  timeout = timeLimit,
): Promise<Output> {
  return new Promise((resolve, reject) => {
    const settings = { timeout, maxBuffer: longestOutput, signal, killSignal: "SIGKILL" } as const;
    const child = execFile(program, [...args], settings, (error, stdout, stderr) => {
      if (signal?.aborted) {
        reject(new BitnetError("ABORTED", "stopped before the end", { cause: error }));
      } else if (error === null) {
        resolve({ stdout, stderr });
      } else {
        resolve({ problem: describeFailure(error, timeout), stdout, stderr });
      }
    });
    child.stdin?.end();
  });
}

function describeFailure(error: Error & { killed?: boolean; code?: unknown }, timeout: number): string {
  if (error.killed) {
    return `it did not end within ${timeout / 1000} s`;
  }
  return typeof error.code === "number" ? `it ended with status ${error.code}` : reasonOf(error);
}

/** What to take for what, by what was measured. */
function advise(native: readonly StrategyRun[]): StrategyReport["advice"] {
  const best = (value: (run: StrategyRun) => number) =>
    native.reduce<StrategyRun | undefined>(
      (top, run) => (top === undefined || value(run) > value(top) ? run : top),
      undefined,
    );
  const decode = best(({ tokensPerSecond = 0 }) => tokensPerSecond);
  const prefill = best(({ promptTokensPerSecond = 0 }) => promptTokensPerSecond);
  const small = best(({ weightBytes = 0 }) => -weightBytes);
  const quick = best(({ loadMs = 0 }) => -loadMs);
  if (decode === undefined || prefill === undefined || small === undefined || quick === undefined) {
    return [];
  }
  const speed = (value = 0) => `${value >= 100 ? Math.round(value) : value.toPrecision(3)} tokens/s`;
  return [
    { use: "a chat on this machine", strategy: decode.name, why: `writes fastest: ${speed(decode.tokensPerSecond)}` },
    { use: "long documents", strategy: prefill.name, why: `reads fastest: ${speed(prefill.promptTokensPerSecond)}` },
    { use: "many users at once", strategy: prefill.name, why: "reading many rows at once is what a busy server does" },
    { use: "little memory", strategy: small.name, why: "its weights take the least; --in-place shares them" },
    { use: "short jobs in scripts", strategy: quick.name, why: `loads fastest: ${Math.round(quick.loadMs ?? 0)} ms` },
    { use: "research", strategy: decode.name, why: "all of them compute the same, so the fastest one does" },
  ];
}
