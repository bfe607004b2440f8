// POST /completion: llama.cpp's own interface to text, which its clients and editors use; and the template without a model.

import type { SamplingOptions } from "../../engine/request.js";
import type { Register, ServerContext } from "../context.js";
import { type ApiError, unsupported } from "../errors.js";
import type { Fields } from "../fields.js";
import {
  type Answer,
  collectAnswers,
  type FinishDetail,
  type RunContext,
  type TextEvent,
  type TextPrompt,
  type TextRequest,
  type TextResult,
  type Timings,
  type TokenLogprob,
  type Usage,
} from "../request.js";
import { type Framing, openAiFraming, sse } from "../sse.js";
import { readPrompt as readChatPrompt, timingsOf } from "./chat.js";
import { bodyOf, checkModel, contextOf, nameIgnored, sendMessages } from "./exchange.js";
import {
  describeSampling,
  readGrammar,
  readMaxTokens,
  readRunning,
  readSampling,
  readStop,
  readTexts,
} from "./parameters.js";
import { readPrompts } from "./prompts.js";
import { collectTogether, runTogether } from "./together.js";

const mostProbs = 100;
const mostFields = 64;

export const register: Register = (app, context) => {
  for (const url of ["/completion", "/completions"]) {
    app.post(url, async (request, reply) => {
      const run = contextOf(request, reply);
      const body = bodyOf(request);
      const call = readCompletion(context, body);
      nameIgnored(reply, body);
      return call.stream
        ? sendMessages(context, reply, streamCompletion(context, call, run), framing)
        : complete(context, call, run);
    });
  }
  app.post("/apply-template", async (request, reply) => {
    const body = bodyOf(request);
    const prompt = readChatPrompt(body);
    nameIgnored(reply, body);
    return { prompt: context.service.prompts.render(prompt) };
  });
};

/** Streams of this interface have no word for their end: the last object says "stop". */
const framing: Framing = { ...openAiFraming, failure: (error: ApiError) => sse({ error: error.body }) };

interface NativeCall {
  texts: TextRequest[];
  /** Several prompts were given, as a list: so is the answer. */
  isList: boolean;
  stream: boolean;
  /** Of the likeliest tokens, with each token; 0: none. */
  probs: number;
  returnsTokens: boolean;
  timingsPerToken: boolean;
  /** Paths of what the answer is cut down to; empty: all of it. */
  fields: readonly string[];
  /** As the client names it; the answer repeats it. */
  slot: number;
  settings: Record<string, unknown>;
}

function readCompletion(context: ServerContext, body: Fields): NativeCall {
  const { service, options } = context;
  checkModel(context, body.text("model"));
  refuseOthers(body);
  const sampling = readSampling(body, service.model.tokenizer);
  const probs = body.integer(body.firstOf(["n_probs", "logprobs"]), { min: 0, max: mostProbs }) ?? 0;
  const maxTokens = readMaxTokens(body, ["n_predict", "max_tokens"]);
  const milliseconds = body.integer("t_max_predict_ms", { min: -1, max: 2 ** 31 - 1 }) ?? -1;
  const stop = readStop(body);
  const running = readRunning(context, body);
  const grammar = readGrammar(body);
  const isPost = body.boolean("post_sampling_probs") ?? false;
  const told = isPost ? { postSamplingProbs: probs } : { logprobs: probs };
  const slot = body.integer("id_slot", { min: -1, max: 1023 }) ?? -1;
  const common = {
    ...(slot < 0 ? {} : { slot }),
    ...{ route: "/completion", n: 1, maxTokens, sampling: { ...sampling, ...told }, stop, grammar, ...running },
    ...(milliseconds > 0 ? { generateSeconds: milliseconds / 1000 } : {}),
  };
  const { prompts, isList } = readPrompts(body, "prompt", { mixed: true });
  const stream = body.boolean("stream") ?? false;
  const timingsPerToken = body.boolean("timings_per_token") ?? false;
  const settings = {
    ...describeSampling(options.sampling, sampling),
    ...describeLimits(sampling, { maxTokens, stop, probs, grammar: grammar?.source ?? "" }),
    lora: running.adapters ?? [],
    ...{ stream, ignore_eos: running.ignoreEos, timings_per_token: timingsPerToken, post_sampling_probs: isPost },
  };
  return {
    texts: prompts.map((parts) => ({
      ...common,
      prompt: { kind: "text", parts, parseSpecial: true, addsSpecial: true },
    })),
    ...{ isList, stream, probs, timingsPerToken, settings },
    returnsTokens: body.boolean("return_tokens") ?? false,
    fields: readTexts(body, "response_fields", { max: mostFields, maxBytes: 256 }) ?? [],
    slot: Math.max(0, slot),
  };
}

/** What would change the answer and is not there. */
function refuseOthers(body: Fields): void {
  if ((body.integer("n_indent", { min: 0, max: 2 ** 31 - 1 }) ?? 0) > 0) {
    throw unsupported("n_indent", "lines cannot be held to an indentation; use a grammar");
  }
  const cached = body.integer("n_cache_reuse", { min: 0, max: 2 ** 31 - 1 });
  const kept = body.integer("n_keep", { min: -1, max: 2 ** 31 - 1 });
  if ((cached ?? 0) > 0) {
    throw unsupported("n_cache_reuse", "keys and values are only used where a prompt has them");
  }
  if (kept !== undefined) {
    body.ignore("n_discard"); // a prompt that does not fit is refused, so nothing is ever discarded
  }
  if ((body.list("image_data")?.length ?? 0) > 0) {
    throw unsupported("image_data", "the model reads text alone");
  }
  body.ignore("min_keep", "user");
}

function describeLimits(
  { seed = -1, logitBias }: SamplingOptions,
  asked: { maxTokens: number | undefined; stop: readonly string[]; probs: number; grammar: string },
): Record<string, unknown> {
  const biases: Iterable<readonly [unknown, number]> = logitBias instanceof Map ? logitBias : [];
  return {
    seed,
    n_predict: asked.maxTokens ?? -1,
    max_tokens: asked.maxTokens ?? -1,
    stop: asked.stop,
    n_probs: asked.probs,
    grammar: asked.grammar,
    // -Infinity is no JSON.
    logit_bias: [...biases].map(([token, bias]) => ({ token, bias: Number.isFinite(bias) ? bias : false })),
  };
}

async function complete(context: ServerContext, call: NativeCall, run: RunContext): Promise<object> {
  const [first] = call.texts;
  if (!call.isList && first !== undefined) {
    return describeWhole(context, call, 0, await collectAnswers(context.run(first, run)));
  }
  const results = await collectTogether(context, call.texts, run);
  return results.map((result, place) => describeWhole(context, call, place, result));
}

function describeWhole(context: ServerContext, call: NativeCall, place: number, result: TextResult): object {
  const [answer] = result.answers;
  if (answer === undefined) {
    throw new Error("a request without an answer");
  }
  const last = describeEnd(context, call, place, result, answer);
  const probabilities = call.probs > 0 ? { completion_probabilities: answer.logprobs.map(probabilityOf) } : {};
  const tokens = call.returnsTokens ? answer.tokens : [];
  return pickFields({ ...last, content: answer.text, tokens, ...probabilities }, call.fields);
}

/** What is known at the end. */
function describeEnd(
  context: ServerContext,
  call: NativeCall,
  place: number,
  { usage, timings }: { usage: Usage; timings: Timings },
  { text, detail }: Pick<Answer, "text" | "detail">,
): Record<string, unknown> {
  return {
    index: place,
    content: "",
    tokens: [],
    id_slot: call.slot,
    stop: true,
    model: context.modelId,
    tokens_predicted: usage.completionTokens,
    tokens_evaluated: usage.promptTokens,
    generation_settings: { ...call.settings, seed: detail.seed },
    prompt: promptText(context, call.texts[place]?.prompt as TextPrompt),
    has_new_line: text.includes("\n"),
    truncated: detail.truncated,
    stop_type: stopType(detail),
    stopping_word: detail.stopString ?? "",
    tokens_cached: usage.promptTokens + Math.max(0, usage.completionTokens - 1),
    timings: timingsOf({ usage, timings }),
  };
}

function stopType({ type }: FinishDetail): string {
  return type === "filter" ? "word" : type;
}

function promptText({ service }: ServerContext, { parts }: TextPrompt): string {
  const { tokenizer } = service.model;
  return parts.map((part) => (typeof part === "string" ? part : tokenizer.decode(part, { special: true }))).join("");
}

/** Of the model, or of what the sampling left of it. */
function probabilityOf({ id, text, bytes, logprob, top, prob, topProbs = [] }: TokenLogprob): object {
  if (prob !== undefined) {
    const drawn = topProbs.map((likely) => ({
      ...{ id: likely.id, token: likely.text, bytes: likely.bytes, prob: likely.prob },
    }));
    return { id, token: text, bytes, prob, top_probs: drawn };
  }
  const likeliest = top.map((likely) => ({
    ...{ id: likely.id, token: likely.text, bytes: likely.bytes, logprob: likely.logprob },
  }));
  return { id, token: text, bytes, logprob, top_logprobs: likeliest };
}

/** Of an answer what these paths name: "timings/predicted_n"; each under its whole path. */
function pickFields(answer: Record<string, unknown>, paths: readonly string[]): Record<string, unknown> {
  if (paths.length === 0) {
    return answer;
  }
  const picked = paths.flatMap((path) => {
    let value: unknown = answer;
    for (const name of path.split("/")) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) {
        return [];
      }
      value = (value as Record<string, unknown>)[name];
    }
    return [[path, value] as const];
  });
  return Object.fromEntries(picked);
}

async function* streamCompletion(context: ServerContext, call: NativeCall, run: RunContext): AsyncGenerator<string> {
  const streams = call.texts.map((_, place) => new NativeStream(context, call, place));
  for await (const { place, event } of runTogether(context, call.texts, run)) {
    const message = streams[place]?.write(event) ?? "";
    if (message !== "") {
      yield message;
    }
  }
}

/** Writes the events of one prompt. */
class NativeStream {
  readonly #context: ServerContext;
  readonly #call: NativeCall;
  readonly #place: number;
  #text = "";
  #detail: FinishDetail = { type: "limit", seed: 0, truncated: false };
  #usage: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 };
  #startedAt = 0;
  #firstTokenAt = 0;

  constructor(context: ServerContext, call: NativeCall, place: number) {
    this.#context = context;
    this.#call = call;
    this.#place = place;
  }

  write(event: TextEvent): string {
    switch (event.kind) {
      case "started":
        this.#startedAt = performance.now();
        this.#usage = { ...this.#usage, promptTokens: event.promptTokens, cachedTokens: event.cachedTokens };
        return "";
      case "progress": {
        const { total, cached, processed, timeMs } = event;
        return this.#part("", [], { prompt_progress: { total, cache: cached, processed, time_ms: timeMs } });
      }
      case "delta":
        return this.#delta(event);
      case "finish":
        this.#detail = event.detail;
        return "";
      case "end": {
        const answer = { text: this.#text, detail: this.#detail };
        const last = describeEnd(this.#context, this.#call, this.#place, event, answer);
        return sse(pickFields(last, this.#call.fields));
      }
      default:
        return "";
    }
  }

  #delta({ pieces, tokens, logprobs }: Extract<TextEvent, { kind: "delta" }>): string {
    this.#firstTokenAt ||= performance.now();
    const text = pieces.map((piece) => ("text" in piece ? piece.text : "")).join("");
    this.#text += text;
    this.#usage.completionTokens += tokens.length;
    const { probs, timingsPerToken } = this.#call;
    if (text === "" && tokens.length === 0) {
      return "";
    }
    return this.#part(text, tokens, {
      ...(probs > 0 ? { completion_probabilities: logprobs.map(probabilityOf) } : {}),
      ...(timingsPerToken ? { timings: this.#timings() } : {}),
    });
  }

  #part(content: string, tokens: readonly number[], more: object): string {
    return sse({
      index: this.#place,
      content,
      tokens,
      stop: false,
      id_slot: this.#call.slot,
      tokens_predicted: this.#usage.completionTokens,
      tokens_evaluated: this.#usage.promptTokens,
      ...more,
    });
  }

  #timings(): object {
    const { promptTokens, cachedTokens, completionTokens } = this.#usage;
    const timings = {
      queueMs: 0,
      promptMs: this.#firstTokenAt - this.#startedAt,
      promptTokens: promptTokens - cachedTokens,
      generateMs: performance.now() - this.#firstTokenAt,
      generatedTokens: completionTokens,
    };
    return timingsOf({ usage: this.#usage, timings });
  }
}
