// Runs requests on one model: what every dialect and every route shares.

import type { ChatFormat } from "../chat/format.js";
import type { Adapter } from "../engine/adapter.js";
import type { EngineStats, Model, Session } from "../engine/model.js";
import { reasonOf } from "../system/errors.js";
import { AdapterScales, usesOf } from "./adapters.js";
import { Admission, reasonOfAbort, type Ticket } from "./admission.js";
import { AnswerRun } from "./answer-run.js";
import type { EmbeddingService } from "./embedding-service.js";
import { ApiError } from "./errors.js";
import { PromptFitter } from "./fit-prompt.js";
import type { Log } from "./log.js";
import type { ServeOptions } from "./options.js";
import type { PromptMaker } from "./prompt.js";
import type {
  AnsweredRequest,
  Client,
  EmbedPrompt,
  RequestAdapter,
  RunContext,
  TextEvent,
  TextRequest,
} from "./request.js";
import { continueStats, noStats, Residence } from "./residence.js";
import type { ServedModel } from "./served-model.js";
import { type SessionLease, SlotSessions } from "./slots.js";

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
    const served = this.#served;
    const run = await AnswerRun.begin({
      ...{ request, context, ticket, wakeMs, served },
      options: this.#options,
      fitter: new PromptFitter(served, this.#options),
      leaseSession: (choice) => this.#leaseSession(request, context, choice),
    });
    yield* run.events();
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
