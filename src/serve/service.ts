// Runs requests on one model: what every dialect and every route shares.

import { createHash, randomInt } from "node:crypto";
import type { ChatFormat } from "../chat/format.js";
import type { Adapter } from "../engine/adapter.js";
import type { FinishReason } from "../engine/generate.js";
import type { EngineStats, Model, Session } from "../engine/model.js";
import { maxCount, type TokenOptions } from "../engine/request.js";
import type { Grammar } from "../grammar/grammar.js";
import { reasonOf } from "../system/errors.js";
import { packageVersion } from "../system/package.js";
import { AdapterScales, usesOf } from "./adapters.js";
import { Admission, reasonOfAbort, type Ticket } from "./admission.js";
import { AnswerStream, describeToken } from "./answer-stream.js";
import { Channel } from "./channel.js";
import { countDroppable, countToDrop, withoutTurns } from "./context-shift.js";
import { EmbeddingService } from "./embedding-service.js";
import { ApiError, contextExceeded, invalid } from "./errors.js";
import type { Log } from "./log.js";
import type { ServeOptions } from "./options.js";
import { baseBytes, kvCacheBytes } from "./plan.js";
import { type PreparedPrompt, PromptMaker } from "./prompt.js";
import type {
  AnsweredPrompt,
  AnswerFinish,
  Client,
  EmbedPrompt,
  FinishDetail,
  RequestAdapter,
  RunContext,
  TextEvent,
  TextRequest,
  Timings,
  Usage,
} from "./request.js";
import { continueStats, noStats, Residence } from "./residence.js";
import { type SessionLease, SlotSessions } from "./slots.js";

const maxSeed = Number.MAX_SAFE_INTEGER;

type AnsweredRequest = TextRequest<AnsweredPrompt>;

/** A request on its way. */
interface Run {
  request: AnsweredRequest;
  context: RunContext;
  ticket: Ticket;
  grammar: Grammar | undefined;
  prepared: PreparedPrompt;
  /** Turns of the chat that were left out. */
  droppedTurns: number;
  seed: number;
  maxTokens: number;
  events: Channel<TextEvent>;
  usage: Usage;
  timings: Timings;
  begunAt: number;
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

// Where turns must go, so many go that a quarter of the context is free: the rest has to be evaluated again, which should
// not happen with every message.
const keptShare = 3 / 4;

/** Options with what was chosen for this machine where they say nothing. */
export type LoadedOptions = ServeOptions & { parallel: number; promptCacheBytes: number };

/** A model that was loaded for a server, and what is made of it. */
export class ServedModel {
  readonly model: Model;
  readonly format: ChatFormat;
  readonly contextSize: number;
  readonly prompts: PromptMaker;
  /** Of a model that computes vectors, and no texts. */
  readonly embeddings: EmbeddingService | undefined;
  /** In the order of their numbers. */
  readonly adapters: readonly Adapter[];
  /** Of all that decides what is computed: program, model and kernels. */
  readonly fingerprint: string;
  /** It takes that, with all keys and values that may be in use or kept. */
  readonly mostBytes: number;

  constructor(model: Model, format: ChatFormat, adapters: readonly Adapter[], options: LoadedOptions) {
    const { contextSize, systemPrompt, reasoningFormat, parallel, cacheType, promptCacheBytes } = options;
    const trained = model.info.contextLength;
    this.model = model;
    this.format = format;
    this.adapters = adapters;
    this.contextSize = contextSize === 0 ? trained : Math.min(contextSize, trained);
    this.prompts = new PromptMaker({
      ...{ tokenizer: model.tokenizer, format, systemPrompt },
      splitsThinking: reasoningFormat !== "none",
    });
    this.embeddings = model.info.embedsOnly
      ? new EmbeddingService(model, { ...options, contextSize: this.contextSize })
      : undefined;
    this.fingerprint = fingerprintOf(model);
    const inUse = options.kvBytes ?? parallel * kvCacheBytes(model.gguf, this.contextSize, cacheType);
    const ofAdapters = adapters.reduce((sum, { bytes }) => sum + bytes, 0);
    this.mostBytes = baseBytes(model.gguf) + ofAdapters + inUse + promptCacheBytes;
  }

  /** Evaluates and samples a little, so that the first request finds everything in place. */
  async warmUp(): Promise<void> {
    if (this.embeddings !== undefined) {
      await this.model.embed(["Hello"]);
      return;
    }
    this.model.shareBeginning(this.prompts.commonBeginning());
    await using session = this.model.createSession({ contextSize: Math.min(64, this.contextSize) });
    await session.generateTokens("Hello", { maxTokens: 10, temperature: 0 }).result;
  }
}

export interface ServiceSetup {
  options: ServeOptions & { parallel: number };
  /** Loads the model anew, and warms it up. */
  load: () => Promise<ServedModel>;
  log: Log;
}

/** The model is in memory until this is disposed. */
export interface ModelLease extends Disposable {
  readonly model: Model;
}

export class TextService {
  readonly admission: Admission;
  readonly slots: SlotSessions;
  /** Of requests that name no adapters. */
  readonly adapterScales: AdapterScales;
  readonly #setup: ServiceSetup;
  readonly #residence: Residence;
  #served: ServedModel;
  /** Of engines that are gone. */
  #statsBefore: EngineStats = noStats;

  constructor(served: ServedModel, setup: ServiceSetup) {
    const { options } = setup;
    this.admission = new Admission(options);
    this.slots = new SlotSessions(options.parallel);
    this.adapterScales = new AdapterScales(options);
    this.#served = served;
    this.#setup = setup;
    const resident = { load: () => this.#wake(), unload: () => this.#sleep() };
    this.#residence = new Residence(resident, options.sleepSeconds);
  }

  get #options(): ServeOptions {
    return this.#setup.options;
  }

  /** While it sleeps, what does not need its weights: its description, its tokenizer. To compute with it, borrow it. */
  get model(): Model {
    return this.#served.model;
  }

  get format(): ChatFormat {
    return this.#served.format;
  }

  get contextSize(): number {
    return this.#served.contextSize;
  }

  get prompts(): PromptMaker {
    return this.#served.prompts;
  }

  /** Of a model that computes vectors, and no texts. */
  get embeddings(): EmbeddingService | undefined {
    return this.#served.embeddings;
  }

  /** In the order of their numbers; the model in memory has others after it has slept. */
  get adapters(): readonly Adapter[] {
    return this.#served.adapters;
  }

  get fingerprint(): string {
    return this.#served.fingerprint;
  }

  /** The model has left memory; the next request brings it back. */
  get isSleeping(): boolean {
    return this.#residence.isAway;
  }

  /** What was computed since the server began. */
  stats(): EngineStats {
    return continueStats(this.#statsBefore, this.isSleeping ? noStats : this.model.stats());
  }

  /** What the process takes at most, if all is used that it is set up for. */
  get mostBytes(): number {
    return this.#served.mostBytes + this.#options.responseCacheBytes;
  }

  /** The model, loaded again if it sleeps. */
  async borrow(signal?: AbortSignal): Promise<ModelLease> {
    const stay = await this.#residence.use(signal);
    return { model: this.model, [Symbol.dispose]: () => stay[Symbol.dispose]() };
  }

  async close(): Promise<void> {
    await this.#residence.close();
    this.slots.close();
    this.model.close();
  }

  #sleep(): void {
    const { log, options } = this.#setup;
    this.#statsBefore = continueStats(this.#statsBefore, this.model.stats());
    this.slots.close();
    this.model.close();
    log({ level: "info", message: `no request for ${options.sleepSeconds} s: the model sleeps until the next one` });
  }

  async #wake(): Promise<void> {
    const { log, load } = this.#setup;
    const begunAt = performance.now();
    try {
      this.#served = await load();
    } catch (error) {
      const message = "the model could not be loaded again";
      log({ level: "error", message, fields: { reason: reasonOf(error) } });
      throw new ApiError("server_error", message, { code: "no_model", cause: error });
    }
    const seconds = ((performance.now() - begunAt) / 1000).toFixed(1);
    log({ level: "info", message: `the model is there again, loaded in ${seconds} s` });
  }

  /** Throws an ApiError, before the first event wherever that is possible. Leaving the loop ends the work. */
  async *run(request: TextRequest, context: RunContext): AsyncGenerator<TextEvent, void, undefined> {
    if (isOfVectors(request)) {
      if (this.embeddings === undefined) {
        throw wrongKind("the model computes no embeddings, only texts");
      }
      yield* this.#runAdmitted(request, context, (admitted, ticket) => this.#embed(request, admitted, ticket));
    } else if (isOfText(request)) {
      if (this.embeddings !== undefined) {
        throw wrongKind("the model computes embeddings, no texts: POST /v1/embeddings");
      }
      yield* this.#runAdmitted(request, context, (admitted, ticket, wakeMs) =>
        this.#answer(request, admitted, ticket, wakeMs),
      );
    }
  }

  /** With a ticket, and a signal that fires when the request must end or nobody reads on. */
  async *#runAdmitted(
    { background }: TextRequest,
    context: RunContext,
    work: (context: RunContext, ticket: Ticket, wakeMs: number) => AsyncIterable<TextEvent>,
  ): AsyncGenerator<TextEvent, void, undefined> {
    const ticket = this.admission.enter(context.signal, background);
    const left = new AbortController();
    try {
      const arrivedAt = performance.now();
      using _lease = await this.borrow(ticket.signal);
      const admitted = { ...context, signal: AbortSignal.any([ticket.signal, left.signal]) };
      yield* work(admitted, ticket, performance.now() - arrivedAt);
    } catch (error) {
      throw reasonOfAbort(error, ticket.signal);
    } finally {
      left.abort();
      ticket.end();
    }
  }

  /** By the model that is in memory now. */
  async *#embed(
    request: TextRequest<EmbedPrompt>,
    context: RunContext,
    ticket: Ticket,
  ): AsyncGenerator<TextEvent, void, undefined> {
    if (this.embeddings !== undefined) {
      const adapters = usesOf(this.adapters, request.adapters);
      yield* this.embeddings.run(request, { ...context, adapters }, () => ticket.start());
    }
  }

  async *#answer(
    request: AnsweredRequest,
    context: RunContext,
    ticket: Ticket,
    wakeMs: number,
  ): AsyncGenerator<TextEvent, void, undefined> {
    const run = await this.#begin(request, context, ticket, wakeMs);
    this.#runChoices(run).then(
      () => run.events.close(),
      (error: unknown) => run.events.close({ error }),
    );
    yield* run.events;
  }

  /** `wakeMs`: what it has waited for the model already. */
  async #begin(request: AnsweredRequest, context: RunContext, ticket: Ticket, wakeMs: number): Promise<Run> {
    const grammar = await request.grammar?.compile();
    const { prepared, droppedTurns } = await this.#fit(request, grammar);
    context.notes?.nameIgnored([
      ...(grammar?.ignored.map(({ pointer }) => `schema${pointer}`) ?? []),
      ...(prepared.ignored ?? []),
    ]);
    const { length } = prepared.ids;
    const { maxPredict, contextShift } = this.#options;
    const room = contextShift && request.prompt.kind === "chat" ? maxCount : this.contextSize - length;
    const most = maxPredict < 0 ? room : Math.min(room, maxPredict);
    return {
      ...{ request, context, ticket, grammar, prepared, droppedTurns },
      seed: request.sampling.seed ?? randomInt(2 ** 32),
      maxTokens: Math.min(request.maxTokens ?? most, most),
      events: new Channel(),
      usage: { promptTokens: length, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 },
      timings: { queueMs: 0, promptMs: 0, promptTokens: 0, generateMs: 0, generatedTokens: 0 },
      begunAt: performance.now() - wakeMs,
    };
  }

  /** The prompt, made to fit if the server may do that. Throws an ApiError if it does not fit. */
  async #fit(
    request: AnsweredRequest,
    grammar: Grammar | undefined,
  ): Promise<{ prepared: PreparedPrompt; droppedTurns: number }> {
    const { contextShift, truncateInput, maxInputTokens } = this.#options;
    const prepared = await this.prompts.prepareAsync(request.prompt, grammar);
    const { length } = prepared.ids;
    const room = this.contextSize - (request.maxTokens === 0 ? 0 : 1);
    const limit = maxInputTokens > 0 ? Math.min(room, maxInputTokens) : room;
    if (length <= limit) {
      return { prepared, droppedTurns: 0 };
    }
    const short =
      request.prompt.kind === "chat"
        ? contextShift || truncateInput
          ? this.#dropTurns(request, grammar, 0)
          : undefined
        : truncateInput
          ? { prepared: this.#cut(prepared, request, limit), droppedTurns: 0 }
          : undefined;
    if (short === undefined || short.prepared.ids.length > limit) {
      throw length > room
        ? contextExceeded(length, this.contextSize)
        : invalid("prompt", `expected at most ${limit} tokens, got ${length}`);
    }
    return short;
  }

  /** The chat without so many of its oldest turns that a part of the context is free beside what was answered already. */
  #dropTurns(
    { prompt }: AnsweredRequest,
    grammar: Grammar | undefined,
    answered: number,
  ): { prepared: PreparedPrompt; droppedTurns: number } | undefined {
    if (prompt.kind !== "chat") {
      return undefined;
    }
    const without = (count: number) =>
      this.prompts.prepare({ ...prompt, messages: withoutTurns(prompt.messages, count) }, grammar);
    const { maxInputTokens } = this.#options;
    const kept = this.contextSize * keptShare - answered;
    const limit = maxInputTokens > 0 ? Math.min(kept, maxInputTokens) : kept;
    const droppedTurns = countToDrop(countDroppable(prompt.messages), limit, (count) => without(count).ids.length);
    return { prepared: without(droppedTurns), droppedTurns };
  }

  /** A text without its beginning: what is left has room for the answer. */
  #cut(prepared: PreparedPrompt, { maxTokens = this.contextSize }: TextRequest, most: number): PreparedPrompt {
    const { addBos, bos } = this.model.tokenizer.info;
    const kept = Math.min(most, Math.max(this.contextSize - maxTokens, Math.floor(this.contextSize * keptShare)));
    const hasBos = addBos && prepared.ids[0] === bos;
    const ids = hasBos ? [bos, ...prepared.ids.slice(1 - kept)] : prepared.ids.slice(-kept);
    return { ...prepared, ids, before: ids };
  }

  /** The first choice alone until its prompt is evaluated, which the others then find in the cache. */
  async #runChoices(run: Run): Promise<void> {
    const { n } = run.request;
    const others: Promise<void>[] = [];
    const startOthers = () => {
      for (let choice = 1; choice < n && others.length < n - 1; choice++) {
        const other = this.#runChoice(run, choice, () => {});
        other.catch(() => {}); // told below, where all are waited for
        others.push(other);
      }
    };
    await this.#runChoice(run, 0, startOthers);
    startOthers();
    await Promise.all(others);
    run.events.push({ kind: "end", usage: run.usage, timings: run.timings });
  }

  async #runChoice(run: Run, choice: number, onFirstToken: () => void): Promise<void> {
    const { request, prepared, context } = run;
    await using lease = this.#leaseSession(request, context, choice);
    const { session } = lease;
    if (choice === 0 && request.promptLogprobs !== undefined) {
      await this.#scorePrompt(run, session, request.promptLogprobs);
    }
    const { sampling, stop } = request;
    const stream = new AnswerStream(this.model.tokenizer, {
      ...{ stop, thinking: prepared.thinking, beginsThinking: prepared.beginsThinking, before: prepared.before },
      parser: prepared.createParser?.(),
      logprobs: (sampling.logprobs ?? 0) + (sampling.postSamplingProbs ?? 0) > 0,
      listsEnd: request.promptLogprobs !== undefined,
    });
    if (run.maxTokens === 0) {
      this.#tellNothing(run, choice);
      return;
    }
    const answer: RunningAnswer = { choice, session, stream, ids: [], dropped: run.droppedTurns, onFirstToken };
    let prompt: readonly number[] = prepared.ids;
    let reason = await this.#generate(run, answer, prompt);
    for (; reason === "context"; reason = await this.#generate(run, answer, prompt)) {
      const short = this.#options.contextShift ? this.#dropTurns(request, run.grammar, answer.ids.length) : undefined;
      if (short === undefined || short.droppedTurns <= answer.dropped) {
        break;
      }
      answer.dropped = short.droppedTurns;
      prompt = [...short.prepared.ids, ...answer.ids];
    }
    this.#tell(run, choice, stream.finish());
    run.usage.reasoningTokens += stream.thinkingTokens;
    const truncated = answer.dropped > 0 || reason === "context";
    run.events.push({
      kind: "finish",
      choice,
      ...describeFinish(reason, stream, this.#seedOf(run, choice), truncated),
    });
  }

  /** The one of the place that the request names, if the server keeps those and it is free; else one of its own. */
  #leaseSession(request: TextRequest, { client }: RunContext, choice: number): SessionLease {
    const { slot = this.slots.count } = request;
    const keeps = this.#options.slotFolder !== undefined && choice === 0 && slot < this.slots.count;
    const owner = slotOwner(client, request.adapters);
    const kept = keeps
      ? this.slots.take(slot, owner, () => this.createSlotSession(client, request.adapters))
      : undefined;
    if (kept !== undefined) {
      return kept;
    }
    const session = this.model.createSession({
      contextSize: this.contextSize,
      cacheType: this.#options.cacheType,
      salt: saltOf(this.#options.sharePrefixCache ? "" : client.salt, request),
      client: client.id,
      weight: client.weight,
      background: request.background,
      adapters: usesOf(this.adapters, request.adapters),
    });
    return { session, [Symbol.asyncDispose]: async () => session.close() };
  }

  /** What is erased from a place is to be gone: it neither gives to others nor takes from them. */
  createSlotSession({ id, weight }: Client, chosen: readonly RequestAdapter[] | undefined): Session {
    const { cacheType } = this.#options;
    const { contextSize } = this;
    const adapters = usesOf(this.adapters, chosen);
    return this.model.createSession({ contextSize, cacheType, client: id, weight, sharePrompts: false, adapters });
  }

  /** Goes on until the answer ends, or the context. */
  async #generate(run: Run, answer: RunningAnswer, prompt: readonly number[]): Promise<FinishReason> {
    const { choice, session, stream, ids } = answer;
    const { generateSeconds = Number.POSITIVE_INFINITY } = run.request;
    const { begun = [] } = run.prepared;
    const options = this.#tokenOptions(run, choice);
    const maxTokens = run.maxTokens - ids.length;
    const tokens = session.generateTokens(prompt, { ...options, maxTokens, begun: [...begun, ...ids] });
    try {
      for await (const token of tokens) {
        answer.firstTokenAt ??= performance.now();
        answer.onFirstToken();
        ids.push(token.id);
        this.#tell(run, choice, stream.push(token));
        const isLate = performance.now() - answer.firstTokenAt > generateSeconds * 1000;
        if (stream.stopString !== undefined || isLate) {
          return isLate ? "length" : "stop";
        }
      }
      return (await tokens.result).finishReason;
    } finally {
      this.#count(run, choice, session.timings);
    }
  }

  #tokenOptions(run: Run, choice: number): TokenOptions {
    const { request, context, prepared, events, begunAt } = run;
    return {
      ...this.#options.sampling,
      ...request.sampling,
      seed: this.#seedOf(run, choice),
      ignoreEos: request.ignoreEos,
      grammar: prepared.grammar,
      cachePrompt: request.cachePrompt,
      signal: context.signal,
      onStart: ({ reused }) => this.#tellStart(run, choice, reused),
      ...(choice === 0 && request.wantsProgress
        ? {
            onPrompt: (known: number, total: number) => {
              const timeMs = performance.now() - begunAt;
              events.push({ kind: "progress", total, cached: run.usage.cachedTokens, processed: known, timeMs });
            },
          }
        : {}),
    };
  }

  #seedOf(run: Run, choice: number): number {
    return (run.seed + choice) % maxSeed;
  }

  #tellStart(run: Run, choice: number, cachedTokens: number): void {
    const { ticket, usage, timings, events, begunAt } = run;
    ticket.start();
    if (choice === 0) {
      usage.cachedTokens = cachedTokens;
      timings.queueMs = performance.now() - begunAt;
      events.push({ kind: "started", promptTokens: usage.promptTokens, cachedTokens, queueMs: timings.queueMs });
    }
  }

  /** An answer of no tokens: what was asked for is the prompt's own log-probabilities. */
  #tellNothing(run: Run, choice: number): void {
    run.ticket.start();
    if (choice === 0) {
      run.events.push({ kind: "started", promptTokens: run.usage.promptTokens, cachedTokens: 0, queueMs: 0 });
    }
    const detail: FinishDetail = { type: "limit", seed: this.#seedOf(run, choice), truncated: false };
    run.events.push({ kind: "finish", choice, finish: "length", detail });
  }

  #tell(run: Run, choice: number, delta: ReturnType<AnswerStream["push"]>): void {
    if (delta.pieces.length + delta.tokens.length + delta.logprobs.length > 0) {
      run.events.push({ kind: "delta", choice, ...delta });
    }
  }

  #count(run: Run, choice: number, timings: Session["timings"]): void {
    run.usage.completionTokens += timings.generatedTokens;
    run.timings.generatedTokens += timings.generatedTokens;
    run.timings.generateMs = Math.max(run.timings.generateMs, timings.generateMs);
    if (choice === 0) {
      run.timings.promptMs += timings.promptMs;
      run.timings.promptTokens += timings.promptTokens - timings.reusedTokens;
    }
  }

  /** Tells the log-probabilities of the prompt's own tokens. */
  async #scorePrompt(run: Run, session: Session, top: number): Promise<void> {
    const { tokenizer } = this.model;
    const { ids } = run.prepared;
    run.ticket.start();
    const scores = ids.length < 2 ? undefined : await session.score(ids, { top, signal: run.context.signal });
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
    run.events.push({ kind: "prompt", tokens });
  }
}

/** Whose a kept sequence is: what other adapters have computed is of no use to anybody. */
export function slotOwner({ id }: Client, adapters: readonly RequestAdapter[] | undefined): string {
  return adapters === undefined || adapters.length === 0 ? id : JSON.stringify([id, adapters]);
}

function isOfVectors(request: TextRequest): request is TextRequest<EmbedPrompt> {
  return request.prompt.kind === "embed";
}

function isOfText(request: TextRequest): request is AnsweredRequest {
  return request.prompt.kind !== "embed";
}

function wrongKind(message: string): ApiError {
  return new ApiError("not_supported_error", message, { code: "not_supported", shouldRetry: false });
}

/** Whose prompts it may find: those of the same key, and narrower if the request says so. */
function saltOf(salt: string, { cacheSalt }: TextRequest): string {
  return cacheSalt === "" ? salt : JSON.stringify([salt, cacheSalt]);
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

function fingerprintOf({ info, gguf }: Model): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([gguf.tensors(), info.name]));
  return `bitnet-${packageVersion()}-${hash.digest("hex").slice(0, 8)}-${info.kernel}`;
}
