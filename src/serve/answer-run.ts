// One request for text on its way: its choices, and what is told of them.

import { randomInt } from "node:crypto";
import type { FinishReason } from "../engine/generate.js";
import type { Session } from "../engine/model.js";
import { maxCount, type TokenOptions } from "../engine/request.js";
import type { Grammar } from "../grammar/grammar.js";
import type { Ticket } from "./admission.js";
import { AnswerStream, describeToken } from "./answer-stream.js";
import { Channel } from "./channel.js";
import type { FittedPrompt, PromptFitter } from "./fit-prompt.js";
import type { ServeOptions } from "./options.js";
import type { AnsweredRequest, AnswerFinish, FinishDetail, RunContext, TextEvent, Timings, Usage } from "./request.js";
import type { ServedModel } from "./served-model.js";
import type { SessionLease } from "./slots.js";

const maxSeed = Number.MAX_SAFE_INTEGER;

export interface AnswerSetup {
  request: AnsweredRequest;
  context: RunContext;
  ticket: Ticket;
  served: ServedModel;
  fitter: PromptFitter;
  options: ServeOptions;
  leaseSession: (choice: number) => SessionLease;
  /** What it has waited for the model already. */
  wakeMs: number;
}

/** One choice on its way. */
interface RunningAnswer {
  choice: number;
  session: Session;
  stream: AnswerStream;
  ids: number[];
  /** Turns of the chat that are left out by now. */
  dropped: number;
  firstTokenAt?: number;
  onFirstToken: () => void;
}

export class AnswerRun {
  readonly #setup: AnswerSetup;
  readonly #grammar: Grammar | undefined;
  readonly #prompt: FittedPrompt;
  readonly #seed: number;
  readonly #maxTokens: number;
  readonly #events = new Channel<TextEvent>();
  readonly #usage: Usage;
  readonly #timings: Timings = { queueMs: 0, promptMs: 0, promptTokens: 0, generateMs: 0, generatedTokens: 0 };
  readonly #begunAt: number;

  private constructor(setup: AnswerSetup, grammar: Grammar | undefined, prompt: FittedPrompt) {
    const { request, options, served, wakeMs } = setup;
    const { length } = prompt.prepared.ids;
    const { maxPredict, contextShift } = options;
    const room = contextShift && request.prompt.kind === "chat" ? maxCount : served.contextSize - length;
    const most = maxPredict < 0 ? room : Math.min(room, maxPredict);
    this.#setup = setup;
    this.#grammar = grammar;
    this.#prompt = prompt;
    this.#seed = request.sampling.seed ?? randomInt(2 ** 32);
    this.#maxTokens = Math.min(request.maxTokens ?? most, most);
    this.#usage = { promptTokens: length, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 };
    this.#begunAt = performance.now() - wakeMs;
  }

  /** Throws an ApiError if the prompt does not fit. */
  static async begin(setup: AnswerSetup): Promise<AnswerRun> {
    const { request, context, fitter } = setup;
    const grammar = await request.grammar?.compile();
    const prompt = await fitter.fit(request, grammar);
    context.notes?.nameIgnored([
      ...(grammar?.ignored.map(({ pointer }) => `schema${pointer}`) ?? []),
      ...(prompt.prepared.ignored ?? []),
    ]);
    return new AnswerRun(setup, grammar, prompt);
  }

  /** Starts the work. */
  events(): AsyncIterable<TextEvent> {
    this.#runChoices().then(
      () => this.#events.close(),
      (error: unknown) => this.#events.close({ error }),
    );
    return this.#events;
  }

  /** The first choice alone until its prompt is evaluated, which the others then find in the cache. */
  async #runChoices(): Promise<void> {
    const { n } = this.#setup.request;
    const others: Promise<void>[] = [];
    const startOthers = () => {
      for (let choice = 1; choice < n && others.length < n - 1; choice++) {
        const other = this.#runChoice(choice, () => {});
        other.catch(() => {}); // told below, where all are waited for
        others.push(other);
      }
    };
    await this.#runChoice(0, startOthers);
    startOthers();
    await Promise.all(others);
    this.#events.push({ kind: "end", usage: this.#usage, timings: this.#timings });
  }

  async #runChoice(choice: number, onFirstToken: () => void): Promise<void> {
    const { request, options, fitter } = this.#setup;
    await using lease = this.#setup.leaseSession(choice);
    const { session } = lease;
    if (choice === 0 && request.promptLogprobs !== undefined) {
      await this.#scorePrompt(session, request.promptLogprobs);
    }
    if (this.#maxTokens === 0) {
      this.#tellNothing(choice);
      return;
    }
    const stream = this.#createStream();
    const { prepared, droppedTurns } = this.#prompt;
    const answer: RunningAnswer = { choice, session, stream, ids: [], dropped: droppedTurns, onFirstToken };
    let prompt: readonly number[] = prepared.ids;
    let reason = await this.#generate(answer, prompt);
    for (; reason === "context"; reason = await this.#generate(answer, prompt)) {
      const short = options.contextShift ? fitter.dropTurns(request, this.#grammar, answer.ids.length) : undefined;
      if (short === undefined || short.droppedTurns <= answer.dropped) {
        break;
      }
      answer.dropped = short.droppedTurns;
      prompt = [...short.prepared.ids, ...answer.ids];
    }
    this.#tell(choice, stream.finish());
    this.#usage.reasoningTokens += stream.thinkingTokens;
    const truncated = answer.dropped > 0 || reason === "context";
    this.#events.push({
      kind: "finish",
      choice,
      ...describeFinish(reason, stream, this.#seedOf(choice), truncated),
    });
  }

  #createStream(): AnswerStream {
    const { request, served } = this.#setup;
    const { thinking, beginsThinking, before, createParser } = this.#prompt.prepared;
    const { logprobs = 0, postSamplingProbs = 0 } = request.sampling;
    return new AnswerStream(served.model.tokenizer, {
      ...{ stop: request.stop, thinking, beginsThinking, before },
      parser: createParser?.(),
      logprobs: logprobs + postSamplingProbs > 0,
      listsEnd: request.promptLogprobs !== undefined,
    });
  }

  /** Goes on until the answer ends, or the context. */
  async #generate(answer: RunningAnswer, prompt: readonly number[]): Promise<FinishReason> {
    const { choice, session, stream, ids } = answer;
    const { generateSeconds = Number.POSITIVE_INFINITY } = this.#setup.request;
    const { begun = [] } = this.#prompt.prepared;
    const options = this.#tokenOptions(choice);
    const maxTokens = this.#maxTokens - ids.length;
    const tokens = session.generateTokens(prompt, { ...options, maxTokens, begun: [...begun, ...ids] });
    try {
      for await (const token of tokens) {
        answer.firstTokenAt ??= performance.now();
        answer.onFirstToken();
        ids.push(token.id);
        this.#tell(choice, stream.push(token));
        const isLate = performance.now() - answer.firstTokenAt > generateSeconds * 1000;
        if (stream.stopString !== undefined || isLate) {
          return isLate ? "length" : "stop";
        }
      }
      return (await tokens.result).finishReason;
    } finally {
      this.#count(choice, session.timings);
    }
  }

  #tokenOptions(choice: number): TokenOptions {
    const { request, context, options } = this.#setup;
    return {
      ...options.sampling,
      ...request.sampling,
      seed: this.#seedOf(choice),
      ignoreEos: request.ignoreEos,
      grammar: this.#prompt.prepared.grammar,
      cachePrompt: request.cachePrompt,
      signal: context.signal,
      onStart: ({ reused }) => this.#tellStart(choice, reused),
      ...(choice === 0 && request.wantsProgress
        ? {
            onPrompt: (known: number, total: number) => {
              const timeMs = performance.now() - this.#begunAt;
              this.#events.push({
                kind: "progress",
                total,
                cached: this.#usage.cachedTokens,
                processed: known,
                timeMs,
              });
            },
          }
        : {}),
    };
  }

  #seedOf(choice: number): number {
    return (this.#seed + choice) % maxSeed;
  }

  #tellStart(choice: number, cachedTokens: number): void {
    this.#setup.ticket.start();
    if (choice === 0) {
      const { promptTokens } = this.#usage;
      const queueMs = performance.now() - this.#begunAt;
      this.#usage.cachedTokens = cachedTokens;
      this.#timings.queueMs = queueMs;
      this.#events.push({ kind: "started", promptTokens, cachedTokens, queueMs });
    }
  }

  /** An answer of no tokens: what was asked for is the prompt's own log-probabilities. */
  #tellNothing(choice: number): void {
    this.#setup.ticket.start();
    if (choice === 0) {
      this.#events.push({ kind: "started", promptTokens: this.#usage.promptTokens, cachedTokens: 0, queueMs: 0 });
    }
    const detail: FinishDetail = { type: "limit", seed: this.#seedOf(choice), truncated: false };
    this.#events.push({ kind: "finish", choice, finish: "length", detail });
  }

  #tell(choice: number, delta: ReturnType<AnswerStream["push"]>): void {
    if (delta.pieces.length + delta.tokens.length + delta.logprobs.length > 0) {
      this.#events.push({ kind: "delta", choice, ...delta });
    }
  }

  #count(choice: number, timings: Session["timings"]): void {
    this.#usage.completionTokens += timings.generatedTokens;
    this.#timings.generatedTokens += timings.generatedTokens;
    this.#timings.generateMs = Math.max(this.#timings.generateMs, timings.generateMs);
    if (choice === 0) {
      this.#timings.promptMs += timings.promptMs;
      this.#timings.promptTokens += timings.promptTokens - timings.reusedTokens;
    }
  }

  /** Tells the log-probabilities of the prompt's own tokens. */
  async #scorePrompt(session: Session, top: number): Promise<void> {
    const { tokenizer } = this.#setup.served.model;
    const { ids } = this.#prompt.prepared;
    this.#setup.ticket.start();
    const scores = ids.length < 2 ? undefined : await session.score(ids, { top, signal: this.#setup.context.signal });
    const decoder = tokenizer.createDecoder({ special: true });
    const tokens = ids.map((id, i) => {
      const token = { id, text: decoder.push(id), bytes: [...tokenizer.bytes(id)] };
      const logprob = scores?.logprobs[i - 1];
      const likeliest = scores?.top?.[i - 1] ?? [];
      return logprob === undefined
        ? token
        : {
            ...token,
            logprob,
            top: likeliest.map((likely) => ({ ...likely, ...describeToken(tokenizer, likely.id) })),
          };
    });
    this.#events.push({ kind: "prompt", tokens });
  }
}

function describeFinish(
  reason: string,
  { stopString, hasCalls }: AnswerStream,
  seed: number,
  truncated: boolean,
): { finish: AnswerFinish; detail: FinishDetail } {
  if (stopString !== undefined) {
    return { finish: "stop", detail: { type: "word", stopString, seed, truncated } };
  }
  const isEnd = reason === "eog";
  return {
    finish: !isEnd ? "length" : hasCalls ? "tool_calls" : "stop",
    detail: { type: isEnd ? "eos" : "limit", seed, truncated },
  };
}
