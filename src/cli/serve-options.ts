// The options of bitnet serve: one row each, in groups that read as the server's options.

import { InvalidArgumentError } from "commander";
import { poolings } from "../native/addon.js";
import { findExposure } from "../serve/auth.js";
import { standardGuards } from "../serve/guard-options.js";
import type { ReasoningFormat, ServeOptions } from "../serve/options.js";
import { standardOptions } from "../serve/options.js";
import { llamaGroup, llamaRefusals, noDraft, textOnly } from "./llama-options.js";
import { adapterChoices, loraRows } from "./lora-rows.js";
import { type GroupValues, groupOf, type OptionRows, type Refusals } from "./option-rows.js";
import { chatRows, hubRows, modelRows, outputRows, samplingGroup, sessionRows, withHelp } from "./options.js";
import { integerFrom, numberFrom } from "./parsers.js";
import { findRedisProblem, workerRows } from "./redis-rows.js";
import { collectList, monitoringRows, securityRows } from "./serve-guard-rows.js";
import { presetRows } from "./serve-presets.js";

const MiB = 2 ** 20;
const seconds = numberFrom(0, 2 ** 31 / 1000); // what a timer can wait

function parseModel(text: string, earlier?: string): string {
  if (earlier !== undefined) {
    throw new InvalidArgumentError("A server has one model; start another one, on another port, for embeddings.");
  }
  return text;
}

/** llama.cpp's server has -1 for never. */
function pingSeconds(text: string): number {
  return text === "-1" ? 0 : seconds(text);
}

const mostRows = 256;

/** More than a step can have, as in command lines of llama.cpp's server, is as many as it can have: no bit changes. */
function stepRows(text: string): number {
  return Math.min(integerFrom(2)(text), mostRows);
}

/** NAME=PATH, or several of these with commas between them, as vLLM has it. */
function collectModules(
  text: string,
  earlier: { name: string; path: string }[] = [],
): { name: string; path: string }[] {
  const modules = text.split(",").map((part) => {
    const [, name = "", path = ""] = /^([\w.-]{1,128})=(.+)$/.exec(part) ?? [];
    if (path === "") {
      throw new InvalidArgumentError("Expected NAME=PATH, a name of letters, digits, _, . and -.");
    }
    return { name, path };
  });
  return [...earlier, ...modules];
}

const modelGroup = groupOf("Model", {
  path: { ...modelRows.path, parse: parseModel },
  ...hubRows,
  aliases: {
    flags: "-a, --alias <names>",
    help: "names under which it is served, the first in answers",
    parse: collectList,
  },
  tags: { flags: "--tags <names>", help: "shown with it by /v1/models", parse: collectList },
  threads: modelRows.threads,
  kernel: modelRows.kernel,
  layout: modelRows.layout,
  tokenizerPre: modelRows.tokenizerPre,
  kernelConfig: modelRows.kernelConfig,
  fastHead: modelRows.fastHead,
  inPlace: modelRows.inPlace,
});

/** llama.cpp's server has names for where the thoughts stand; here they always stand in the same place. */
function parseReasoning(text: string): ReasoningFormat {
  if (text !== "none" && text !== "auto" && text !== "deepseek") {
    throw new InvalidArgumentError("Expected auto or none.");
  }
  return text === "none" ? "none" : "auto";
}

const answerRows = {
  systemPrompt: {
    flags: "-p, --prompt <text>",
    help: "system message of chats that have none",
    aliases: ["-sys", "--system-prompt"],
  },
  maxPredict: {
    flags: "-n, --n-predict <n>",
    help: "tokens of an answer at most, whatever is asked for; -1: as many as fit",
    parse: integerFrom(-1),
    standard: standardOptions.maxPredict,
    aliases: ["--predict"],
  },
  chatTemplate: chatRows.chatTemplate,
  reasoningFormat: {
    flags: "--reasoning-format <format>",
    help: "auto: what a model thinks is told apart from its answer; none: it is part of it",
    parse: parseReasoning,
    standard: standardOptions.reasoningFormat,
  },
  contextShift: {
    flags: "--context-shift",
    help: "a chat that does not fit forgets its oldest turns (default: it is refused)",
    negated: "the default",
  },
  truncateInput: { flags: "--truncate-input", help: "a prompt that does not fit loses its beginning" },
  maxChoices: {
    flags: "--max-choices <n>",
    help: "answers to one request at most",
    parse: integerFrom(1, 128),
    standard: standardOptions.maxChoices,
  },
  strictModel: { flags: "--strict-model", help: "refuse requests that name another model" },
} as const satisfies OptionRows;

const embeddingRows = {
  embeddings: {
    flags: "--embeddings",
    aliases: ["--embedding"],
    help: "serve only a model that computes embeddings, which does so by itself, too",
  },
  pooling: {
    flags: "--pooling <type>",
    help: "what of its tokens the vector of a text is: mean, cls (the first), last, or none for all (default: the file's)",
    choices: poolings,
  },
} as const satisfies OptionRows;

const networkRows = {
  hosts: {
    flags: "--host <addresses>",
    help: "where to listen: addresses, or paths of sockets that end in .sock (default: 127.0.0.1)",
    parse: collectList,
  },
  port: {
    flags: "--port <n>",
    help: "0: any that is free",
    parse: integerFrom(0, 65535),
    standard: standardOptions.port,
  },
  apiPrefix: { flags: "--api-prefix <path>", help: "in front of every path" },
  tlsKey: { flags: "--ssl-key-file <file>", help: "PEM file of the key for HTTPS" },
  tlsCertificate: { flags: "--ssl-cert-file <file>", help: "PEM file of its certificate" },
  staticFolder: { flags: "--path <dir>", help: "serve the files of a folder in the place of the built-in page" },
  ui: {
    flags: "--ui",
    help: "a page to chat with at /",
    aliases: ["--webui"],
    standard: standardOptions.ui,
    negated: "no page at /",
    negatedAliases: ["--no-webui"],
  },
  slots: { flags: "--slots", help: "offer GET /slots", standard: standardOptions.slots, negated: "do not" },
  slotFolder: { flags: "--slot-save-path <dir>", help: "folder of what /slots/N?action=save writes" },
  responseStore: {
    flags: "--response-store <n>",
    help: "responses that are kept in memory, an hour each, for previous_response_id",
    parse: integerFrom(0, 1_000_000),
    standard: standardOptions.responseStore,
  },
} as const satisfies OptionRows;

/** -1 is llama.cpp's server's word for never. */
function sleepSeconds(text: string): number {
  return text === "-1" ? 0 : numberFrom(0.001, 2 ** 31 / 1000)(text);
}

const limitRows = {
  parallel: {
    flags: "--parallel <n>",
    aliases: ["-np"],
    help: "requests that run at once; -1: what half of the free memory holds, at most 8 (default: -1)",
    parse: integerFrom(-1, 4096),
  },
  queueSize: {
    flags: "--queue-size <n>",
    help: "requests that wait; more get 503",
    parse: integerFrom(0),
    standard: standardOptions.queueSize,
  },
  queueTimeout: {
    flags: "--queue-timeout <s>",
    help: "seconds that a request waits at most",
    parse: seconds,
    standard: standardOptions.queueTimeout,
  },
  requestTimeout: {
    flags: "--timeout <s>",
    aliases: ["-to"],
    help: "seconds that a request takes at most",
    parse: seconds,
    standard: standardOptions.requestTimeout,
  },
  drainTimeout: {
    flags: "--drain-timeout <s>",
    help: "seconds for running requests when the server is told to end",
    parse: seconds,
    standard: standardOptions.drainTimeout,
  },
  pingInterval: {
    flags: "--sse-ping-interval <s>",
    help: "seconds of silence after which a stream gets a comment; 0: never",
    parse: pingSeconds,
    standard: standardOptions.pingInterval,
  },
  promptCacheMiB: {
    flags: "--cache-ram <MiB>",
    aliases: ["-cram"],
    help: "memory for beginnings of prompts that may come again (default: a quarter of what is free, at most 8192)",
    parse: integerFrom(0),
  },
  stepRows: {
    flags: "-b, --batch-size <n>",
    help: "tokens of a step at most",
    parse: stepRows,
    standard: mostRows,
  },
  stepMs: {
    flags: "--itl-target <ms>",
    help: "what a step may take while somebody is answered: bounds what is read of prompts beside it",
    parse: integerFrom(1, 600_000),
    standard: 200,
  },
  sharePrefixCache: {
    flags: "--share-prefix-cache",
    help: "keys find beginnings of each other's prompts, too: quicker, but times tell what others have sent",
  },
  sleepSeconds: {
    flags: "--sleep-idle-seconds <s>",
    help: "seconds without a request after which the model leaves memory, until the next one; -1: never (default: -1)",
    parse: sleepSeconds,
  },
  kvMiB: {
    flags: "--kv-memory <MiB>",
    help: "bound of all keys and values (default: what -np, -c and -cram need)",
    parse: integerFrom(1),
  },
} as const satisfies OptionRows;

const foundAgain = "any request finds any beginning of a prompt again";
const whoMayAsk = "--cors-origins says which pages may ask; they may use what the server has";

/** What llama.cpp's server has and what has no effect here. */
function ignoredGroup() {
  const {
    host: _host,
    parallel: _parallel,
    contextShift: _shift,
    reasoningFormat: _format,
    warmup: _warmup,
    batchSize: _batch,
    ...rows
  } = llamaGroup.rows;
  return groupOf("Ignored", {
    ...rows,
    warmup: { flags: "--warmup", negated: "", ignored: "a server always warms up before it is ready", harmless: true },
    metricsSwitch: { flags: "--metrics", ignored: "" },
    threadsHttp: {
      flags: "--threads-http <n>",
      ignored: "one thread reads requests, another one computes",
      harmless: "-1",
    },
    props: { flags: "--props", ignored: "GET /props is always there; nothing can be changed by it" },
    offline: { flags: "--offline", ignored: "set HF_HUB_OFFLINE=1" },
    cacheReuse: {
      flags: "--cache-reuse <n>",
      ignored: "beginnings are found again, whatever their length",
      harmless: "0",
    },
    cachePrompt: { flags: "--cache-prompt", negated: "", ignored: "requests have cache_prompt", harmless: true },
    cacheIdleSlots: { flags: "--cache-idle-slots", negated: "", ignored: foundAgain, harmless: true },
    slotSimilarity: { flags: "--slot-prompt-similarity <n>", aliases: ["-sps"], ignored: foundAgain },
    checkpoints: { flags: "--ctx-checkpoints <n>", aliases: ["-ctxcp", "--swa-checkpoints"], ignored: foundAgain },
    checkpointStep: { flags: "--checkpoint-min-step <n>", aliases: ["-cms"], ignored: foundAgain },
    prefill: {
      flags: "--prefill-assistant",
      negated: "",
      ignored: "a last message of the assistant is always gone on with",
      harmless: true,
    },
    escape: { flags: "-e, --escape", negated: "", ignored: "the text of -p is taken as it is", harmless: false },
    projector: {
      flags: "--mmproj-auto",
      negated: "",
      negatedAliases: ["--no-mmproj"],
      ignored: "models here read and write text alone",
      harmless: false,
    },
    logJsonl: { flags: "--log-jsonl", negated: "", ignored: "--log-format json does that", harmless: false },
    corsMethods: { flags: "--cors-methods <names>", ignored: whoMayAsk },
    corsHeaders: { flags: "--cors-headers <names>", ignored: whoMayAsk },
    corsCredentials: { flags: "--cors-credentials", negated: "", ignored: whoMayAsk },
    pageSettings: {
      flags: "--ui-config <json>",
      aliases: ["--webui-config", "--ui-config-file", "--webui-config-file"],
      ignored: "the page keeps its settings in the browser",
    },
  });
}

const serverOptions =
  /^(--host|-a|--metrics|--props|--slots|--offline)\b/; /** What other commands refuse in one line and this one has. */

const oneModel = "a server has one model; start one for each, with --port";

/** Options that would change results and are not there. */
export const serveRefusals: Refusals = {
  ...Object.fromEntries(Object.entries(llamaRefusals).filter(([names]) => !serverOptions.test(names))),
  "--chat-template-kwargs --reasoning-effort -rea --reasoning":
    "requests have chat_template_kwargs and reasoning_effort",
  "--reasoning-budget --reasoning-budget-message": "requests have reasoning_effort and chat_template_kwargs",
  "--reasoning-preserve": "which messages keep what was thought is told by the template",
  "--skip-chat-parsing": "use --reasoning-format none",
  "--grammar --grammar-file -j --json-schema -jf --json-schema-file": "requests have grammar and response_format",
  "-r --reverse-prompt": "requests have stop",
  "--ignore-eos": "requests have ignore_eos",
  "-bf --binary-file -f --file": "use -p TEXT, the system message of chats that have none",
  "--kv-unified-per-slot": "-c is the context of each request",
  "-lcs --lookup-cache-static -lcd --lookup-cache-dynamic -td --threads-draft --spec-type": noDraft,
  "-ctkd --cache-type-k-draft -ctvd --cache-type-v-draft": noDraft,
  "-mmu --image-min-tokens --image-max-tokens --media-path -mv --model-vocoder": textOnly,
  "--models-dir --models-preset --models-max --models-autoload": oneModel,
  "--embd-normalize": "requests have embd_normalize",
  "--reuse-port": "a proxy in front spreads requests over servers",
  "--tools --tools-runtime -ag --agent --mcp-servers-config --mcp-servers-json --ui-mcp-proxy":
    "the server runs no tools: clients do, with what requests call",
};

export const serveGroups = () => ({
  model: modelGroup,
  lora: groupOf("Adapters", {
    ...loraRows,
    loraModules: {
      flags: "--lora-modules <names>",
      help: "the same by the names that requests have for them: NAME=PATH, several with commas; repeatable",
      parse: collectModules,
    },
    loraWaits: {
      flags: "--lora-init-without-apply",
      help: "use none of them until a request or POST /lora-adapters says so",
    },
  }),
  session: groupOf("Context", {
    ...sessionRows,
    contextSize: withHelp(
      sessionRows.contextSize,
      "context of one request in tokens, never divided by -np; 0: what the model was trained for (default: 2048)",
    ),
  }),
  answer: groupOf("Answers", answerRows),
  sampling: samplingGroup(),
  embeddings: groupOf("Embeddings", embeddingRows),
  network: groupOf("Network", networkRows),
  limits: groupOf("Limits", limitRows),
  presets: groupOf("Presets", presetRows),
  security: groupOf("Security", securityRows),
  monitoring: groupOf("Monitoring", monitoringRows),
  batches: groupOf("Batches", {
    batchFolder: {
      flags: "--batch-dir <dir>",
      help: "offer /v1/files and /v1/batches, and keep them there (default: they are not there)",
    },
    ...workerRows,
  }),
  output: groupOf("Output", {
    json: withHelp(outputRows.json, "print one JSON object on stdout when the server is ready"),
    quiet: outputRows.quiet,
  }),
  ignored: ignoredGroup(),
});

export type ServeValues = GroupValues<ReturnType<typeof serveGroups>>;

/** What the rows mean for the server. */
export function readServe(values: ServeValues, modelPath: string): ServeOptions {
  const { model, lora, session, answer, sampling, embeddings, network, limits, batches, security, monitoring } = values;
  const { path: _path, hubModel: _model, hubFile: _file, aliases, tags, ...load } = model;
  const { samplingSeq, seed, ...parameters } = sampling;
  const { tlsKey, tlsCertificate, ...ports } = network;
  const { parallel, promptCacheMiB, kvMiB, ...times } = limits;
  const { responseCacheMiB, ...watching } = monitoring;
  return {
    ...standardOptions,
    ...given({
      ...session,
      ...answer,
      ...embeddings,
      ...ports,
      ...times,
      ...security,
      ...watching,
      aliases,
      tags,
      batchFolder: batches.batchFolder,
    }),
    modelPath,
    adapters: [...adapterChoices(lora), ...(lora.loraModules ?? [])].map((choice) => ({
      ...choice,
      scaledByWeights: lora.loraByWeights,
    })),
    adaptersWait: lora.loraWaits ?? false,
    load: given(load),
    sampling: given({
      ...parameters,
      samplers: parameters.samplers ?? samplingSeq,
      seed: seed === -1 ? undefined : seed,
    }),
    responseCacheBytes: responseCacheMiB * MiB,
    parallel: parallel === undefined || parallel < 1 ? undefined : parallel,
    promptCacheBytes: promptCacheMiB === undefined ? undefined : promptCacheMiB * MiB,
    kvBytes: kvMiB === undefined ? undefined : kvMiB * MiB,
    tls:
      tlsKey === undefined || tlsCertificate === undefined ? undefined : { keyFile: tlsKey, certFile: tlsCertificate },
  };
}

/** Without what was left out, so that it does not take the place of a default. */
function given<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}

/** What cannot be together, as the end of a usage error. */
export function findServeProblem({ network, sampling, security, batches }: ServeValues): string | undefined {
  if ((network.tlsKey === undefined) !== (network.tlsCertificate === undefined)) {
    return "--ssl-key-file and --ssl-cert-file need each other";
  }
  if (sampling.samplers !== undefined && sampling.samplingSeq !== undefined) {
    return "expected one of --samplers and --sampling-seq, not both";
  }
  const problem =
    findRedisProblem("--redis", security.redis, batches.redisQueue) ??
    findRedisProblem("--redis-worker", batches.redisWorker, batches.redisQueue);
  if (problem !== undefined) {
    return problem;
  }
  return findExposure({ ...standardGuards, ...given(security), hosts: network.hosts ?? standardOptions.hosts });
}
