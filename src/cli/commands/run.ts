// bitnet run: from a prompt to text, the twin of run_inference.py and llama-cli.

import { readFile } from "node:fs/promises";
import { addAbortSignal } from "node:stream";
import { text as readAll } from "node:stream/consumers";
import type { Command } from "commander";
import type { GenerateResult, Piece } from "../../engine/generate.js";
import type { Generation } from "../../engine/generation.js";
import { loadModel, type Model } from "../../engine/model.js";
import { bundledModel } from "../../models/bundled.js";
import { BitnetError } from "../../system/errors.js";
import { addOptions, type GroupValues, groupOf, noteIgnored } from "../option-rows.js";
import {
  chatRows,
  generationRows,
  llamaGroup,
  modelRows,
  outputRows,
  readGeneration,
  readModel,
  readSession,
  samplingGroup,
  sessionRows,
} from "../options.js";
import { integerFrom, unescapeText } from "../parsers.js";
import { interruptSignal, log, note, write, writeJson, writeText } from "../terminal/output.js";
import { readerReady } from "../terminal/streams.js";
import { describeTimings } from "../terminal/timings.js";

const listGroups = () => ({
  prompt: groupOf("Prompt", {
    prompt: { flags: "-p, --prompt <text>", help: 'the prompt; "-" reads it from stdin' },
    file: { flags: "-f, --file <file>", help: 'read the prompt from a file; "-" is stdin' },
  }),
  generation: groupOf("Length", generationRows),
  model: groupOf("Model", {
    path: modelRows.path,
    threads: modelRows.threads,
    kernel: modelRows.kernel,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
    fastHead: modelRows.fastHead,
    inPlace: modelRows.inPlace,
  }),
  session: groupOf("Context", sessionRows),
  sampling: samplingGroup(),
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

type RunOptions = GroupValues<ReturnType<typeof listGroups>>;

const defaultPredict = 128;

export default function configureRun(command: Command): void {
  const read = addOptions(command, listGroups());
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
    .action(async () => {
      const options = read();
      const problem = findContradiction(options);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      await (options.chat.conversation ? converse(options) : run(options));
    });
}

function findContradiction({ prompt: { prompt, file }, chat, output }: RunOptions): string | undefined {
  if (prompt !== undefined && file !== undefined) {
    return "expected one of -p and -f, not both";
  }
  if (output.logprobs !== undefined && !output.json) {
    return "--logprobs needs --json";
  }
  if (chat.conversation && output.logprobs !== undefined) {
    return "--logprobs cannot be used with -cnv";
  }
  if (chat.conversation && [prompt, file].includes("-")) {
    return "with -cnv the standard input is the conversation: give the system prompt with -p TEXT or -f FILE";
  }
  if (!chat.conversation && (chat.chatTemplate ?? chat.think ?? chat.history) !== undefined) {
    return "--chat-template, --think and --history need -cnv";
  }
  return undefined;
}

async function run(options: RunOptions): Promise<void> {
  const { output } = options;
  const { path, load } = readModel(options.model);
  const signal = interruptSignal();
  const say = startNotes(options);
  const prompt = (await readPrompt(options, signal)) ?? (await readPipedPrompt(options, signal));
  const loadStart = performance.now();
  await using model = await loadModel(path, { ...load, signal });
  const loadMs = performance.now() - loadStart;
  await using session = model.createSession(readSession(options.session, model.info, say));

  const { logprobs } = output;
  const generation = session.generate(prompt, {
    ...readGeneration(options, { maxTokens: defaultPredict }),
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

async function converse(options: RunOptions): Promise<void> {
  const { runConversation } = await import("../conversation.js");
  const { chat, output } = options;
  const { path, load } = readModel(options.model);
  const say = startNotes(options);
  const signal = interruptSignal();
  const systemPrompt = await readPrompt(options, signal);
  await using model = await loadModel(path, { ...load, signal });
  await runConversation(model, {
    systemPrompt,
    ...readSession(options.session, model.info, say),
    chatTemplate: chat.chatTemplate,
    think: chat.think,
    generate: readGeneration(options, { maxTokens: -1 }),
    json: output.json,
    quiet: output.quiet,
    historyFile: chat.history,
  });
}

/** Says what should be known beforehand. Returns what says the rest: nothing with --quiet. */
function startNotes({ ignored, model, output }: RunOptions): (text: string) => void {
  const say = output.quiet ? () => {} : note;
  noteIgnored(llamaGroup, ignored, say);
  if (model.path === undefined) {
    say(bundledModel.note);
  }
  return say;
}

/** The prompt of -p or -f, if there is one. */
async function readPrompt(
  { prompt: { prompt, file }, generation }: RunOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (prompt === "-" || file === "-") {
    return readStdin(signal);
  }
  if (prompt !== undefined) {
    return generation.escape ? unescapeText(prompt) : prompt;
  }
  return file === undefined ? undefined : dropLastNewline(await readFile(file, "utf8"));
}

/** What is piped in; the bundled model knows how to begin without. */
async function readPipedPrompt({ model }: RunOptions, signal: AbortSignal): Promise<string> {
  const piped = process.stdin.isTTY ? "" : await readStdin(signal);
  if (piped === "" && model.path !== undefined) {
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

/** Prints the text as it comes and ends the line, also when it is stopped. Returns why it ended. */
async function stream(generation: Generation<Piece, GenerateResult>, prompt: string, signal: AbortSignal) {
  write(prompt);
  try {
    for await (const { text } of generation) {
      writeText(text);
      await readerReady(process.stdout, signal);
    }
  } finally {
    write("\n");
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
