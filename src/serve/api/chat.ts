// POST /v1/chat/completions: OpenAI's chats.

import { randomUUID } from "node:crypto";
import type { FormatMessage, ToolCall } from "../../chat/format.js";
import type { Plain } from "../../chat/template/template.js";
import type { Register, ServerContext } from "../context.js";
import { invalid, unsupported } from "../errors.js";
import { describe, Fields } from "../fields.js";
import {
  type Answer,
  type AnswerPiece,
  type ChatPrompt,
  collectAnswers,
  type RunContext,
  type TextEvent,
  type TextRequest,
  type TextResult,
  type Timings,
  type TokenLogprob,
  type ToolChoice,
  type Usage,
} from "../request.js";
import { sse } from "../sse.js";
import { bodyOf, checkModel, contextOf, nameIgnored, sendMessages } from "./exchange.js";
import { readChoices, readGrammar, readMaxTokens, readRunning, readSampling, readStop } from "./parameters.js";

const routes = ["/v1/chat/completions", "/chat/completions"];
const maxMessages = 4096;

export const register: Register = (app, context) => {
  for (const url of routes) {
    app.post(url, async (request, reply) => {
      const run = contextOf(request, reply);
      const body = bodyOf(request);
      const chat = readChat(context, body);
      nameIgnored(reply, body);
      return chat.stream
        ? sendMessages(context, reply, streamChat(context, chat, run))
        : completeChat(context, chat, run);
    });
  }
};

/** A request as OpenAI's interface has it, read. */
interface ChatCall {
  text: TextRequest;
  stream: boolean;
  /** The stream ends with what it cost. */
  includesUsage: boolean;
  /** Each event of a stream with times. */
  timingsPerToken: boolean;
  /** The request has `functions`, as before there were tools: so the answer has a `function_call`. */
  hasFunctions: boolean;
}

function readChat(context: ServerContext, body: Fields): ChatCall {
  const { service, options } = context;
  checkModel(context, body.text("model"));
  const logprobs = readLogprobs(body);
  const streamOptions = body.object("stream_options");
  streamOptions?.ignore("include_obfuscation"); // it changes nothing of the answer
  checkTextOnly(body);
  body.ignore("store", "metadata", "user", "safety_identifier", "prompt_cache_key", "verbosity");
  const sampling = readSampling(body, service.model.tokenizer);
  const grammar = readGrammar(body);
  return {
    stream: body.boolean("stream") ?? false,
    includesUsage: streamOptions?.boolean("include_usage") ?? false,
    timingsPerToken: body.boolean("timings_per_token") ?? false,
    hasFunctions: body.has("functions"),
    text: {
      route: "/v1/chat/completions",
      prompt: readPrompt(body),
      n: readChoices(body, options.maxChoices),
      maxTokens: readMaxTokens(body, ["max_completion_tokens", "max_tokens", "n_predict"]),
      sampling: { ...sampling, logprobs },
      stop: readStop(body),
      grammar,
      ...readRunning(context, body),
    },
  };
}

/** An answer that is to be heard, or that knows what was found on the web, cannot be given. */
function checkTextOnly(body: Fields): void {
  const modalities = body.list("modalities", { min: 1, max: 8 }) ?? [];
  if (modalities.some((modality) => modality !== "text")) {
    throw unsupported("modalities", `expected ["text"], got ${JSON.stringify(modalities).slice(0, 100)}`);
  }
  if (body.object("audio") !== undefined) {
    throw unsupported("audio", "answers are text alone");
  }
  if (body.has("web_search_options")) {
    throw unsupported("web_search_options", "nothing is looked up on the web; give the model a tool for that");
  }
}

/** 0: none; else so many beside the chosen token, of which there is always one. */
function readLogprobs(body: Fields): number {
  const wanted = body.boolean("logprobs") ?? false;
  const top = body.integer("top_logprobs", { min: 0, max: 20 });
  if (top !== undefined && top > 0 && !wanted) {
    throw invalid("top_logprobs", "it needs logprobs: true");
  }
  return wanted ? Math.max(1, top ?? 0) : 0;
}

export function readPrompt(body: Fields): ChatPrompt {
  const messages = body.objects("messages", { min: 1, max: maxMessages });
  if (messages === undefined) {
    throw invalid("messages", "expected a list of messages, got nothing");
  }
  const read = messages.map(readMessage);
  checkTurns(read, "messages");
  const variables = (body.plain("chat_template_kwargs") ?? {}) as Record<string, Plain>;
  const effort = body.text("reasoning_effort", { maxLength: 32 });
  const enabled = new Fields(variables, "chat_template_kwargs").boolean("enable_thinking");
  const thinking = enabled ?? (effort === "none" ? false : undefined);
  return {
    kind: "chat",
    messages: read,
    ...readTools(body),
    variables: effort === undefined ? variables : { reasoning_effort: effort, ...variables },
    thinking,
  };
}

/** Two answers in a row have nothing that either is the answer to. */
export function checkTurns(messages: readonly FormatMessage[], name: string): void {
  for (const [i, { role }] of messages.entries()) {
    if (role === "assistant" && messages[i + 1]?.role === "assistant") {
      throw invalid(`${name}[${i + 1}].role`, "expected something between two messages of the assistant");
    }
  }
}

const roles = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
  function: "tool",
};

function readMessage(message: Fields): FormatMessage {
  const role = roles[message.choice("role", Object.keys(roles) as (keyof typeof roles)[]) ?? missing(message, "role")];
  const calls = message.objects("tool_calls", { max: 128 })?.map(readCall) ?? readFunctionCall(message);
  message.ignore("id", "annotations", "refusal");
  const name = message.text("name", { maxLength: 256 });
  const callId = message.text("tool_call_id", { maxLength: 256 });
  const reasoning = message.text("reasoning_content");
  const hasCalls = calls !== undefined && calls.length > 0;
  return {
    role,
    content: readContent(message, hasCalls),
    ...(hasCalls ? { tool_calls: calls } : {}),
    ...(name === undefined ? {} : { name }),
    ...(callId === undefined ? {} : { tool_call_id: callId }),
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
  };
}

export function missing(fields: Fields, name: string): never {
  throw invalid(fields.pathOf(name), "expected a value, got nothing");
}

/** A text, or parts that are texts. */
export function readContent(message: Fields, mayBeNull: boolean): string | null {
  const content = message.value("content");
  if (content === undefined) {
    return mayBeNull ? null : missing(message, "content");
  }
  if (!Array.isArray(content)) {
    return message.text("content") ?? null;
  }
  const parts = (message.objects("content") ?? []).map((part) => {
    part.ignore("annotations", "logprobs", "cache_control");
    const type = part.text("type");
    if (type !== "text" && type !== "input_text" && type !== "output_text") {
      throw unsupported(part.pathOf("type"), `expected parts of the type text, got ${describe(type)}`);
    }
    return part.text("text") ?? missing(part, "text");
  });
  return parts.join("");
}

function readCall(call: Fields): ToolCall {
  call.ignore("type", "index");
  const id = call.text("id", { maxLength: 256 });
  return { id, type: "function", function: readCalled(call.object("function") ?? missing(call, "function")) };
}

/** The one call of a message from before there were several. */
function readFunctionCall(message: Fields): ToolCall[] | undefined {
  const called = message.object("function_call");
  return called && [{ type: "function", function: readCalled(called) }];
}

function readCalled(called: Fields): ToolCall["function"] {
  const given = called.value("arguments") ?? "{}";
  const isObject = typeof given === "object" && !Array.isArray(given);
  return {
    name: called.text("name", { maxLength: 256 }) ?? missing(called, "name"),
    arguments: isObject ? (given as { [key: string]: Plain }) : (called.text("arguments") ?? "{}"),
  };
}

function readTools(body: Fields): Pick<ChatPrompt, "tools" | "toolChoice" | "parallelToolCalls"> {
  const functions = body
    .list("functions", { max: 128 })
    ?.map((each) => ({ type: "function", function: each }) as Plain);
  const given = body.list("tools", { max: 128 }) as readonly Plain[] | undefined;
  if (functions !== undefined && given !== undefined) {
    throw invalid("functions", "expected either tools or, as they were called before, functions");
  }
  const tools = given ?? functions ?? [];
  const hasFunctions = functions !== undefined;
  const toolChoice = readToolChoice(body, hasFunctions ? "function_call" : "tool_choice", tools.length > 0);
  // An answer has room for one function_call.
  return { tools, toolChoice, parallelToolCalls: hasFunctions ? false : (body.boolean("parallel_tool_calls") ?? true) };
}

export function readToolChoice(body: Fields, name: string, hasTools: boolean): ToolChoice {
  const value = body.value(name);
  if (value === undefined) {
    return { mode: hasTools ? "auto" : "none" };
  }
  if (typeof value === "string") {
    return { mode: body.choice(name, ["none", "auto", "required"]) ?? "auto" };
  }
  const choice = body.object(name) as Fields;
  // Chats have them within an object, responses beside the type.
  const allowed = choice.text("type") === "allowed_tools" ? (choice.object("allowed_tools") ?? choice) : undefined;
  if (allowed !== undefined) {
    const names = (allowed.objects("tools", { max: 128 }) ?? []).map((tool) => nameOfTool(tool));
    return { mode: "allowed", names, required: allowed.choice("mode", ["auto", "required"]) === "required" };
  }
  return { mode: "allowed", names: [nameOfTool(choice)], required: true };
}

function nameOfTool(tool: Fields): string {
  tool.ignore("type");
  return (tool.object("function") ?? tool).text("name", { maxLength: 64 }) ?? missing(tool, "name");
}

async function completeChat(context: ServerContext, call: ChatCall, run: RunContext): Promise<object> {
  const result = await collectAnswers(context.run(call.text, run));
  return {
    ...head(context, "chat.completion"),
    choices: result.answers.map((answer, index) => ({
      index,
      message: messageOf(call, answer),
      logprobs: logprobsOf(call, answer.logprobs),
      finish_reason: finishOf(call, answer.finish),
    })),
    usage: usageOf(result.usage),
    timings: timingsOf(result),
  };
}

function messageOf({ hasFunctions }: ChatCall, { text, thinking, calls }: Answer): object {
  const toolCalls = calls.map((called) => ({ id: newCallId(), type: "function", function: called }));
  return {
    role: "assistant",
    content: text === "" && calls.length > 0 ? null : text,
    refusal: null,
    ...(calls.length === 0 ? {} : hasFunctions ? { function_call: calls[0] } : { tool_calls: toolCalls }),
    ...(thinking === "" ? {} : { reasoning_content: thinking }),
  };
}

function finishOf({ hasFunctions }: ChatCall, finish: Answer["finish"]): string {
  return hasFunctions && finish === "tool_calls" ? "function_call" : finish;
}

export function newCallId(): string {
  return `call_${randomUUID().replaceAll("-", "")}`;
}

/** What every answer begins with. */
export function head(context: ServerContext, object: string, prefix = "chatcmpl"): Record<string, unknown> {
  return {
    id: `${prefix}-${randomUUID().replaceAll("-", "")}`,
    object,
    created: Math.floor(Date.now() / 1000),
    model: context.modelId,
    system_fingerprint: context.service.fingerprint,
  };
}

export function usageOf({ promptTokens, completionTokens, cachedTokens, reasoningTokens }: Usage): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    completion_tokens_details: { reasoning_tokens: reasoningTokens },
  };
}

/** As llama.cpp's server names them; milliseconds. */
export function timingsOf({ usage, timings }: Pick<TextResult, "usage" | "timings">): object {
  const { promptTokens, promptMs, generatedTokens, generateMs } = timings;
  const each = (ms: number, tokens: number) => (tokens > 0 ? ms / tokens : null);
  const rate = (ms: number, tokens: number) => (ms > 0 ? (1000 * tokens) / ms : null);
  return {
    cache_n: usage.cachedTokens,
    prompt_n: promptTokens,
    prompt_ms: promptMs,
    prompt_per_token_ms: each(promptMs, promptTokens),
    prompt_per_second: rate(promptMs, promptTokens),
    predicted_n: generatedTokens,
    predicted_ms: generateMs,
    predicted_per_token_ms: each(generateMs, generatedTokens),
    predicted_per_second: rate(generateMs, generatedTokens),
  };
}

function logprobsOf({ text }: ChatCall, logprobs: readonly TokenLogprob[]): object | null {
  return (text.sampling.logprobs ?? 0) === 0 ? null : { content: logprobs.map(logprobOf) };
}

export function logprobOf({ text, logprob, bytes, top }: TokenLogprob): object {
  return {
    token: text,
    logprob,
    bytes,
    top_logprobs: top.map((likely) => ({ token: likely.text, logprob: likely.logprob, bytes: likely.bytes })),
  };
}

async function* streamChat(context: ServerContext, call: ChatCall, run: RunContext): AsyncGenerator<string> {
  const stream = new ChatStream(context, call);
  for await (const event of context.run(call.text, run)) {
    const messages = stream.write(event);
    if (messages !== "") {
      yield messages;
    }
  }
  yield sse("[DONE]");
}

/** Writes events as chunks. */
class ChatStream {
  readonly #call: ChatCall;
  readonly #head: Record<string, unknown>;
  readonly #begun = new Set<number>();
  #usage: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 };
  #timings: Timings = { queueMs: 0, promptMs: 0, promptTokens: 0, generateMs: 0, generatedTokens: 0 };
  #firstTokenAt = 0;

  constructor(context: ServerContext, call: ChatCall) {
    this.#call = call;
    this.#head = head(context, "chat.completion.chunk");
  }

  write(event: TextEvent): string {
    switch (event.kind) {
      case "started":
        this.#usage = { ...this.#usage, promptTokens: event.promptTokens, cachedTokens: event.cachedTokens };
        return "";
      case "progress": {
        const { total, cached, processed, timeMs } = event;
        return (
          this.#begin(0) + this.#chunk([], { prompt_progress: { total, cache: cached, processed, time_ms: timeMs } })
        );
      }
      case "delta":
        return this.#begin(event.choice) + this.#delta(event);
      case "finish":
        return (
          this.#begin(event.choice) +
          this.#chunk([
            { index: event.choice, delta: {}, logprobs: null, finish_reason: finishOf(this.#call, event.finish) },
          ])
        );
      case "end":
        return this.#end(event);
      default:
        return "";
    }
  }

  #begin(choice: number): string {
    if (this.#begun.has(choice)) {
      return "";
    }
    this.#begun.add(choice);
    return this.#chunk([
      { index: choice, delta: { role: "assistant", content: null }, logprobs: null, finish_reason: null },
    ]);
  }

  #delta({ choice, pieces, tokens, logprobs }: Extract<TextEvent, { kind: "delta" }>): string {
    this.#firstTokenAt ||= performance.now();
    this.#timings.generatedTokens += tokens.length;
    this.#timings.generateMs = performance.now() - this.#firstTokenAt;
    const deltas: object[] = pieces.map((piece) => deltaOf(this.#call, piece));
    if (deltas.length === 0 && (logprobs.length > 0 || this.#call.timingsPerToken)) {
      deltas.push({ content: "" }); // tokens whose text comes later
    }
    const rest = (i: number) => (i === 0 ? logprobsOf(this.#call, logprobs) : null);
    const timings = this.#call.timingsPerToken
      ? { timings: timingsOf({ usage: this.#usage, timings: this.#timings }) }
      : {};
    return deltas
      .map((delta, i) => this.#chunk([{ index: choice, delta, logprobs: rest(i), finish_reason: null }], timings))
      .join("");
  }

  #end({ usage, timings }: Extract<TextEvent, { kind: "end" }>): string {
    return this.#call.includesUsage
      ? sse({ ...this.#head, choices: [], usage: usageOf(usage), timings: timingsOf({ usage, timings }) })
      : "";
  }

  #chunk(choices: object[], more: object = {}): string {
    const usage = this.#call.includesUsage ? { usage: null } : {};
    return sse({ ...this.#head, choices, ...usage, ...more });
  }
}

function deltaOf({ hasFunctions }: ChatCall, piece: AnswerPiece): object {
  switch (piece.kind) {
    case "text":
      return { content: piece.text };
    case "thinking":
      return { reasoning_content: piece.text };
    case "call": {
      const { index, name } = piece;
      if (hasFunctions) {
        return { function_call: { name, arguments: "" } };
      }
      return { tool_calls: [{ index, id: newCallId(), type: "function", function: { name, arguments: "" } }] };
    }
    case "arguments":
      return hasFunctions
        ? { function_call: { arguments: piece.text } }
        : { tool_calls: [{ index: piece.index, function: { arguments: piece.text } }] };
  }
}
