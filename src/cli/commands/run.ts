// bitnet run: from a prompt to text, the twin of run_inference.py and llama-cli.

import { readFile } from "node:fs/promises";
import { addAbortSignal } from "node:stream";
import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import type { GenerateTimings, Piece } from "../../engine/generate.js";
import { loadModel, type Model, type Session } from "../../engine/model.js";
import type { GenerateOptions } from "../../engine/request.js";
import { bundledModel } from "../../models/bundled.js";
import type { CacheType } from "../../native/addon.js";
import { BitnetError } from "../../system/errors.js";
import { collectBias, collectText, integerFrom, numberFrom, parseCacheType, unescapeText } from "../parsers.js";
import { interruptSignal, log, note, write, writeJson, writeText } from "../terminal/output.js";

interface RunOptions {
  model?: string;
  prompt?: string;
  file?: string;
  nPredict?: number;
  ctxSize?: number;
  cacheType?: CacheType;
  threads?: number;
  kernel?: string;
  kernelConfig?: string;
  tokenizerPre?: string;
  fastHead?: boolean;
  inPlace?: boolean;

  temp?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  typical?: number;
  repeatPenalty?: number;
  repeatLastN?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  logitBias?: Map<number, number>;
  seed?: number;
  ignoreEos?: boolean;
  stop?: string[];

  escape: boolean;
  displayPrompt: boolean;
  json?: boolean;
  logprobs?: number;
  quiet?: boolean;

  conversation?: boolean;
  chatTemplate?: string;
  history?: string | false;

  nGpuLayers?: string;
  batchSize?: string;
  ubatchSize?: string;
  threadsBatch?: string;
}

const defaultContextSize = 2048;
const defaultPredict = 128;

export default function configureRun(command: Command): void {
  addModelOptions(command);
  addSamplingOptions(command);
  addOutputOptions(command);
  addConversationOptions(command);
  addIgnoredOptions(command);
  command
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet run -p "Once upon a time"
  $ bitnet run -m model.gguf -p "The capital of France is" -n 32 -temp 0
  $ bitnet run -m model.gguf -cnv -p "You are a helpful assistant."
  $ bitnet run -m model.gguf -f prompt.txt --json > answer.json
  $ echo "Once upon a time" | bitnet run -m model.gguf --seed 7 --quiet`,
    )
    .action(async (options: RunOptions, command: Command) => {
      checkCombinations(options, command);
      await (options.conversation ? converse(options) : run(options));
    });
}

function addModelOptions(command: Command): void {
  command
    .option("-m, --model <file>", "GGUF file (default: the bundled demonstration model)")
    .option("-p, --prompt <text>", 'the prompt; "-" reads it from stdin')
    .option("-f, --file <file>", 'read the prompt from a file; "-" is stdin')
    .option(
      "-n, --n-predict <n>",
      "tokens to generate; -1 or -2: no limit but the context (default: 128)",
      integerFrom(-2),
    )
    .option("-t, --threads <n>", "threads (default: the physical cores)", integerFrom(1, 1024))
    .option(
      "-c, --ctx-size <n>",
      "context in tokens; 0: what the model was trained for (default: 2048)",
      integerFrom(0),
    )
    .option(
      "--cache-type <type>",
      "keys and values: f16, or q8 for half the memory and more speed at a long context, also -ctk, -ctv (default: f16)",
      parseCacheType,
    )
    .option("--kernel <name>", "kernels to use, such as scalar (default: the best that this CPU has)")
    .option("--tokenizer-pre <name>", "pre-tokenizer to use instead of the file's")
    .option("--kernel-config <file>", "kernel_config.ini of a TL1 or TL2 file")
    .option("--no-fast-head", "no compact copy of a large float head: less memory, slower, the same text")
    .option("--in-place", "leave weights in the file's pages: shared between processes, slower")
    .option("-e, --escape", 'process \\n, \\t, \\" and the like in -p and --stop (default)', true)
    .option("--no-escape", "take -p and --stop as they are");
}

function addSamplingOptions(command: Command): void {
  command
    .option("--temp <t>", "temperature, also -temp; 0: the likeliest token (default: 0.8)", numberFrom(-1e6, 1e6))
    .option("--top-k <n>", "sample from the n likeliest tokens; 0: all (default: 40)", integerFrom(0))
    .option(
      "--top-p <p>",
      "sample from the likeliest tokens of this joint probability (default: 0.95)",
      numberFrom(0, 1),
    )
    .option("--min-p <p>", "drop tokens below this share of the best probability (default: 0.05)", numberFrom(0, 1))
    .option("--typical <p>", "locally typical sampling; 1: off (default: 1)", numberFrom(0, 1))
    .option("--repeat-penalty <x>", "penalty of repeated tokens; 1: off (default: 1)", numberFrom(1e-6, 1e6))
    .option("--repeat-last-n <n>", "tokens that the penalties see; -1: the context (default: 64)", integerFrom(-1))
    .option("--presence-penalty <x>", "penalty of tokens that occurred (default: 0)", numberFrom(-1e6, 1e6))
    .option("--frequency-penalty <x>", "penalty per occurrence (default: 0)", numberFrom(-1e6, 1e6))
    .option("--logit-bias <id+bias>", "add to a token's logit: 15043+1, 15043-inf; repeatable", collectBias)
    .option(
      "-s, --seed <n>",
      "same seed, same text; -1: random (default: -1)",
      integerFrom(-1, Number.MAX_SAFE_INTEGER),
    )
    .option("--ignore-eos", "do not end before -n tokens")
    .option("-r, --stop <text>", "end at this text, which is not printed; repeatable", collectText);
}

function addOutputOptions(command: Command): void {
  command
    .option("--no-display-prompt", "do not print the prompt before the text")
    .option("--json", "print one JSON object at the end instead of text")
    .option(
      "--logprobs <n>",
      "with --json: log-probabilities of the n likeliest tokens at each step",
      integerFrom(1, 1000),
    )
    .option("--quiet", "nothing on stderr but errors");
}

function addConversationOptions(command: Command): void {
  command
    .option("--conversation", "talk with the model, also -cnv; -p is the system prompt, -n limits one answer")
    .option("--chat-template <name>", "chat format by name, or a Jinja file (default: the model's own)")
    .option("--history <file>", "where typed lines are kept (default: ~/.bitnet/history)")
    .option("--no-history", "keep no typed lines");
}

/** Options of llama-cli command lines that have no meaning here; accepted with a note. */
function addIgnoredOptions(command: Command): void {
  for (const flags of ["--n-gpu-layers <n>", "-b, --batch-size <n>", "--ubatch-size <n>", "--threads-batch <n>"]) {
    command.addOption(command.createOption(flags, "ignored").hideHelp());
  }
}

function checkCombinations(options: RunOptions, command: Command): void {
  if (options.prompt !== undefined && options.file !== undefined) {
    command.error("expected one of -p and -f, not both", { exitCode: 2 });
  }
  if (options.logprobs !== undefined && !options.json) {
    command.error("--logprobs needs --json", { exitCode: 2 });
  }
  if (options.conversation && options.logprobs !== undefined) {
    command.error("--logprobs cannot be used with -cnv", { exitCode: 2 });
  }
  if (options.conversation && [options.prompt, options.file].includes("-")) {
    command.error("with -cnv the standard input is the conversation: give the system prompt with -p TEXT or -f FILE", {
      exitCode: 2,
    });
  }
  if (!options.conversation && (options.chatTemplate ?? options.history) !== undefined) {
    command.error("--chat-template and --history need -cnv", { exitCode: 2 });
  }
}

async function run(options: RunOptions): Promise<void> {
  const signal = interruptSignal();
  const say = startNotes(options);
  const prompt = (await readPrompt(options, signal)) ?? (await readPipedPrompt(options, signal));
  const loadStart = performance.now();
  await using model = await load(options, signal);
  const loadMs = performance.now() - loadStart;
  await using session = model.createSession({
    contextSize: chooseContextSize(model, options, say),
    cacheType: options.cacheType,
  });

  const generation = session.generate(prompt, { ...toGenerateOptions(options, defaultPredict), signal });
  try {
    if (options.json) {
      writeJson(await collect(generation, { model, path: pathOf(options), prompt, loadMs }));
    } else {
      const finishReason = await stream(generation, options.displayPrompt ? prompt : "");
      if (finishReason === "context") {
        say(`stopped: the context of ${session.contextSize} tokens is full (see -c)`);
      }
    }
  } finally {
    if (!options.quiet) {
      logTimings(loadMs, session.timings);
    }
  }
}

async function converse(options: RunOptions): Promise<void> {
  const { runConversation } = await import("../conversation.js");
  const say = startNotes(options);
  const signal = interruptSignal();
  const systemPrompt = await readPrompt(options, signal);
  await using model = await load(options, signal);
  await runConversation(model, {
    systemPrompt,
    contextSize: chooseContextSize(model, options, say),
    cacheType: options.cacheType,
    chatTemplate: options.chatTemplate,
    generate: toGenerateOptions(options, -1),
    json: options.json,
    quiet: options.quiet,
    historyFile: options.history,
  });
}

/** Says what should be known beforehand. Returns what says the rest: nothing with --quiet. */
function startNotes(options: RunOptions): (text: string) => void {
  const say = options.quiet ? () => {} : note;
  noteIgnored(options, say);
  if (options.model === undefined) {
    say(bundledModel.note);
  }
  return say;
}

function pathOf(options: RunOptions): string {
  return options.model ?? bundledModel.path;
}

function load(options: RunOptions, signal: AbortSignal): Promise<Model> {
  const { threads, kernel, kernelConfig, tokenizerPre, fastHead, inPlace } = options;
  return loadModel(pathOf(options), { threads, kernel, kernelConfig, tokenizerPre, fastHead, inPlace, signal });
}

function noteIgnored(options: RunOptions, say: (text: string) => void): void {
  const ignored = {
    "--n-gpu-layers": options.nGpuLayers,
    "--batch-size": options.batchSize,
    "--ubatch-size": options.ubatchSize,
    "--threads-batch": options.threadsBatch,
  };
  for (const [name, value] of Object.entries(ignored)) {
    if (value !== undefined && !(name === "--n-gpu-layers" && value === "0")) {
      say(`${name} has no effect: everything runs on the CPU, in batches of this program's choice`);
    }
  }
}

/** The prompt of -p or -f, if there is one. */
async function readPrompt(options: RunOptions, signal: AbortSignal): Promise<string | undefined> {
  if (options.prompt === "-" || options.file === "-") {
    return readStdin(signal);
  }
  if (options.prompt !== undefined) {
    return options.escape ? unescapeText(options.prompt) : options.prompt;
  }
  return options.file === undefined ? undefined : dropLastNewline(await readFile(options.file, "utf8"));
}

/** What is piped in; the bundled model knows how to begin without. */
async function readPipedPrompt(options: RunOptions, signal: AbortSignal): Promise<string> {
  const piped = process.stdin.isTTY ? "" : await readStdin(signal);
  if (piped === "" && options.model !== undefined) {
    throw new BitnetError("USAGE", "there is no prompt", { hint: "give one with -p TEXT, -f FILE or on stdin" });
  }
  return piped || bundledModel.prompt;
}

async function readStdin(signal: AbortSignal): Promise<string> {
  return dropLastNewline(await readAll(addAbortSignal(signal, process.stdin)));
}

/** As llama-cli does with -f: editors end every file with a newline that is not meant. */
function dropLastNewline(text: string): string {
  return text.replace(/\r?\n$/, "");
}

function chooseContextSize(model: Model, options: RunOptions, say: (text: string) => void): number {
  const trained = model.info.contextLength;
  const asked = options.ctxSize === 0 ? trained : options.ctxSize;
  if (asked !== undefined && asked > trained) {
    say(`-c ${asked} is more than the ${trained} tokens that the model was trained for; using ${trained}`);
  }
  return Math.min(asked ?? defaultContextSize, trained);
}

/** What the options of the command line mean for the library. */
function toGenerateOptions(options: RunOptions, defaultMaxTokens: number): GenerateOptions {
  const stop = options.stop ?? [];
  return {
    maxTokens: Math.max(options.nPredict ?? defaultMaxTokens, -1),
    temperature: options.temp ?? (options.model === undefined ? bundledModel.temperature : undefined),
    topK: options.topK,
    topP: options.topP,
    minP: options.minP,
    typicalP: options.typical,
    repeatPenalty: options.repeatPenalty,
    repeatLastN: options.repeatLastN,
    presencePenalty: options.presencePenalty,
    frequencyPenalty: options.frequencyPenalty,
    seed: options.seed === -1 ? undefined : options.seed,
    logitBias: options.logitBias,
    stop: options.escape ? stop.map(unescapeText) : stop,
    ignoreEos: options.ignoreEos,
    logprobs: options.logprobs,
    parseSpecial: true, // as llama-cli: a prompt may name control tokens
  };
}

type Generation = ReturnType<Session["generate"]>;

/** Prints the text as it comes and ends the line, also when it is stopped. Returns why it ended. */
async function stream(generation: Generation, prompt: string) {
  write(prompt);
  try {
    for (;;) {
      const next = await generation.next();
      if (next.done) {
        return next.value.finishReason;
      }
      writeText(next.value.text);
    }
  } finally {
    write("\n");
  }
}

async function collect(
  generation: Generation,
  about: { model: Model; path: string; prompt: string; loadMs: number },
): Promise<object> {
  const pieces: Piece[] = [];
  let next = await generation.next();
  for (; !next.done; next = await generation.next()) {
    pieces.push(next.value);
  }
  const { finishReason, stopString, tokens, seed, timings } = next.value;
  const { architecture, name, weightType, kernel, threads } = about.model.info;
  const withLogprobs = pieces.some((piece) => piece.logprob !== undefined);
  return {
    model: { path: about.path, name, architecture, weightType, kernel, threads },
    tuning: about.model.tuning ?? null,
    prompt: about.prompt,
    text: pieces.map((piece) => piece.text).join(""),
    finishReason,
    stopString,
    tokens,
    seed,
    timings: { loadMs: about.loadMs, ...timings },
    logprobs: withLogprobs ? pieces.map(({ id, logprob, top }) => ({ id, logprob, top })) : undefined,
  };
}

function logTimings(loadMs: number, timings: GenerateTimings): void {
  const evaluated = timings.promptTokens - timings.reusedTokens;
  log(`load:    ${loadMs.toFixed(0)} ms`);
  if (timings.promptTokens > 0) {
    log(`prefill: ${describeSpeed(evaluated, timings.promptMs)}`);
  }
  if (timings.generatedTokens > 1) {
    // The first token comes from the prompt's logits, so it costs no evaluation.
    log(`decode:  ${describeSpeed(timings.generatedTokens - 1, timings.generateMs)}`);
  }
}

function describeSpeed(tokens: number, ms: number): string {
  return `${tokens} tokens in ${ms.toFixed(0)} ms (${((tokens * 1000) / ms).toFixed(1)} tokens/s)`;
}
