// POST /v1/messages: Anthropic's interface.

import { randomUUID } from "node:crypto";
import type { FormatMessage } from "../../chat/format.js";
import type { Plain } from "../../chat/template/template.js";
import type { Register, ServerContext } from "../context.js";
import { type ApiError, type ErrorType, invalid, unsupported } from "../errors.js";
import { describe, type Fields } from "../fields.js";
import {
  type Answer,
  type ChatPrompt,
  collectAnswers,
  type FinishDetail,
  type RunContext,
  type TextEvent,
  type TextRequest,
  type ToolChoice,
  type Usage,
} from "../request.js";
import { type Framing, sse } from "../sse.js";
import { checkTurns, missing } from "./chat.js";
import { bodyOf, checkModel, contextOf, nameIgnored, sendMessages } from "./exchange.js";
import { readFormat, readMaxTokens, readRunning, readSampling, readStop } from "./parameters.js";
import { type AnswerPart, type PartEvent, PartReader, partsOf } from "./parts.js";

const standardMaxTokens = 4096;
const maxMessages = 4096;
const maxTools = 128;

export const register: Register = (app, context) => {
  const config = { errorBody };
  app.post("/v1/messages", { config }, async (request, reply) => {
    const run = contextOf(request, reply);
    const body = bodyOf(request);
    const call = readCall(context, body);
    nameIgnored(reply, body);
    return call.stream
      ? sendMessages(context, reply, streamMessage(context, call.text, run), framing)
      : completeMessage(context, call.text, run);
  });
  app.post("/v1/messages/count_tokens", { config }, async (request, reply) => {
    const body = bodyOf(request);
    checkModel(context, body.text("model"));
    const prompt = readPrompt(body);
    nameIgnored(reply, body);
    return { input_tokens: context.service.prompts.prepare(prompt).ids.length };
  });
};

const errorTypes: Readonly<Record<ErrorType, string>> = {
  invalid_request_error: "invalid_request_error",
  exceed_context_size_error: "invalid_request_error",
  authentication_error: "authentication_error",
  permission_error: "permission_error",
  not_found_error: "not_found_error",
  rate_limit_error: "rate_limit_error",
  server_error: "api_error",
  not_supported_error: "api_error",
  unavailable_error: "overloaded_error",
  timeout_error: "timeout_error",
};

export function errorBody(error: ApiError): unknown {
  const type = error.status === 413 ? "request_too_large" : errorTypes[error.type];
  return { type: "error", error: { type, message: error.message } };
}

const framing: Framing = {
  contentType: "text/event-stream; charset=utf-8",
  ping: sse({ type: "ping" }, "ping"),
  failure: (error) => sse(errorBody(error), "error"),
};

function readCall(context: ServerContext, body: Fields): { text: TextRequest; stream: boolean } {
  checkModel(context, body.text("model"));
  body.ignore("metadata", "container", "mcp_servers", "context_management");
  const config = body.object("output_config");
  config?.ignore("effort");
  const [format] = readFormat(config?.object("format") ?? body.object("output_format"));
  return {
    stream: body.boolean("stream") ?? false,
    text: {
      route: "/v1/messages",
      prompt: readPrompt(body),
      n: 1,
      maxTokens: readMaxTokens(body, ["max_tokens"], standardMaxTokens),
      sampling: { ...readSampling(body, context.service.model.tokenizer), logprobs: 0 },
      stop: readStop(body, "stop_sequences"),
      ...(format === undefined ? {} : { grammar: format.grammar }),
      ...readRunning(context, body),
    },
  };
}

function readPrompt(body: Fields): ChatPrompt {
  const system = readSystem(body);
  const given = body.objects("messages", { min: 1, max: maxMessages });
  if (given === undefined) {
    throw invalid("messages", "expected a list of messages, got nothing");
  }
  const messages = given.flatMap(readMessage);
  checkTurns(messages, "messages");
  const thinking = body.object("thinking");
  const mode = thinking?.choice("type", ["enabled", "disabled", "adaptive"]);
  thinking?.ignore("budget_tokens", "display");
  const choice = body.object("tool_choice");
  const tools = (body.objects("tools", { max: maxTools }) ?? []).map(readTool);
  return {
    kind: "chat",
    messages: [...system, ...messages],
    tools,
    toolChoice: readToolChoice(choice, tools.length > 0),
    parallelToolCalls: !(choice?.boolean("disable_parallel_tool_use") ?? false),
    variables: {},
    ...(mode === undefined || mode === "adaptive" ? {} : { thinking: mode === "enabled" }),
  };
}

function readSystem(body: Fields): FormatMessage[] {
  const value = body.value("system");
  const text = Array.isArray(value)
    ? (body.objects("system") ?? []).map((block) => readTextBlock(block)).join("\n")
    : (body.text("system") ?? "");
  return text === "" ? [] : [{ role: "system", content: text }];
}

function readTextBlock(block: Fields): string {
  const type = block.text("type");
  if (type !== "text") {
    throw unsupported(block.pathOf("type"), `expected blocks of the type text, got ${describe(type)}`);
  }
  block.ignore("cache_control", "citations");
  return block.text("text") ?? missing(block, "text");
}

/** Results of tools are messages of their own, before what the user says beside them. */
function readMessage(message: Fields): FormatMessage[] {
  const role = message.choice("role", ["user", "assistant", "system"]) ?? missing(message, "role");
  const value = message.value("content");
  if (!Array.isArray(value)) {
    return [{ role, content: message.text("content") ?? missing(message, "content") }];
  }
  const blocks = message.objects("content") ?? [];
  return role === "assistant" ? [readAnswer(blocks)] : readTurn(role, blocks);
}

function readTurn(role: string, blocks: readonly Fields[]): FormatMessage[] {
  const results: FormatMessage[] = [];
  const texts: string[] = [];
  for (const block of blocks) {
    if (block.text("type") === "tool_result") {
      block.ignore("is_error", "cache_control");
      const id = block.text("tool_use_id", { maxLength: 256 }) ?? missing(block, "tool_use_id");
      results.push({ role: "tool", tool_call_id: id, content: readResult(block) });
    } else {
      texts.push(readTextBlock(block));
    }
  }
  const said = texts.length > 0 || results.length === 0 ? [{ role, content: texts.join("\n") }] : [];
  return [...results, ...said];
}

function readResult(block: Fields): string {
  const value = block.value("content");
  return Array.isArray(value)
    ? (block.objects("content") ?? []).map((part) => readTextBlock(part)).join("\n")
    : (block.text("content") ?? "");
}

function readAnswer(blocks: readonly Fields[]): FormatMessage {
  const texts: string[] = [];
  const thoughts: string[] = [];
  const calls: NonNullable<FormatMessage["tool_calls"]>[number][] = [];
  for (const block of blocks) {
    switch (block.text("type")) {
      case "thinking":
        block.ignore("signature");
        thoughts.push(block.text("thinking") ?? missing(block, "thinking"));
        break;
      case "redacted_thinking":
        block.ignore("data");
        break;
      case "tool_use": {
        const id = block.text("id", { maxLength: 256 }) ?? missing(block, "id");
        const name = block.text("name", { maxLength: 256 }) ?? missing(block, "name");
        block.ignore("cache_control", "caller");
        const input = (block.plain("input") ?? {}) as { [key: string]: Plain };
        calls.push({ id, type: "function", function: { name, arguments: input } });
        break;
      }
      default:
        texts.push(readTextBlock(block));
    }
  }
  return {
    role: "assistant",
    content: texts.length === 0 && calls.length > 0 ? null : texts.join(""),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
    ...(thoughts.length === 0 ? {} : { reasoning_content: thoughts.join("\n") }),
  };
}

function readTool(tool: Fields): Plain {
  const type = tool.text("type") ?? "custom";
  if (type !== "custom") {
    throw unsupported(tool.pathOf("type"), `expected tools of the type custom, got ${describe(type)}`);
  }
  tool.ignore("cache_control", "input_examples", "eager_input_streaming");
  const description = tool.text("description");
  const strict = tool.boolean("strict");
  const schema = tool.plain("input_schema") as Plain | undefined;
  return {
    type: "function",
    function: {
      name: tool.text("name") ?? missing(tool, "name"),
      ...(description === undefined ? {} : { description }),
      ...(schema === undefined ? {} : { parameters: schema }),
      ...(strict === undefined ? {} : { strict }),
    },
  };
}

function readToolChoice(choice: Fields | undefined, hasTools: boolean): ToolChoice {
  switch (choice?.choice("type", ["auto", "any", "tool", "none"])) {
    case "any":
      return { mode: "required" };
    case "none":
      return { mode: "none" };
    case "tool":
      return { mode: "allowed", names: [choice.text("name") ?? missing(choice, "name")], required: true };
    default:
      return { mode: hasTools ? "auto" : "none" };
  }
}

async function completeMessage(context: ServerContext, text: TextRequest, run: RunContext): Promise<object> {
  const { answers, usage } = await collectAnswers(context.run(text, run));
  const [answer] = answers;
  if (answer === undefined) {
    throw new Error("a request without an answer");
  }
  return {
    ...head(context),
    content: partsOf(answer).map((part) => ({ ...beginBlock(part), ...wholeBlock(part) })),
    ...describeStop(answer),
    usage: usageOf(usage),
  };
}

function head(context: ServerContext): object {
  return { id: `msg_${newId()}`, type: "message", role: "assistant", model: context.modelId };
}

function newId(): string {
  return randomUUID().replaceAll("-", "");
}

function beginBlock({ kind, name }: AnswerPart): object {
  switch (kind) {
    case "thinking":
      return { type: "thinking", thinking: "", signature: "" };
    case "text":
      return { type: "text", text: "" };
    case "call":
      return { type: "tool_use", id: `toolu_${newId()}`, name, input: {} };
  }
}

function wholeBlock({ kind, text }: AnswerPart): object {
  return kind === "call" ? { input: readInput(text) } : { [kind]: text };
}

/** The arguments of a call that was cut are none. */
function readInput(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function describeStop({ finish, detail }: Pick<Answer, "finish" | "detail">): object {
  return { stop_reason: stopReason(finish, detail), stop_sequence: detail.stopString ?? null };
}

function stopReason(finish: Answer["finish"], { type }: FinishDetail): string {
  switch (finish) {
    case "tool_calls":
      return "tool_use";
    case "length":
      return "max_tokens";
    case "content_filter":
      return "refusal";
    case "stop":
      return type === "word" ? "stop_sequence" : "end_turn";
  }
}

/** What was in the cache is not counted twice. */
function usageOf({ promptTokens, cachedTokens, completionTokens }: Usage): object {
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_read_input_tokens: cachedTokens,
    cache_creation_input_tokens: 0,
    output_tokens: completionTokens,
  };
}

async function* streamMessage(context: ServerContext, text: TextRequest, run: RunContext): AsyncGenerator<string> {
  const stream = new MessageStream(context);
  for await (const event of context.run(text, run)) {
    const messages = stream.write(event);
    if (messages !== "") {
      yield messages;
    }
  }
}

class MessageStream {
  readonly #head: object;
  readonly #parts = new PartReader();
  #stop: object = {};

  constructor(context: ServerContext) {
    this.#head = head(context);
  }

  write(event: TextEvent): string {
    switch (event.kind) {
      case "started": {
        const { promptTokens, cachedTokens } = event;
        const usage = usageOf({ promptTokens, cachedTokens, completionTokens: 0, reasoningTokens: 0 });
        const message = { ...this.#head, content: [], stop_reason: null, stop_sequence: null, usage };
        return send("message_start", { message });
      }
      case "delta":
        return this.#parts.push(event.pieces).map(writePart).join("");
      case "finish":
        this.#stop = describeStop(event);
        return this.#parts.finish().map(writePart).join("");
      case "end":
        return send("message_delta", { delta: this.#stop, usage: usageOf(event.usage) }) + send("message_stop", {});
      default:
        return "";
    }
  }
}

function send(type: string, fields: object): string {
  return sse({ type, ...fields }, type);
}

function writePart(event: PartEvent): string {
  const { part } = event;
  const index = part.place;
  switch (event.kind) {
    case "begin":
      return send("content_block_start", { index, content_block: beginBlock(part) });
    case "add":
      return send("content_block_delta", { index, delta: deltaOf(part, event.text) });
    case "end": {
      // Clients keep the signature to send it back; here nothing is signed.
      const signature =
        part.kind === "thinking"
          ? send("content_block_delta", { index, delta: { type: "signature_delta", signature: "" } })
          : "";
      return signature + send("content_block_stop", { index });
    }
  }
}

function deltaOf({ kind }: AnswerPart, text: string): object {
  switch (kind) {
    case "thinking":
      return { type: "thinking_delta", thinking: text };
    case "text":
      return { type: "text_delta", text };
    case "call":
      return { type: "input_json_delta", partial_json: text };
  }
}
