// The one request that every dialect is translated into, and what comes back of it.

import type { FormatMessage } from "../chat/format.js";
import type { Plain } from "../chat/template/template.js";
import type { TokenProb, TokenProbability } from "../engine/generate.js";
import type { SamplingOptions } from "../engine/request.js";
import type { Grammar } from "../grammar/grammar.js";

/** Who asks. Only `weight` may ever change what is computed, and only when. */
export interface Client {
  /** Of the key, else the address: for turns and limits. Never shown or logged. */
  id: string;
  /** Of the key, "" for clients without one: only those of the same salt find each other's prompts in the cache. */
  salt: string;
  /** Share of the machine among clients that wait; 1 is usual. */
  weight: number;
  /** What it may use. */
  scopes: ReadonlySet<Scope>;
  /** Limits of its key in the place of the server's, per minute. */
  requestsPerMinute?: number;
  tokensPerMinute?: number;
}

export type Scope = "chat" | "admin" | "metrics";

/** A conversation to be answered. */
export interface ChatPrompt {
  kind: "chat";
  messages: readonly FormatMessage[];
  tools: readonly Plain[];
  toolChoice: ToolChoice;
  parallelToolCalls: boolean;
  /** More variables of the template. */
  variables: Readonly<Record<string, Plain>>;
  /** Whether to think, where the template leaves the choice. */
  thinking?: boolean;
}

export type ToolChoice =
  | { mode: "none" | "auto" | "required" }
  /** Only these; `required`: one of them must be called. */
  | { mode: "allowed"; names: readonly string[]; required: boolean };

/** Text or ids to be continued. */
export interface TextPrompt {
  kind: "text";
  /** Texts are tokenized and joined with the ids. */
  parts: readonly (string | readonly number[])[];
  /** Names of control tokens in texts are those tokens. */
  parseSpecial: boolean;
  /** BOS is added before a text that comes first, where the model wants it. */
  addsSpecial: boolean;
}

/** Texts or ids of which vectors are wanted. */
export interface EmbedPrompt {
  kind: "embed";
  inputs: readonly EmbedInput[];
  /** As --embd-normalize. */
  normalize: number;
  /** Cut to so many before they are normalized. */
  dimensions?: number;
  /** Inputs that do not fit lose their ends; else they are refused. */
  truncate: boolean;
  /** Names of control tokens in texts are those tokens. */
  parseSpecial: boolean;
  /** The dialect has one vector for each input. */
  needsOneVector: boolean;
}

export interface EmbedInput {
  /** How errors call it: "input[3]". */
  path: string;
  /** Texts are tokenized and joined with the ids. */
  parts: readonly (string | readonly number[])[];
}

/** What continues. */
export type AnsweredPrompt = ChatPrompt | TextPrompt;

/** A grammar that a request asks for. */
export interface GrammarRequest {
  /** As it was asked for: the same source, the same grammar. */
  source: string;
  /** Compiles it on another thread; throws an ApiError that names the field. */
  compile(): Promise<Grammar>;
}

/** How much of an adapter a request gets. */
export interface RequestAdapter {
  id: number;
  scale: number;
}

export interface TextRequest<P extends AnsweredPrompt | EmbedPrompt = AnsweredPrompt | EmbedPrompt> {
  /** For metrics and the audit log: "/v1/chat/completions". */
  route: string;
  prompt: P;
  /** How many answers; answer i takes seed + i. */
  n: number;
  /** Absent: to the end of the context. */
  maxTokens?: number;
  /** With `seed` and `logprobs` (0 is none; the chosen token's own is there from 1 on). */
  sampling: SamplingOptions;
  ignoreEos: boolean;
  stop: readonly string[];
  /** What the answer must be; of a chat, after what it may think. */
  grammar?: GrammarRequest;
  /** Of prompts that are text: log-probabilities of the prompt's own tokens, with so many of the likeliest. */
  promptLogprobs?: number;
  /** Adapters by their place in the server's list, and how much of each; undefined: those of all requests. */
  adapters?: readonly RequestAdapter[];
  /** Gives way to requests that somebody waits for. */
  background: boolean;
  /** Narrows who finds the keys and values of this prompt. */
  cacheSalt: string;
  /** false: nothing is taken from the prompt cache. */
  cachePrompt: boolean;
  /** Tell how far a long prompt is read. */
  wantsProgress: boolean;
  /** The place whose sequence is gone on with and kept, where the server keeps them. */
  slot?: number;
  /** Give up after so much time, with what there is (finish reason "length"). */
  generateSeconds?: number;
}

export type AnsweredRequest = TextRequest<AnsweredPrompt>;

/** A stretch of an answer. */
export type AnswerPiece =
  | { kind: "thinking" | "text"; text: string }
  | { kind: "call"; index: number; name: string }
  | { kind: "arguments"; index: number; text: string };

export interface TokenText {
  text: string;
  bytes: readonly number[];
}

/** A token with its probability, as the model gave it before any sampling. */
export interface TokenLogprob extends TokenProb {
  /** What its bytes add to the text; "" inside a character, and the whole character with its last token. */
  text: string;
  bytes: readonly number[];
  top: readonly (TokenProb & TokenText)[];
  /** With `sampling.postSamplingProbs`: how likely it was to be drawn, and what else was. */
  prob?: number;
  topProbs?: readonly (TokenProbability & TokenText)[];
}

/** "tool_calls" and "content_filter" beside what ends a generation. */
export type AnswerFinish = "stop" | "length" | "tool_calls" | "content_filter";

/** What happens while a request runs, in order. */
export type TextEvent =
  /** The engine has begun. */
  | { kind: "started"; promptTokens: number; cachedTokens: number; queueMs: number }
  | { kind: "progress"; total: number; cached: number; processed: number; timeMs: number }
  /** Of the prompt's own tokens; the first has none. Before everything else that is said of a choice. */
  | { kind: "prompt"; tokens: readonly (TokenLogprob | { id: number; text: string; bytes: readonly number[] })[] }
  | {
      kind: "delta";
      choice: number;
      pieces: readonly AnswerPiece[];
      tokens: readonly number[];
      logprobs: readonly TokenLogprob[];
    }
  /** Of an EmbedPrompt, in the order of its inputs; with the pooling "none" a vector has those of all tokens. */
  | { kind: "vectors"; vectors: readonly Float32Array[]; tokens: readonly number[]; dimensions: number }
  | { kind: "finish"; choice: number; finish: AnswerFinish; detail: FinishDetail }
  | { kind: "end"; usage: Usage; timings: Timings };

export interface FinishDetail {
  /** What ended the text: an end-of-generation token, a stop string, a limit. */
  type: "eos" | "word" | "limit" | "filter";
  stopString?: string;
  seed: number;
  /** Turns or tokens were forgotten to make room. */
  truncated: boolean;
}

export interface Usage {
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  reasoningTokens: number;
}

/** Milliseconds; prompt and generation of all choices together, as llama.cpp's server names them. */
export interface Timings {
  queueMs: number;
  promptMs: number;
  /** Evaluated, not found in the cache. */
  promptTokens: number;
  generateMs: number;
  generatedTokens: number;
}

/** Of one request while it runs. */
export interface RunContext {
  /** Shared with whoever answers; a run without has its own. */
  notes?: RunNotes;
  client: Client;
  /** "x-request-id" of its answer. */
  requestId: string;
  /** Fires when the client has left or the time is over; its reason is then an ApiError. */
  signal: AbortSignal;
}

/** What becomes known on a request's way, for its answer's headers, the metrics and the logs. */
export interface RunNotes {
  /** When the request came, as performance.now() has it. */
  readonly startedAt: number;
  /** Code of the error that it ended with. */
  code?: string;
  /** A line of a batch, which was let in as a whole: no limit counts it again. */
  isInside?: boolean;
  /** Rules of the content filter that its texts met. */
  readonly rules: Set<string>;
  /** Of the answer; without effect once that has begun. */
  setHeader(name: string, value: string): void;
  /** Tells, in x-bitnet-ignored, what of the request was of no use: fields, keywords of schemas. */
  nameIgnored(names: readonly string[]): void;
}

/** Of one run, of which a request may have several. */
export interface StageContext extends RunContext {
  notes: RunNotes;
  /** The answer was found, not computed. */
  isCached: boolean;
}

/**
 * Something between the routes and the engine that sees every request and every event of it: limits, a cache, a filter, a
 * log. `next` runs the request.
 */
export type Stage = (
  request: TextRequest,
  context: StageContext,
  next: (request: TextRequest) => AsyncIterable<TextEvent>,
) => AsyncIterable<TextEvent>;

/** The whole of one choice. */
export interface Answer {
  text: string;
  thinking: string;
  calls: { name: string; arguments: string }[];
  tokens: number[];
  logprobs: TokenLogprob[];
  finish: AnswerFinish;
  detail: FinishDetail;
}

export interface TextResult {
  answers: Answer[];
  prompt: Extract<TextEvent, { kind: "prompt" }>["tokens"];
  usage: Usage;
  timings: Timings;
}

/** Reads a request to its end. */
export async function collectAnswers(events: AsyncIterable<TextEvent>): Promise<TextResult> {
  const answers: Answer[] = [];
  let prompt: TextResult["prompt"] = [];
  for await (const event of events) {
    switch (event.kind) {
      case "prompt":
        prompt = event.tokens;
        break;
      case "delta":
        addDelta(answerAt(answers, event.choice), event);
        break;
      case "finish":
        Object.assign(answerAt(answers, event.choice), { finish: event.finish, detail: event.detail });
        break;
      case "end":
        return { answers, prompt, usage: event.usage, timings: event.timings };
    }
  }
  throw new Error("the request ended without a last event");
}

function answerAt(answers: Answer[], choice: number): Answer {
  answers[choice] ??= {
    ...{ text: "", thinking: "", calls: [], tokens: [], logprobs: [], finish: "length" },
    detail: { type: "limit", seed: 0, truncated: false },
  };
  return answers[choice];
}

function addDelta(answer: Answer, { pieces, tokens, logprobs }: Extract<TextEvent, { kind: "delta" }>): void {
  for (const piece of pieces) {
    switch (piece.kind) {
      case "text":
        answer.text += piece.text;
        break;
      case "thinking":
        answer.thinking += piece.text;
        break;
      case "call":
        answer.calls[piece.index] = { name: piece.name, arguments: "" };
        break;
      case "arguments": {
        const call = answer.calls[piece.index];
        if (call !== undefined) {
          call.arguments += piece.text;
        }
      }
    }
  }
  answer.tokens.push(...tokens);
  answer.logprobs.push(...logprobs);
}
