// bitnet run: from a prompt to text, the twin of run_inference.py and llama-cli.

import type { Command } from "commander";
import type { GenerateResult, Piece } from "../../engine/generate.js";
import type { Generation } from "../../engine/generation.js";
import { loadModel, type Model } from "../../engine/model.js";
import { bundledModel } from "../../models/bundled.js";
import { BitnetError } from "../../system/errors.js";
import { readTextFile } from "../../system/text-file.js";
import { constraintRows, readConstraint } from "../constraint.js";
import { llamaGroup, llamaRefusals } from "../llama-options.js";
import { applyAdapters, loraRows } from "../lora-rows.js";
import { locateModel } from "../model-argument.js";
import { sayOnce } from "../once.js";
import { addOptions, type GroupValues, groupOf, noteIgnored, refuseOptions } from "../option-rows.js";
import {
  chatRows,
  type GenerationValues,
  generationRows,
  hubRows,
  modelRows,
  outputRows,
  readGeneration,
  readModel,
  readSession,
  samplingGroup,
  sessionRows,
} from "../options.js";
import { integerFrom, unescapeText } from "../parsers.js";
import { checkStdin, isPiped, noteOwnBos, readPrompt, readStdin } from "../prompt.js";
import { withoutControls } from "../terminal/format.js";
import {
  colorsOf,
  columnsOf,
  handOverInterrupts,
  interruptSignal,
  log,
  note,
  write,
  writeJson,
  writeText,
} from "../terminal/output.js";
import { readerReady } from "../terminal/streams.js";
import { describeTimings } from "../terminal/timings.js";
import { WordWrap } from "../terminal/word-wrap.js";

const listGroups = () => ({
  prompt: groupOf("Prompt", {
    prompt: { flags: "-p, --prompt <text>", help: 'the prompt; "-" reads it from stdin' },
    file: { flags: "-f, --file <file>", help: 'read the prompt from a file; "-" is stdin; -p comes after it' },
    verbosePrompt: { flags: "--verbose-prompt", help: "print the tokens of the prompt to stderr" },
  }),
  generation: groupOf("Length", generationRows),
  model: groupOf("Model", {
    path: modelRows.path,
    ...hubRows,
    threads: modelRows.threads,
    kernel: modelRows.kernel,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
    fastHead: modelRows.fastHead,
    inPlace: modelRows.inPlace,
  }),
  lora: groupOf("Adapters", loraRows),
  session: groupOf("Context", sessionRows),
  sampling: samplingGroup(),
  constraint: groupOf("Grammar", constraintRows),
  chat: groupOf("Conversation", chatRows),
  output: groupOf("Output", {
    displayPrompt: { flags: "--no-display-prompt", help: "do not print the prompt before the text" },
    json: outputRows.json,
    logprobs: {
      flags: "--logprobs <n>",
      help: "with --json: log-probabilities of the n likeliest tokens at each step",
      parse: integerFrom(1, 1000),
    },
    quiet: outputRows.quiet,
  }),
  ignored: llamaGroup,
});

type Groups = GroupValues<ReturnType<typeof listGroups>>;

interface RunOptions extends Groups {
  /** The first argument: a model in the place of -m. */
  named?: string;
  /** The argument after it: a prompt. */
  operand?: string;
}

const defaultPredict = 128;

export default function configureRun(command: Command): void {
  const read = addOptions(command, listGroups());
  refuseOptions(command, llamaRefusals);
  command
    .argument("[model]", "the model, as for -m; with it, or with no prompt on a terminal, a model that can chat does")
    .argument("[prompt]", "the prompt; what is piped in stands before it")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet run -p "Once upon a time"
  $ bitnet run -m model.gguf -p "The capital of France is" -n 32 -temp 0
  $ bitnet run -m model.gguf -cnv -p "You are a helpful assistant."
  $ bitnet run 2b    # a chat; downloads 1.2 GB at the first use
  $ bitnet run 2b "What is the capital of France?"
  $ bitnet run model.gguf "What is the capital of France?"
  $ bitnet run -m model.gguf -f prompt.txt --json > answer.json
  $ echo "Once upon a time" | bitnet run -m model.gguf --seed 7 --quiet`,
    )
    .action(async (first: string | undefined, second: string | undefined) => {
      const isTyped = (name: string) => command.getOptionValueSource(name) === "cli";
      const isModelTyped = ["model", "hfRepo"].some(isTyped);
      const operands = isModelTyped ? { operand: first } : { named: first, operand: second };
      const { model, ...rest } = read();
      const isHubTyped = isTyped("hfRepo") && !isTyped("model"); // what a variable or a file of options says gives way
      const options = { ...rest, ...operands, model: isHubTyped ? { ...model, path: undefined } : model };
      const problem = isModelTyped && second !== undefined ? "too many arguments" : findContradiction(options, isTyped);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      await run(options);
    });
}

/** A chat or a text, if that is asked for; undefined: what the model is made for. */
function wantsChat(options: RunOptions): boolean | undefined {
  const { named, operand, prompt, chat } = options;
  const { conversation, singleTurn, systemPrompt, systemFile, inPrefix, inSuffix } = chat;
  if (conversation !== undefined) {
    return conversation;
  }
  if (singleTurn || (systemPrompt ?? systemFile ?? inPrefix ?? inSuffix) !== undefined) {
    return true;
  }
  if (operand !== undefined || named !== undefined) {
    return undefined;
  }
  const isSilent =
    (prompt.prompt ?? prompt.file) === undefined && nameOfModel(options) !== undefined && process.stdin.isTTY;
  return isSilent ? undefined : false;
}

function findContradiction(options: RunOptions, isTyped: (name: string) => boolean): string | undefined {
  const { prompt, chat, output } = options;
  if (prompt.prompt !== undefined && options.operand !== undefined) {
    return "expected one of -p and an argument as the prompt, not both";
  }
  if (isTyped("model") && isTyped("hfRepo")) {
    return "expected one of -m and -hf, not both";
  }
  if (options.model.hubFile !== undefined && options.model.hubModel === undefined) {
    return "--hf-file needs -hf OWNER/NAME";
  }
  if (chat.systemPrompt !== undefined && chat.systemFile !== undefined) {
    return "expected one of -sys and -sysf, not both";
  }
  if (output.logprobs !== undefined && !output.json) {
    return "--logprobs needs --json";
  }
  const wanted = wantsChat(options);
  const readsStdin = [prompt.prompt, prompt.file, chat.systemFile].includes("-");
  if (wanted && output.logprobs !== undefined) {
    return "--logprobs cannot be used with -cnv";
  }
  if (wanted && readsStdin && !chat.singleTurn) {
    return "with -cnv the standard input is the conversation: give the system prompt with -p TEXT or -f FILE";
  }
  const needsChat = [
    "chatTemplate",
    "think",
    "hideThinking",
    "history",
    "singleTurn",
    "systemPrompt",
    "systemPromptFile",
  ];
  const alone = wanted === false ? needsChat.concat("inPrefix", "inSuffix").find(isTyped) : undefined;
  return alone === undefined ? undefined : `--${toLongName(alone)} needs -cnv`;
}

function toLongName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The model that is named, as loadModel takes it; the bundled one if none is. */
async function resolveModelArgument(options: RunOptions): Promise<ReturnType<typeof readModel>> {
  const { hubModel: _, hubFile, ...load } = options.model;
  const { quiet } = options.output;
  return readModel({ ...load, path: await locateModel(nameOfModel(options), { quiet, file: hubFile }) });
}

function nameOfModel({ named, model }: RunOptions): string | undefined {
  return named ?? model.path ?? model.hubModel;
}

async function run(options: RunOptions): Promise<void> {
  const signal = interruptSignal();
  const say = startNotes(options);
  const wanted = wantsChat(options);
  const { escape: escapes } = options.generation;
  let prompt = await readPrompt({ ...options.prompt, operand: options.operand, escapes }, signal);
  const readsStdin = prompt === undefined && wanted !== true && !process.stdin.isTTY;
  if (readsStdin) {
    prompt = (await readStdin(signal)) || undefined;
  } else if (options.prompt.prompt !== undefined && wanted !== true && isPiped() && options.prompt.file !== "-") {
    say("standard input is not read, as there is a prompt; -f - puts it before the prompt");
  }
  if (prompt === undefined && (wanted === false || readsStdin)) {
    prompt = promptOfBundled(options);
  }
  const { path, load } = await resolveModelArgument(options);
  const loadStart = performance.now();
  await using model = await loadModel(path, { ...load, signal });
  await applyAdapters(model, options.lora, { quiet: options.output.quiet, signal });
  const loadMs = performance.now() - loadStart;
  if (wanted ?? Boolean(model.info.chatTemplate)) {
    await converse({ model, path }, options, prompt, say);
  } else {
    await goOn(model, options, { path, prompt: prompt ?? promptOfBundled(options), loadMs, say, signal });
  }
}

/** The bundled model knows how to begin without a prompt. */
function promptOfBundled(options: RunOptions): string {
  if (nameOfModel(options) !== undefined) {
    throw new BitnetError("USAGE", "there is no prompt", {
      hint: "give one with -p TEXT, -f FILE or on stdin; -cnv opens a chat",
    });
  }
  return bundledModel.prompt;
}

interface TextRequest {
  path: string;
  prompt: string;
  loadMs: number;
  say: (text: string) => void;
  signal: AbortSignal;
}

/** Prints the prompt and how the model goes on with it. */
async function goOn(model: Model, options: RunOptions, request: TextRequest): Promise<void> {
  const { path, prompt, loadMs, say, signal } = request;
  const { output } = options;
  await using session = model.createSession(readSession(options.session, model.info, say));
  if (options.prompt.verbosePrompt) {
    log(describeTokens(model, prompt));
  }
  noteOwnBos(model.tokenizer, prompt, say);
  const { logprobs } = output;
  const generation = session.generate(prompt, {
    ...readGeneration(asGeneration(options), { maxTokens: defaultPredict }),
    ...(await readConstraint(options.constraint)),
    ...{ logprobs, signal },
  });
  try {
    if (output.json) {
      writeJson(await collect(generation, { model, path, prompt, loadMs }));
    } else {
      const finishReason = await stream(generation, output.displayPrompt ? prompt : "", signal);
      if (finishReason === "context") {
        say(`stopped: the context of ${session.contextSize} tokens is full (see -c)`);
      }
    }
  } finally {
    if (!output.quiet) {
      log([`load:    ${loadMs.toFixed(0)} ms`, ...describeTimings(session.timings)].join("\n"));
    }
  }
}

/** One line per token: its id and its text. */
function describeTokens({ tokenizer }: Model, prompt: string): string {
  const ids = [...tokenizer.encode(prompt, { parseSpecial: true })];
  const lines = ids.map((id) => `${String(id).padStart(7)} ${JSON.stringify(tokenizer.piece(id, { special: true }))}`);
  return [`prompt: ${ids.length} tokens`, ...lines].join("\n");
}

/** A chat. `prompt` is its system prompt as in bitnet.cpp, or its first message where something says that it is one. */
async function converse(
  { model, path }: { model: Model; path: string },
  options: RunOptions,
  prompt: string | undefined,
  say: (text: string) => void,
): Promise<void> {
  checkStdin();
  const { runConversation } = await import("../conversation.js");
  const { chat, output } = options;
  const { conversation, inPrefix, inSuffix, systemFile } = chat;
  const readTyped = (text: string | undefined) =>
    text !== undefined && options.generation.escape ? unescapeText(text) : text;
  const system =
    systemFile === undefined ? readTyped(chat.systemPrompt) : (await readTextFile(systemFile)).replace(/\r?\n$/, "");
  const isSingle =
    chat.singleTurn ?? (prompt !== undefined && conversation === undefined && chat.systemPrompt === undefined);
  const isMessage = isSingle || system !== undefined || options.operand !== undefined;
  const hasAffixes = (inPrefix ?? inSuffix) !== undefined;
  handOverInterrupts();
  await runConversation(model, {
    systemPrompt: isMessage ? system : prompt,
    firstMessage: isMessage ? prompt : undefined,
    singleTurn: isSingle,
    affixes: hasAffixes ? { prefix: readTyped(inPrefix), suffix: readTyped(inSuffix) } : undefined,
    ...readSession(options.session, model.info, say),
    chatTemplate: chat.chatTemplate,
    think: chat.think,
    hideThinking: chat.hideThinking,
    modelPath: path,
    generate: {
      ...readGeneration(asGeneration(options), { maxTokens: -1 }),
      ...(await readConstraint(options.constraint)),
    },
    json: output.json,
    quiet: output.quiet,
    historyFile: chat.history,
  });
}

/** The bundled model has a temperature of its own. */
function asGeneration(options: RunOptions): GenerationValues {
  return { ...options, model: { path: nameOfModel(options) } };
}

/** Says what should be known beforehand. Returns what says the rest: nothing with --quiet. */
function startNotes(options: RunOptions): (text: string) => void {
  const { ignored, output } = options;
  const say = output.quiet ? () => {} : note;
  noteIgnored(llamaGroup, ignored, say);
  if (nameOfModel(options) === undefined && !output.quiet) {
    sayOnce("bundled-model", () => say(bundledModel.note));
  }
  return say;
}

/**
 * Prints the text as it comes and ends the line, also when it is stopped. Returns why it ended. A terminal gets it wrapped
 * between words, with the prompt dim, to tell it from what the model wrote.
 */
async function stream(generation: Generation<Piece, GenerateResult>, prompt: string, signal: AbortSignal) {
  const wrap = process.stdout.isTTY ? new WordWrap(() => columnsOf(process.stdout) ?? 80) : undefined;
  if (wrap === undefined) {
    write(prompt);
  } else {
    write(colorsOf(process.stdout).dim(wrap.push(withoutControls(prompt)) + wrap.flush()));
  }
  try {
    for await (const { text } of generation) {
      writeText(wrap === undefined ? text : wrap.push(withoutControls(text)));
      await readerReady(process.stdout, signal);
    }
  } finally {
    write(`${wrap?.flush() ?? ""}\n`);
  }
  return (await generation.result).finishReason;
}

async function collect(
  generation: Generation<Piece, GenerateResult>,
  about: { model: Model; path: string; prompt: string; loadMs: number },
): Promise<object> {
  const pieces: Piece[] = [];
  for await (const piece of generation) {
    pieces.push(piece);
  }
  const { text, finishReason, stopString, tokens, seed, timings } = await generation.result;
  const { architecture, name, weightType, kernel, threads } = about.model.info;
  const withLogprobs = pieces.some((piece) => piece.logprob !== undefined);
  return {
    model: { path: about.path, name, architecture, weightType, kernel, threads },
    tuning: about.model.tuning ?? null,
    prompt: about.prompt,
    text,
    finishReason,
    stopString,
    tokens,
    seed,
    timings: { loadMs: about.loadMs, ...timings },
    logprobs: withLogprobs ? pieces.map(({ id, logprob, top }) => ({ id, logprob, top })) : undefined,
  };
}
