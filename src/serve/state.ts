// The state of a server that all its routes see.

import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { BitnetError, reasonOf } from "../system/errors.js";
import type { ServerContext, ServerState } from "./context.js";
import { ApiError, unavailable } from "./errors.js";
import type { InsideReply, InsideRequest } from "./inside.js";
import type { Log } from "./log.js";
import type { ServeOptions } from "./options.js";
import type { Watcher } from "./records.js";
import type { RunContext, RunNotes, Stage, TextEvent, TextRequest } from "./request.js";
import type { TextService } from "./service.js";

export class Context implements ServerContext {
  readonly options: ServeOptions;
  readonly modelId: string;
  readonly startedAt = Date.now() / 1000;
  readonly stages: Stage[] = [];
  readonly watchers: Watcher[] = [];
  readonly log: Log;
  readonly secret: Buffer | undefined;
  responseCache?: ServerContext["responseCache"];
  readonly #markSecret: Buffer;
  #state: ServerState = "loading";
  #service: TextService | undefined;
  #readyListeners: ((service: TextService) => void)[] = [];
  readonly #closeListeners: (() => void | Promise<void>)[] = [];
  readonly #reloadListeners: (() => void | Promise<void>)[] = [];
  readonly #dropListeners: (() => void)[] = [];

  readonly handle: (request: InsideRequest) => Promise<InsideReply>;

  constructor(
    options: ServeOptions,
    log: Log = () => {},
    handle: (request: InsideRequest) => Promise<InsideReply> = () => Promise.reject(new Error("no routes")),
  ) {
    this.options = options;
    this.log = log;
    this.secret = options.secretFile === undefined ? undefined : readSecret(options.secretFile);
    this.#markSecret = this.secret ?? randomBytes(32);
    this.handle = handle;
    this.modelId = options.aliases[0] ?? basename(options.modelPath).replace(/\.gguf$/i, "");
  }

  markOf(id: string): string {
    return createHmac("sha256", this.#markSecret).update(id).digest("hex").slice(0, 16);
  }

  get state(): ServerState {
    return this.#state;
  }

  get service(): TextService {
    if (this.#state === "loading") {
      throw unavailable("loading_model", "Loading model");
    }
    if (this.#service === undefined) {
      throw new ApiError("server_error", "the model could not be loaded", { code: "no_model", shouldRetry: false });
    }
    return this.#service;
  }

  run(request: TextRequest, given: RunContext): AsyncIterable<TextEvent> {
    const notes = given.notes ?? newNotes();
    const context = { ...given, notes, isCached: false };
    const runFrom = (i: number, asked: TextRequest): AsyncIterable<TextEvent> => {
      const stage = this.stages[i];
      return stage === undefined
        ? this.service.run(asked, context)
        : stage(asked, context, (next) => runFrom(i + 1, next));
    };
    const isDefault = this.options.adapters.length > 0 && request.adapters === undefined;
    return runFrom(0, isDefault ? { ...request, adapters: this.service.adapterScales.list() } : request);
  }

  onReady(listener: (service: TextService) => void): void {
    this.#readyListeners.push(listener);
  }

  onClose(listener: () => void | Promise<void>): void {
    this.#closeListeners.push(listener);
  }

  onReload(listener: () => void | Promise<void>): void {
    this.#reloadListeners.push(listener);
  }

  /** Each listener by itself: what is wrong with one file does not keep the others. */
  async reload(): Promise<void> {
    for (const listener of this.#reloadListeners) {
      try {
        await listener();
      } catch (error) {
        this.log({ level: "error", message: `not reloaded: ${reasonOf(error)}` });
      }
    }
  }

  onDrop(listener: () => void): void {
    this.#dropListeners.push(listener);
  }

  onDropped(): void {
    for (const listener of this.#dropListeners) {
      listener();
    }
  }

  begin(service: TextService): void {
    this.#service = service;
    this.#state = "ready";
    for (const listener of this.#readyListeners) {
      listener(service);
    }
    this.#readyListeners = [];
  }

  fail(_error: unknown): void {
    this.#state = "failed";
  }

  drain(): TextService | undefined {
    this.#state = "draining";
    return this.#service;
  }

  /** Ends whatever runs. */
  abort(): void {
    this.#service?.admission.abort(unavailable("draining", "the server is shutting down"));
  }

  async close(): Promise<void> {
    for (const listener of this.#closeListeners) {
      await listener();
    }
  }
}

// Of what a header names.
const mostIgnored = 32;
const longestIgnored = 128; // characters

/** Notes of a request; headers go where its answer does. */
export function newNotes(setHeader: RunNotes["setHeader"] = () => {}): RunNotes {
  const ignored = new Set<string>();
  return {
    startedAt: performance.now(),
    rules: new Set(),
    setHeader,
    nameIgnored: (names) => {
      for (const name of names.slice(0, mostIgnored)) {
        ignored.add(name.slice(0, longestIgnored).replace(/[^\w.~/$[\]-]/g, "?"));
      }
      if (ignored.size > 0) {
        setHeader("x-bitnet-ignored", [...ignored].slice(0, mostIgnored).join(", "));
      }
    },
  };
}

const shortestSecret = 16; // bytes

function readSecret(path: string): Buffer {
  let secret: Buffer;
  try {
    secret = Buffer.from(readFileSync(path, "utf8").trim());
  } catch (error) {
    throw new BitnetError("USAGE", `${path}: the secret cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  if (secret.length < shortestSecret) {
    throw new BitnetError("USAGE", `${path}: expected a secret of at least ${shortestSecret} bytes`);
  }
  return secret;
}
