// POST /v1/completions: OpenAI's older interface, which continues text. Evaluations read its log-probabilities.

import type { Tokenizer } from "../../engine/tokenizer.js";
import type { Register, ServerContext } from "../context.js";
import { invalid, unsupported } from "../errors.js";
import type { Fields } from "../fields.js";
import type {
  Answer,
  RunContext,
  TextEvent,
  TextPrompt,
  TextRequest,
  TextResult,
  TokenLogprob,
  Usage,
} from "../request.js";
import { sse } from "../sse.js";
import { head, timingsOf, usageOf } from "./chat.js";
import { bodyOf, checkModel, contextOf, nameIgnored, sendMessages } from "./exchange.js";
import { readChoices, readGrammar, readMaxTokens, readRunning, readSampling, readStop } from "./parameters.js";
import { readPrompts } from "./prompts.js";
import { collectTogether, type PlacedEvent, runTogether } from "./together.js";

const standardMaxTokens = 16;
const mostLogprobs = 20;

export const register: Register = (app, context) => {
  app.post("/v1/completions", async (request, reply) => {
    const run = contextOf(request, reply);
    const body = bodyOf(request);
    const call = readCompletion(context, body);
    nameIgnored(reply, body);
    return call.stream
      ? sendMessages(context, reply, streamCompletion(context, call, run))
      : complete(context, call, run);
  });
};

interface CompletionCall {
  /** One for each prompt. */
  texts: TextRequest[];
  /** Choices of each prompt in the answer. */
  n: number;
  echo: boolean;
  /** How many of the likeliest beside each token; undefined: no log-probabilities at all. */
  logprobs: number | undefined;
  stream: boolean;
  includesUsage: boolean;
}

function readCompletion(context: ServerContext, body: Fields): CompletionCall {
  const { service, options } = context;
  checkModel(context, body.text("model"));
  if (body.text("suffix")) {
    throw unsupported("suffix", "the model has no tokens to fill in a middle");
  }
  body.ignore("user", "store", "metadata");
  const stream = body.boolean("stream") ?? false;
  const n = readChoices(body, options.maxChoices);
  const bestOf = body.integer("best_of", { min: n, max: options.maxChoices }) ?? n;
  if (stream && bestOf > n) {
    throw invalid("best_of", "it cannot be streamed: the best answers are known at the end");
  }
  const echo = body.boolean("echo") ?? false;
  const logprobs = body.integer("logprobs", { min: 0, max: mostLogprobs });
  const sampling = readSampling(body, service.model.tokenizer);
  const maxTokens = readMaxTokens(body, ["max_tokens"], standardMaxTokens);
  if (maxTokens === 0 && !echo) {
    throw invalid("max_tokens", "expected at least 1, or echo: true");
  }
  const addsSpecial = body.boolean("add_special_tokens") ?? true;
  const common = {
    route: "/v1/completions",
    n: bestOf,
    maxTokens,
    // The chosen token's own is there from 1 on.
    sampling: { ...sampling, logprobs: Math.max(logprobs === undefined ? 0 : 1, logprobs ?? 0, bestOf > n ? 1 : 0) },
    stop: readStop(body),
    grammar: readGrammar(body),
    ...(echo && logprobs !== undefined ? { promptLogprobs: logprobs } : {}),
    ...readRunning(context, body),
  };
  const { prompts } = readPrompts(body, "prompt", { mixed: false });
  return {
    // Who sends a text instead of a chat has written the template, control tokens included.
    texts: prompts.map((parts) => ({ ...common, prompt: { kind: "text", parts, parseSpecial: true, addsSpecial } })),
    ...{ n, echo, logprobs, stream, includesUsage: body.object("stream_options")?.boolean("include_usage") ?? false },
  };
}

async function complete(context: ServerContext, call: CompletionCall, run: RunContext): Promise<object> {
  const { tokenizer } = context.service.model;
  const results = await collectTogether(context, call.texts, run);
  const choices = results.flatMap((result, place) => {
    const prompt = promptOf(call, place);
    return bestAnswers(result.answers, call.n).map((answer, i) => {
      const writer = new ChoiceWriter(tokenizer, call, prompt);
      return {
        index: place * call.n + i,
        text: (call.echo ? promptText(tokenizer, prompt) : "") + answer.text,
        logprobs: writer.logprobs(call.echo ? result.prompt : [], answer.logprobs),
        finish_reason: answer.finish,
      };
    });
  });
  return {
    ...head(context, "text_completion", "cmpl"),
    choices,
    usage: usageOf(sumUsage(results)),
    ...(results.length === 1 && results[0] !== undefined ? { timings: timingsOf(results[0]) } : {}),
  };
}

/** The likeliest by the mean of their tokens, in the order in which they were asked for. */
function bestAnswers(answers: readonly Answer[], n: number): readonly Answer[] {
  if (answers.length <= n) {
    return answers;
  }
  const mean = ({ logprobs }: Answer) =>
    logprobs.reduce((sum, { logprob }) => sum + logprob, 0) / Math.max(1, logprobs.length);
  return answers
    .map((answer, place) => ({ answer, place, mean: mean(answer) }))
    .sort((a, b) => b.mean - a.mean || a.place - b.place)
    .slice(0, n)
    .map(({ answer }) => answer);
}

function sumUsage(results: readonly Pick<TextResult, "usage">[]): Usage {
  const sum = (name: keyof Usage) => results.reduce((total, { usage }) => total + usage[name], 0);
  return {
    promptTokens: sum("promptTokens"),
    cachedTokens: sum("cachedTokens"),
    completionTokens: sum("completionTokens"),
    reasoningTokens: sum("reasoningTokens"),
  };
}

function promptOf({ texts }: CompletionCall, place: number): TextPrompt {
  const prompt = texts[place]?.prompt;
  if (prompt?.kind !== "text") {
    throw new Error(`no prompt at place ${place}`);
  }
  return prompt;
}

/** As it came; ids as their text. */
function promptText(tokenizer: Tokenizer, { parts }: TextPrompt): string {
  return parts.map((part) => (typeof part === "string" ? part : tokenizer.decode(part, { special: true }))).join("");
}

type Entry = Extract<TextEvent, { kind: "prompt" }>["tokens"][number];

/** Writes the log-probabilities of one choice, with the place of each token in its text. */
class ChoiceWriter {
  readonly #tokenizer: Tokenizer;
  readonly #call: CompletionCall;
  readonly #text: string | undefined;
  #offset = 0; // characters, as Python counts them

  constructor(tokenizer: Tokenizer, call: CompletionCall, { parts }: TextPrompt) {
    this.#tokenizer = tokenizer;
    this.#call = call;
    this.#text = typeof parts[0] === "string" ? parts[0] : undefined;
  }

  /** The legacy shape, or null where none are wanted. */
  logprobs(prompt: readonly Entry[], answer: readonly Entry[]): object | null {
    if (this.#call.logprobs === undefined) {
      return null;
    }
    const entries = [...this.#ownTokens(prompt), ...answer];
    return {
      tokens: entries.map(({ text }) => text),
      token_logprobs: entries.map((entry) => (isScored(entry) ? entry.logprob : null)),
      top_logprobs: entries.map((entry) => (isScored(entry) ? this.#likeliest(entry) : null)),
      text_offset: entries.map(({ text }) => this.#advance(text)),
    };
  }

  /**
   * The tokens of a text less a BOS that it came without: lm-eval counts those of its context without one. What was the
   * second token then is the first, which has no value in this shape.
   */
  #ownTokens(prompt: readonly Entry[]): Entry[] {
    const { bos } = this.#tokenizer.info;
    const isAdded = prompt[0]?.id === bos && this.#text?.startsWith(this.#tokenizer.token(bos)) === false;
    return isAdded
      ? prompt.slice(1).map((entry, i) => (i === 0 ? { id: entry.id, text: entry.text, bytes: entry.bytes } : entry))
      : [...prompt];
  }

  #advance(text: string): number {
    const offset = this.#offset;
    this.#offset += [...text].length;
    return offset;
  }

  /** So many of the likeliest, and the token itself. */
  #likeliest({ id, text, bytes, logprob, top }: TokenLogprob): Record<string, number> {
    const named: Record<string, number> = {};
    const own = text === "" ? nameOfBytes(bytes) : text;
    for (const likely of top.slice(0, this.#call.logprobs)) {
      const name = likely.id === id ? own : likely.text === "" ? nameOfBytes(likely.bytes) : likely.text;
      named[Object.hasOwn(named, name) ? `token_id:${likely.id}` : name] = likely.logprob;
    }
    if (!top.slice(0, this.#call.logprobs).some((likely) => likely.id === id)) {
      named[Object.hasOwn(named, own) ? `token_id:${id}` : own] = logprob;
    }
    return named;
  }
}

/** Not so the first token, which follows nothing. */
function isScored(entry: Entry): entry is TokenLogprob {
  return "logprob" in entry;
}

/** OpenAI's way to write a part of a character. */
function nameOfBytes(bytes: readonly number[]): string {
  return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
}

async function* streamCompletion(
  context: ServerContext,
  call: CompletionCall,
  run: RunContext,
): AsyncGenerator<string> {
  const stream = new CompletionStream(context, call);
  for await (const placed of runTogether(context, call.texts, run)) {
    const messages = stream.write(placed);
    if (messages !== "") {
      yield messages;
    }
  }
  yield stream.end() + sse("[DONE]");
}

class CompletionStream {
  readonly #tokenizer: Tokenizer;
  readonly #call: CompletionCall;
  readonly #head: Record<string, unknown>;
  readonly #writers = new Map<number, ChoiceWriter>();
  /** Of each prompt, until every choice has told them. */
  readonly #prompts = new Map<number, readonly Entry[]>();
  readonly #ended: Pick<TextResult, "usage">[] = [];

  constructor(context: ServerContext, call: CompletionCall) {
    this.#tokenizer = context.service.model.tokenizer;
    this.#call = call;
    this.#head = head(context, "text_completion", "cmpl");
  }

  write({ place, event }: PlacedEvent): string {
    switch (event.kind) {
      case "prompt":
        this.#prompts.set(place, event.tokens);
        return "";
      case "delta": {
        const text = event.pieces.map((piece) => ("text" in piece ? piece.text : "")).join("");
        const begin = this.#begin(place, event.choice);
        return text === "" && event.logprobs.length === 0
          ? begin
          : begin + this.#chunk(place, event.choice, text, [], event.logprobs, null);
      }
      case "finish":
        return (
          this.#begin(place, event.choice) + this.#chunk(place, event.choice, "", undefined, undefined, event.finish)
        );
      case "end":
        this.#ended.push(event);
        return "";
      default:
        return "";
    }
  }

  end(): string {
    return this.#call.includesUsage ? sse({ ...this.#head, choices: [], usage: usageOf(sumUsage(this.#ended)) }) : "";
  }

  /** With `echo` a choice begins with its prompt. */
  #begin(place: number, choice: number): string {
    const index = place * this.#call.n + choice;
    if (this.#writers.has(index)) {
      return "";
    }
    const prompt = promptOf(this.#call, place);
    this.#writers.set(index, new ChoiceWriter(this.#tokenizer, this.#call, prompt));
    return this.#call.echo
      ? this.#chunk(place, choice, promptText(this.#tokenizer, prompt), this.#prompts.get(place) ?? [], [], null)
      : "";
  }

  #chunk(
    place: number,
    choice: number,
    text: string,
    prompt: readonly Entry[] | undefined,
    answer: readonly Entry[] | undefined,
    finish: string | null,
  ): string {
    const index = place * this.#call.n + choice;
    const logprobs =
      prompt === undefined || answer === undefined
        ? null
        : (this.#writers.get(index)?.logprobs(prompt, answer) ?? null);
    const usage = this.#call.includesUsage ? { usage: null } : {};
    return sse({ ...this.#head, choices: [{ index, text, logprobs, finish_reason: finish }], ...usage });
  }
}
