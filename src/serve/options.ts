// How a server is set up. Where something is left out, the default stands beside it.

import type { LoadOptions } from "../engine/model.js";
import type { SamplingOptions } from "../engine/request.js";
import type { CacheType, Pooling } from "../native/addon.js";
import { type GuardOptions, standardGuards, type WatchOptions } from "./guard-options.js";
import type { TlsFiles } from "./tls.js";

/** What becomes of what a model thinks before it answers. */
export type ReasoningFormat = "auto" | "none";

/** An adapter that the server loads. */
export interface AdapterSetup {
  /** A folder of PEFT, a .safetensors or a .gguf file. */
  path: string;
  /** By which requests name it. Default: the name of its folder or file. */
  name?: string;
  /** Where a request does not say. Default: 1. */
  scale?: number;
  /** See `loadAdapter`. */
  scaledByWeights?: boolean;
}

export interface ServeOptions extends GuardOptions, WatchOptions {
  /** Path of the GGUF file. */
  modelPath: string;
  /** Names under which it is served, the first in answers. */
  aliases: readonly string[];
  /** Shown by /v1/models. */
  tags: readonly string[];
  load: LoadOptions;
  /** In the order of their numbers in /lora-adapters. */
  adapters: AdapterSetup[];
  /** The scales of adapters are 0 until a request or POST /lora-adapters says otherwise. */
  adaptersWait: boolean;
  /** Of one request; 0: what the model was trained for. */
  contextSize: number;
  cacheType: CacheType;
  /** Requests that run at once; undefined: as many, at most 8, as their caches fit half of the free memory. */
  parallel?: number;
  /** Of keys and values that nobody uses, kept to be found again; undefined: a quarter of the free memory, at most 8 GiB. */
  promptCacheBytes?: number;
  /** Clients find beginnings of each other's prompts: quicker, but times tell what others have sent. */
  sharePrefixCache: boolean;
  /** Of all keys and values; undefined: what `parallel` contexts and the prompt cache need. */
  kvBytes?: number;

  /** Of a model that computes embeddings: what of its tokens the vector of a text is. Default: the file's. */
  pooling?: Pooling;
  /** Refuse to serve a model that computes none. */
  embeddings: boolean;

  /** System message of chats that have none; "" for none. */
  systemPrompt: string;
  /** Tokens of an answer at most; -1: as many as fit. */
  maxPredict: number;
  /** Sampling where a request does not say. */
  sampling: SamplingOptions;
  /** A built-in chat format by name or the path of a Jinja file; undefined: the model's own. */
  chatTemplate?: string;
  reasoningFormat: ReasoningFormat;
  /** A chat that does not fit loses its oldest turns in the place of being refused. */
  contextShift: boolean;
  /** The same for any prompt, which loses its beginning. */
  truncateInput: boolean;
  /** Refuse requests that name another model. */
  strictModel: boolean;
  /** Largest `n`. */
  maxChoices: number;

  /** Names or addresses to listen on, or paths of sockets ("*.sock"). */
  hosts: readonly string[];
  port: number;
  /** In front of every path: "/bitnet". */
  apiPrefix: string;
  tls?: TlsFiles;
  /** Folder of static files in the place of the built-in page. */
  staticFolder?: string;
  /** Serve a page at "/". */
  ui: boolean;

  /** Requests that wait to run. */
  queueSize: number;
  /** Seconds that one waits at most. */
  queueTimeout: number;
  /** Seconds that a request takes at most. */
  requestTimeout: number;
  /** Seconds of silence after which a stream gets a comment. */
  pingInterval: number;
  /** Seconds without a request after which the model leaves memory, until the next one; 0: it stays. */
  sleepSeconds: number;
  /** Seconds for requests that run when the server is told to end. */
  drainTimeout: number;
  /** Tokens of a step at most. */
  stepRows?: number;
  /** What a step may take while somebody is answered, in milliseconds: bounds what is read of prompts beside it. */
  stepMs?: number;
  /** Offer GET /slots. */
  slots: boolean;
  /** Folder of uploaded files and of batches; undefined: there are none. */
  batchFolder?: string;
  /** Folder of slot files. */
  slotFolder?: string;
  /** Responses that are kept for `previous_response_id`; 0: none. */
  responseStore: number;
}

export const standardOptions: Omit<ServeOptions, "modelPath"> = {
  ...standardGuards,
  aliases: [],
  tags: [],
  load: {},
  adapters: [],
  adaptersWait: false,
  contextSize: 2048,
  cacheType: "f16",
  sharePrefixCache: false,
  embeddings: false,
  systemPrompt: "",
  maxPredict: 4096,
  sampling: {},
  reasoningFormat: "auto",
  contextShift: false,
  truncateInput: false,
  strictModel: false,
  maxChoices: 8,
  hosts: ["127.0.0.1"],
  port: 8080,
  apiPrefix: "",
  ui: true,
  queueSize: 512,
  queueTimeout: 60,
  requestTimeout: 600,
  pingInterval: 10,
  sleepSeconds: 0,
  drainTimeout: 120,
  slots: true,
  responseStore: 0,
};
