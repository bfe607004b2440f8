// Ollama's interface, thin: what its clients probe, chats and texts, as lines of JSON.

import { createHash } from "node:crypto";
import type { FormatMessage } from "../../chat/format.js";
import type { Plain } from "../../chat/template/template.js";
import { packageVersion } from "../../system/package.js";
import type { Register, ServerContext } from "../context.js";
import { type ApiError, invalid, unsupported } from "../errors.js";
import { Fields } from "../fields.js";
import {
  type Answer,
  type ChatPrompt,
  collectAnswers,
  type EmbedPrompt,
  type GrammarRequest,
  type RunContext,
  type TextEvent,
  type TextPrompt,
  type TextRequest,
  type Timings,
  type Usage,
} from "../request.js";
import type { Framing } from "../sse.js";
import { readAdapters } from "./adapters.js";
import { checkTurns, missing } from "./chat.js";
import { type Embedded, embed, embedRequest, maxInputs, numbersOf } from "./embeddings.js";
import { bodyOf, checkModel, contextOf, nameIgnored, sendMessages } from "./exchange.js";
import { readMaxTokens, readSampling, readStop, readTexts, schemaGrammar } from "./parameters.js";

const maxMessages = 4096;
const maxTools = 128;
const maxDimensions = 65536;
const euclidean = 2;
const asTheyAre = -1;
/** Options about how Ollama runs a model, which is not up to a request here. */
const runnerOptions = [
  "num_ctx",
  "num_batch",
  "num_gpu",
  "main_gpu",
  "num_thread",
  "num_keep",
  "use_mmap",
  "use_mlock",
];
const otherOptions = ["numa", "low_vram", "vocab_only", "penalize_newline", "f16_kv", "tfs_z", "truncate", "shift"];

export const register: Register = (app, context) => {
  const config = { errorBody };
  app.get("/api/version", async () => ({ version: packageVersion() }));
  app.get("/api/tags", { config }, async () => ({ models: [describeModel(context)] }));
  app.get("/api/ps", { config }, async () => ({
    models: context.service.isSleeping ? [] : [describeRunning(context)],
  }));
  app.post("/api/show", { config }, async (request, reply) => {
    const body = bodyOf(request);
    checkModel(context, body.text(body.firstOf(["model", "name"])));
    body.ignore("verbose", "system", "template", "options");
    nameIgnored(reply, body);
    return showModel(context);
  });
  for (const [url, kind] of [["/api/chat", "chat"] as const, ["/api/generate", "generate"] as const]) {
    app.post(url, { config }, async (request, reply) => {
      const run = contextOf(request, reply);
      const body = bodyOf(request);
      const call = readCall(context, body, kind);
      nameIgnored(reply, body);
      if (call.text === undefined) {
        return { ...head(context), ...kinds[kind].empty, done: true, done_reason: "load" };
      }
      return call.stream
        ? sendMessages(context, reply, streamAnswer(context, call.text, kind, run), framing)
        : completeAnswer(context, call.text, kind, run);
    });
  }
  app.post("/api/embed", { config }, async (request, reply) => {
    const run = contextOf(request, reply);
    const body = bodyOf(request);
    const call = readEmbed(context, body);
    nameIgnored(reply, body);
    const { vectors, promptTokens, timings } = call === undefined ? nothing : await embed(context, call, run);
    return {
      ...{ model: context.modelId, embeddings: vectors.map(numbersOf) },
      ...{ total_duration: nanoseconds(timings.queueMs + timings.promptMs), load_duration: 0 },
      prompt_eval_count: promptTokens,
    };
  });
  app.post("/api/embeddings", { config }, async (request, reply) => {
    const run = contextOf(request, reply);
    const body = bodyOf(request);
    const call = readEmbeddings(context, body);
    nameIgnored(reply, body);
    const { vectors } = call === undefined ? nothing : await embed(context, call, run);
    return { embedding: numbersOf(vectors[0] ?? new Float32Array()) };
  });
};

export function errorBody({ message }: ApiError): unknown {
  return { error: message };
}

const framing: Framing = {
  contentType: "application/x-ndjson",
  failure: (error) => `${JSON.stringify(errorBody(error))}\n`,
};

type Kind = "chat" | "generate";

function digestOf({ service }: ServerContext): string {
  return createHash("sha256").update(service.fingerprint).digest("hex");
}

function describeModel(context: ServerContext): Record<string, unknown> {
  const { info } = context.service.model;
  return {
    name: context.modelId,
    model: context.modelId,
    modified_at: new Date(context.startedAt * 1000).toISOString(),
    size: info.fileSize,
    digest: digestOf(context),
    details: describeDetails(context),
  };
}

function describeDetails({ service }: ServerContext): object {
  const { info } = service.model;
  const millions = info.parameterCount / 1e6;
  return {
    parent_model: "",
    format: "gguf",
    family: info.architecture,
    families: [info.architecture],
    parameter_size: millions >= 1000 ? `${(millions / 1000).toFixed(1)}B` : `${millions.toFixed(1)}M`,
    quantization_level: info.weightType,
  };
}

const loadedUntil = new Date(Date.UTC(2318, 0, 1)).toISOString(); // as Ollama writes "for ever"

function describeRunning(context: ServerContext): object {
  const { modified_at: _, ...model } = describeModel(context);
  return { ...model, expires_at: loadedUntil, size_vram: 0, context_length: context.service.contextSize };
}

function showModel(context: ServerContext): object {
  const { info } = context.service.model;
  const family = info.architecture;
  return {
    license: "",
    modelfile: "",
    parameters: "",
    template: info.chatTemplate ?? "",
    details: describeDetails(context),
    model_info: {
      "general.architecture": family,
      "general.parameter_count": info.parameterCount,
      [`${family}.context_length`]: context.service.contextSize,
      [`${family}.embedding_length`]: info.embeddingLength,
      [`${family}.block_count`]: info.blockCount,
    },
    capabilities: context.service.embeddings === undefined ? ["completion", "tools"] : ["embedding"],
    modified_at: new Date(context.startedAt * 1000).toISOString(),
  };
}

/** Without a text there is nothing to answer: such requests ask for the model to be loaded. */
function readCall(context: ServerContext, body: Fields, kind: Kind): { text?: TextRequest; stream: boolean } {
  checkModel(context, body.text("model"));
  const options = body.object("options") ?? new Fields({}, "options");
  options.ignore(...runnerOptions, ...otherOptions);
  body.ignore("keep_alive", "context", "truncate", "shift");
  const think = body.value("think");
  if (think !== undefined && typeof think !== "boolean" && typeof think !== "string") {
    throw invalid("think", "expected true, false or how much");
  }
  const prompt = kind === "chat" ? readChat(body) : readText(body);
  const grammar = readAnswerFormat(body);
  const stream = body.boolean("stream") ?? true;
  if (prompt === undefined) {
    return { stream };
  }
  const thought = typeof think === "boolean" ? { thinking: think } : {};
  const effort = typeof think === "string" ? { variables: { reasoning_effort: think } } : {};
  return {
    stream,
    text: {
      route: `/api/${kind}`,
      prompt: prompt.kind === "chat" ? { ...prompt, ...thought, ...effort } : prompt,
      n: 1,
      maxTokens: readMaxTokens(options, ["num_predict"]),
      sampling: { ...readSampling(options, context.service.model.tokenizer), logprobs: 0 },
      ignoreEos: false,
      stop: readStop(options),
      ...(grammar === undefined ? {} : { grammar }),
      ...readAdapters(context, body),
      background: false,
      cacheSalt: "",
      cachePrompt: true,
      wantsProgress: false,
    },
  };
}

/** "json", or a schema. */
function readAnswerFormat(body: Fields): GrammarRequest | undefined {
  const format = body.value("format");
  if (format === undefined || format === "") {
    return undefined;
  }
  return schemaGrammar("format", format === "json" ? { type: "object" } : format).grammar;
}

/** What a request without inputs gets, which asks for the model to be loaded. */
const nothing: Embedded = {
  ...{ vectors: [], dimensions: 0, promptTokens: 0 },
  timings: { queueMs: 0, promptMs: 0, promptTokens: 0, generateMs: 0, generatedTokens: 0 },
};

/** Texts whose vectors have the length 1; they are cut where they are too long, unless that is forbidden. */
function readEmbed(context: ServerContext, body: Fields): TextRequest<EmbedPrompt> | undefined {
  readRunner(context, body);
  const dimensions = body.integer("dimensions", { min: 0, max: maxDimensions }) ?? 0;
  const truncate = body.boolean("truncate") ?? true;
  const value = body.value("input");
  const texts = typeof value === "string" ? [value] : (readTexts(body, "input", { max: maxInputs }) ?? []);
  const isList = typeof value !== "string";
  return texts.length === 0 || value === ""
    ? undefined
    : embedRequest("/api/embed", false, {
        ...{
          kind: "embed",
          inputs: texts.map((text, i) => ({ parts: [text], path: isList ? `input[${i}]` : "input" })),
        },
        ...{ normalize: euclidean, truncate, parseSpecial: false, needsOneVector: true },
        ...(dimensions === 0 ? {} : { dimensions }),
      });
}

/** The older route: one text, whose vector is as the model gives it. */
function readEmbeddings(context: ServerContext, body: Fields): TextRequest<EmbedPrompt> | undefined {
  readRunner(context, body);
  const prompt = body.text("prompt") ?? "";
  const inputs = [{ parts: [prompt], path: "prompt" }];
  const form = { normalize: asTheyAre, truncate: true, parseSpecial: false, needsOneVector: true };
  return prompt === "" ? undefined : embedRequest("/api/embeddings", false, { kind: "embed", inputs, ...form });
}

/** What Ollama's requests say of the model and how it is to run. */
function readRunner(context: ServerContext, body: Fields): void {
  checkModel(context, body.text("model"));
  const options = body.object("options") ?? new Fields({}, "options");
  options.ignore(...runnerOptions, ...otherOptions);
  body.ignore("keep_alive");
}

function chatOf(messages: readonly FormatMessage[], tools: readonly Plain[]): ChatPrompt {
  const toolChoice = { mode: tools.length > 0 ? "auto" : "none" } as const;
  return { kind: "chat", messages, tools, toolChoice, parallelToolCalls: true, variables: {} };
}

function readChat(body: Fields): ChatPrompt | undefined {
  const messages = (body.objects("messages", { max: maxMessages }) ?? []).map(readMessage);
  const tools = (body.list("tools", { max: maxTools }) ?? []) as readonly Plain[];
  checkTurns(messages, "messages");
  return messages.length === 0 ? undefined : chatOf(messages, tools);
}

function readMessage(message: Fields): FormatMessage {
  refuseImages(message);
  const role = message.choice("role", ["system", "user", "assistant", "tool"]) ?? missing(message, "role");
  const thinking = message.text("thinking");
  const name = message.text(message.firstOf(["tool_name", "name"]), { maxLength: 256 });
  const callId = message.text("tool_call_id", { maxLength: 256 });
  const calls = message.objects("tool_calls", { max: maxTools })?.map((call) => {
    const called = call.object("function") ?? missing(call, "function");
    const given = (called.plain("arguments") ?? {}) as { [key: string]: Plain };
    called.ignore("index");
    call.ignore("type");
    const id = call.text("id", { maxLength: 256 });
    const written = { name: called.text("name", { maxLength: 256 }) ?? missing(called, "name"), arguments: given };
    return { ...(id === undefined ? {} : { id }), type: "function" as const, function: written };
  });
  const hasCalls = calls !== undefined && calls.length > 0;
  return {
    role,
    content: message.text("content") ?? (hasCalls ? null : ""),
    ...(hasCalls ? { tool_calls: calls } : {}),
    ...(name === undefined ? {} : { name }),
    ...(callId === undefined ? {} : { tool_call_id: callId }),
    ...(thinking === undefined ? {} : { reasoning_content: thinking }),
  };
}

function readText(body: Fields): ChatPrompt | TextPrompt | undefined {
  refuseImages(body);
  if (body.text("suffix")) {
    throw unsupported("suffix", "the model has no tokens to fill in a middle");
  }
  if (body.text("template")) {
    throw unsupported("template", "the chat template is the server's; use raw: true");
  }
  const prompt = body.text("prompt") ?? "";
  const system = body.text("system") ?? "";
  const isRaw = body.boolean("raw") ?? false;
  if (prompt === "") {
    return undefined;
  }
  if (isRaw) {
    return { kind: "text", parts: [prompt], parseSpecial: true, addsSpecial: true };
  }
  return chatOf(
    [...(system === "" ? [] : [{ role: "system", content: system }]), { role: "user", content: prompt }],
    [],
  );
}

function refuseImages(fields: Fields): void {
  if ((fields.list("images") ?? []).length > 0) {
    throw unsupported(fields.pathOf("images"), "the model reads no images");
  }
}

function head(context: ServerContext): object {
  return { model: context.modelId, created_at: new Date().toISOString() };
}

interface Said {
  text: string;
  thinking: string;
  calls: Answer["calls"];
}

/** How the two routes name what is said. */
const kinds = {
  chat: {
    empty: { message: { role: "assistant", content: "" } },
    write: ({ text, thinking, calls }: Said) => ({
      message: {
        role: "assistant",
        content: text,
        ...(thinking === "" ? {} : { thinking }),
        ...(calls.length === 0 ? {} : { tool_calls: calls.map(writeCall) }),
      },
    }),
  },
  generate: {
    empty: { response: "" },
    write: ({ text, thinking }: Said) => ({ response: text, ...(thinking === "" ? {} : { thinking }) }),
  },
};

function writeCall({ name, arguments: written }: Answer["calls"][number], index: number): object {
  return { function: { index, name, arguments: readArguments(written) } };
}

/** The arguments of a call that was cut are none. */
function readArguments(written: string): unknown {
  try {
    return JSON.parse(written);
  } catch {
    return {};
  }
}

async function completeAnswer(context: ServerContext, text: TextRequest, kind: Kind, run: RunContext): Promise<object> {
  const { answers, usage, timings } = await collectAnswers(context.run(text, run));
  const [answer] = answers;
  if (answer === undefined) {
    throw new Error("a request without an answer");
  }
  return { ...head(context), ...kinds[kind].write(answer), ...describeEnd(answer.finish, usage, timings) };
}

function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6);
}

/** Times are in nanoseconds. */
function describeEnd(finish: Answer["finish"], usage: Usage, timings: Timings): object {
  return {
    done: true,
    done_reason: finish === "length" ? "length" : "stop",
    total_duration: nanoseconds(timings.queueMs + timings.promptMs + timings.generateMs),
    load_duration: 0,
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: nanoseconds(timings.promptMs),
    eval_count: usage.completionTokens,
    eval_duration: nanoseconds(timings.generateMs),
  };
}

async function* streamAnswer(
  context: ServerContext,
  text: TextRequest,
  kind: Kind,
  run: RunContext,
): AsyncGenerator<string> {
  const calls: Answer["calls"] = [];
  let finish: Answer["finish"] = "stop";
  const line = (value: object) => `${JSON.stringify({ ...head(context), ...value })}\n`;
  for await (const event of context.run(text, run)) {
    switch (event.kind) {
      case "delta": {
        const said = readDelta(event, calls);
        if (said.text + said.thinking !== "") {
          yield line({ ...kinds[kind].write({ ...said, calls: [] }), done: false });
        }
        break;
      }
      case "finish":
        finish = event.finish;
        if (calls.length > 0) {
          yield line({ ...kinds[kind].write({ text: "", thinking: "", calls }), done: false });
        }
        break;
      case "end":
        yield line({ ...kinds[kind].empty, ...describeEnd(finish, event.usage, event.timings) });
    }
  }
}

/** Calls are told whole, so they are put aside. */
function readDelta({ pieces }: Extract<TextEvent, { kind: "delta" }>, calls: Answer["calls"]): Omit<Said, "calls"> {
  const said = { text: "", thinking: "" };
  for (const piece of pieces) {
    if (piece.kind === "call") {
      calls[piece.index] = { name: piece.name, arguments: "" };
    } else if (piece.kind === "arguments") {
      const call = calls[piece.index];
      if (call !== undefined) {
        call.arguments += piece.text;
      }
    } else {
      said[piece.kind] += piece.text;
    }
  }
  return said;
}
