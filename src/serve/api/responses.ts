// POST /v1/responses: OpenAI's newer interface. What came before is sent along, or kept here if the server does that.

import { randomUUID } from "node:crypto";
import type { FormatMessage } from "../../chat/format.js";
import type { Plain } from "../../chat/template/template.js";
import type { Register, ServerContext } from "../context.js";
import { ApiError, invalid, toApiError, unsupported } from "../errors.js";
import { describe, type Fields } from "../fields.js";
import type {
  AnswerFinish,
  AnswerPiece,
  ChatPrompt,
  RunContext,
  TextEvent,
  TextRequest,
  TokenLogprob,
  Usage,
} from "../request.js";
import { sse } from "../sse.js";
import { checkTurns, logprobOf, missing, newCallId, readContent, readToolChoice } from "./chat.js";
import { bodyOf, checkModel, clientOf, contextOf, nameIgnored, sendMessages } from "./exchange.js";
import { readFormat, readMaxTokens, readRunning, readSampling, readStop, readTexts } from "./parameters.js";
import { type AnswerPart, type PartEvent, PartReader } from "./parts.js";
import { ResponseStore } from "./response-store.js";

const maxItems = 4096;
const maxTools = 128;

export const register: Register = (app, context) => {
  const store = new ResponseStore(context.options.responseStore);
  for (const url of ["/v1/responses", "/responses"]) {
    app.post(url, async (request, reply) => {
      const run = contextOf(request, reply);
      const body = bodyOf(request);
      const call = readCall(context, body, store, run.client.id);
      nameIgnored(reply, body);
      const response = new ResponseWriter(context, call, (messages, id) => {
        if (call.isStored) {
          store.keep(run.client.id, id, messages);
        }
      });
      return call.stream
        ? sendMessages(context, reply, streamResponse(context, call.text, response, run))
        : completeResponse(context, call.text, response, run);
    });
    app.post(`${url}/input_tokens`, async (request, reply) => {
      const body = bodyOf(request);
      checkModel(context, body.text("model"));
      const prompt = readPrompt(body, readEarlier(body, store, clientOf(request).id));
      nameIgnored(reply, body);
      const { ids } = context.service.prompts.prepare(prompt);
      return { object: "response.input_tokens", input_tokens: ids.length };
    });
  }
};

interface ResponseCall {
  text: TextRequest & { prompt: ChatPrompt };
  stream: boolean;
  isStored: boolean;
  /** What the answer repeats of the request. */
  echoed: Record<string, unknown>;
}

function readCall(context: ServerContext, body: Fields, store: ResponseStore, client: string): ResponseCall {
  checkModel(context, body.text("model"));
  if (body.boolean("background") ?? false) {
    throw unsupported("background", "answers are not computed in the background; stream them");
  }
  const prompt = readPrompt(body, readEarlier(body, store, client));
  const [format] = readFormat(body.object("text")?.object("format"));
  body.object("text")?.ignore("verbosity");
  const sampling = readSampling(body, context.service.model.tokenizer);
  const logprobs = readLogprobs(body);
  const maxTokens = readMaxTokens(body, ["max_output_tokens"]);
  body.ignore("metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention");
  body.ignore("stream_options", "max_tool_calls", "truncation");
  return {
    stream: body.boolean("stream") ?? false,
    isStored: (body.boolean("store") ?? true) && store.isOpen,
    text: {
      route: "/v1/responses",
      prompt,
      n: 1,
      maxTokens,
      sampling: { ...sampling, logprobs },
      stop: readStop(body),
      ...(format === undefined ? {} : { grammar: format.grammar }),
      ...readRunning(context, body),
    },
    echoed: {
      instructions: body.text("instructions") ?? null,
      max_output_tokens: maxTokens ?? null,
      metadata: body.value("metadata") ?? {},
      parallel_tool_calls: prompt.parallelToolCalls,
      previous_response_id: body.text("previous_response_id") ?? null,
      reasoning: body.value("reasoning") ?? { effort: null, summary: null },
      service_tier: "default",
      store: (body.boolean("store") ?? true) && store.isOpen,
      temperature: sampling.temperature ?? context.options.sampling.temperature ?? 0.8,
      text: body.value("text") ?? { format: { type: "text" } },
      tool_choice: body.value("tool_choice") ?? "auto",
      tools: body.value("tools") ?? [],
      top_logprobs: body.value("top_logprobs") ?? 0,
      top_p: sampling.topP ?? context.options.sampling.topP ?? 0.95,
      truncation: "disabled",
      user: null,
    },
  };
}

/** 0: none; else so many of the likeliest beside the chosen token, of which there is always one. */
function readLogprobs(body: Fields): number {
  const top = body.integer("top_logprobs", { min: 0, max: 20 }) ?? 0;
  const included = readTexts(body, "include", { max: 64, maxBytes: 256 }) ?? [];
  return included.includes("message.output_text.logprobs") ? Math.max(1, top) : top;
}

/** The messages of the response that this one goes on from. */
function readEarlier(body: Fields, store: ResponseStore, client: string): readonly FormatMessage[] {
  const id = body.text("previous_response_id", { maxLength: 256 });
  if (id === undefined) {
    return [];
  }
  if (!store.isOpen) {
    throw unsupported(
      "previous_response_id",
      "this server keeps no responses; send the earlier items along, or start it with --response-store",
    );
  }
  const messages = store.find(client, id);
  if (messages === undefined) {
    throw new ApiError("not_found_error", "previous_response_id: there is no such response, or no longer", {
      ...{ code: "previous_response_not_found", param: "previous_response_id", shouldRetry: false },
    });
  }
  return messages;
}

function readPrompt(body: Fields, earlier: readonly FormatMessage[]): ChatPrompt {
  const instructions = body.text("instructions");
  const input = body.value("input");
  const given = Array.isArray(input)
    ? readItems(body.objects("input", { max: maxItems }) ?? [])
    : [{ role: "user", content: body.text("input") ?? missing(body, "input") }];
  const messages = [...earlier, ...given];
  if (messages.length === 0) {
    throw invalid("input", "expected at least one item");
  }
  checkTurns(messages, "input");
  const tools = (body.objects("tools", { max: maxTools }) ?? []).map(readTool);
  const reasoning = body.object("reasoning");
  const effort = reasoning?.text("effort", { maxLength: 32 });
  reasoning?.ignore("summary", "generate_summary");
  return {
    kind: "chat",
    messages: instructions ? [{ role: "system", content: instructions }, ...messages] : messages,
    tools,
    toolChoice: readToolChoice(body, "tool_choice", tools.length > 0),
    parallelToolCalls: body.boolean("parallel_tool_calls") ?? true,
    variables: effort === undefined ? {} : { reasoning_effort: effort },
    ...(effort === "none" ? { thinking: false } : {}),
  };
}

type Call = NonNullable<FormatMessage["tool_calls"]>[number];

/** Calls, and the thinking before them, belong to one message of the assistant. */
function readItems(items: readonly Fields[]): FormatMessage[] {
  const messages: FormatMessage[] = [];
  let thought = "";
  for (const item of items) {
    item.ignore("id", "status");
    switch (item.text("type") ?? "message") {
      case "message": {
        const message = readMessage(item);
        messages.push(
          message.role === "assistant" && thought !== "" ? { ...message, reasoning_content: thought } : message,
        );
        thought = "";
        break;
      }
      case "reasoning":
        thought = readThought(item);
        break;
      case "function_call": {
        const last = messages.at(-1);
        const call = readCallItem(item);
        if (last?.role === "assistant") {
          messages[messages.length - 1] = { ...last, tool_calls: [...(last.tool_calls ?? []), call] };
        } else {
          const reasoning = thought === "" ? {} : { reasoning_content: thought };
          messages.push({ role: "assistant", content: null, tool_calls: [call], ...reasoning });
        }
        thought = "";
        break;
      }
      case "function_call_output":
        messages.push({
          role: "tool",
          tool_call_id: item.text("call_id", { maxLength: 256 }) ?? missing(item, "call_id"),
          content: readOutput(item),
        });
        break;
      default:
        throw unsupported(
          item.pathOf("type"),
          `expected message, reasoning, function_call or function_call_output, got ${describe(item.value("type"))}`,
        );
    }
  }
  return messages;
}

function readMessage(item: Fields): FormatMessage {
  const role = item.choice("role", ["user", "assistant", "system", "developer"]) ?? missing(item, "role");
  return { role: role === "developer" ? "system" : role, content: readContent(item, false) };
}

function readThought(item: Fields): string {
  item.ignore("summary", "encrypted_content");
  return (item.objects("content", { max: maxItems }) ?? []).map((part) => part.text("text") ?? "").join("");
}

function readCallItem(item: Fields): Call {
  return {
    id: item.text("call_id", { maxLength: 256 }) ?? missing(item, "call_id"),
    type: "function",
    function: {
      name: item.text("name", { maxLength: 256 }) ?? missing(item, "name"),
      arguments: item.text("arguments") ?? "{}",
    },
  };
}

function readOutput(item: Fields): string {
  const output = item.value("output");
  if (!Array.isArray(output)) {
    return item.text("output") ?? missing(item, "output");
  }
  return (item.objects("output") ?? [])
    .map((part) => {
      const type = part.text("type");
      if (type !== "input_text" && type !== "output_text" && type !== "text") {
        throw unsupported(part.pathOf("type"), `expected parts of the type input_text, got ${describe(type)}`);
      }
      return part.text("text") ?? missing(part, "text");
    })
    .join("");
}

/** Tools of chats have their function within an object. */
function readTool(tool: Fields): Plain {
  const type = tool.text("type");
  if (type !== "function") {
    throw unsupported(tool.pathOf("type"), `expected tools of the type function, got ${describe(type)}`);
  }
  const description = tool.text("description");
  const strict = tool.boolean("strict");
  const parameters = tool.plain("parameters") as Plain | undefined;
  return {
    type: "function",
    function: {
      name: tool.text("name") ?? missing(tool, "name"),
      ...(description === undefined ? {} : { description }),
      ...(parameters === undefined ? {} : { parameters }),
      ...(strict === undefined ? {} : { strict }),
    },
  };
}

async function completeResponse(
  context: ServerContext,
  text: TextRequest,
  response: ResponseWriter,
  run: RunContext,
): Promise<object> {
  let finish: AnswerFinish = "stop";
  for await (const event of context.run(text, run)) {
    switch (event.kind) {
      case "delta":
        response.push(event.pieces, event.logprobs);
        break;
      case "finish":
        finish = event.finish;
        break;
      case "end":
        return response.finish(finish, event.usage).response;
    }
  }
  throw new Error("the request ended without a last event");
}

async function* streamResponse(
  context: ServerContext,
  text: TextRequest,
  response: ResponseWriter,
  run: RunContext,
): AsyncGenerator<string> {
  let finish: AnswerFinish = "stop";
  try {
    for await (const event of context.run(text, run)) {
      const messages = writeEvent(response, event, finish);
      finish = event.kind === "finish" ? event.finish : finish;
      if (messages !== "") {
        yield messages;
      }
    }
  } catch (error) {
    if (!response.hasBegun) {
      throw error;
    }
    yield response.fail(toApiError(error));
  }
}

function writeEvent(response: ResponseWriter, event: TextEvent, finish: AnswerFinish): string {
  switch (event.kind) {
    case "started":
      return response.begin();
    case "delta":
      return response.push(event.pieces, event.logprobs);
    case "end":
      return response.finish(finish, event.usage).messages;
    default:
      return "";
  }
}

/** Ids of an item, which its events repeat. */
interface ItemIds {
  id: string;
  callId: string;
}

/** Writes a response, as events on the way and whole at the end. */
class ResponseWriter {
  readonly #id = `resp_${newId()}`;
  readonly #head: Record<string, unknown>;
  readonly #messages: readonly FormatMessage[];
  readonly #parts = new PartReader();
  readonly #ids: ItemIds[] = [];
  /** Of the tokens of each text, by the place of its part; and of those whose text comes next. */
  readonly #logprobs: TokenLogprob[][] = [];
  #nextLogprobs: TokenLogprob[] = [];
  readonly #onEnd: (messages: readonly FormatMessage[], id: string) => void;
  #sequence = 0;

  constructor(
    context: ServerContext,
    { text, echoed }: ResponseCall,
    onEnd: (messages: readonly FormatMessage[], id: string) => void,
  ) {
    this.#head = {
      id: this.#id,
      object: "response",
      created_at: Math.floor(Date.now() / 1000),
      model: context.modelId,
      background: false,
      error: null,
      ...echoed,
    };
    // Instructions are those of one response.
    this.#messages = echoed.instructions ? text.prompt.messages.slice(1) : text.prompt.messages;
    this.#onEnd = onEnd;
  }

  get hasBegun(): boolean {
    return this.#sequence > 0;
  }

  begin(): string {
    const response = this.#describe("in_progress", null, null);
    return this.#send("response.created", { response }) + this.#send("response.in_progress", { response });
  }

  push(pieces: readonly AnswerPiece[], logprobs: readonly TokenLogprob[]): string {
    this.#nextLogprobs.push(...logprobs);
    return this.#parts
      .push(pieces)
      .map((event) => this.#write(event))
      .join("");
  }

  fail({ body }: ApiError): string {
    const error = { code: body.code ?? "server_error", message: body.message };
    return this.#send("response.failed", { response: { ...this.#describe("failed", null, null), error } });
  }

  finish(finish: AnswerFinish, usage: Usage): { messages: string; response: object } {
    const last = this.#parts
      .finish()
      .map((event) => this.#write(event, finish))
      .join("");
    const isWhole = finish === "stop" || finish === "tool_calls";
    const reason = isWhole ? null : { reason: finish === "length" ? "max_output_tokens" : "content_filter" };
    const response = this.#describe(isWhole ? "completed" : "incomplete", reason, usage);
    this.#onEnd([...this.#messages, this.#answer()], this.#id);
    return {
      messages: last + this.#send(isWhole ? "response.completed" : "response.incomplete", { response }),
      response,
    };
  }

  /** The answer as the next request finds it. */
  #answer(): FormatMessage {
    const { parts } = this.#parts;
    const textOf = (kind: AnswerPart["kind"]) => parts.filter((part) => part.kind === kind).map(({ text }) => text);
    const calls = parts
      .filter(({ kind }) => kind === "call")
      .map(({ name, text, place }): Call => {
        return { id: this.#ids[place]?.callId, type: "function", function: { name, arguments: text } };
      });
    const [thought] = textOf("thinking");
    return {
      role: "assistant",
      content: calls.length > 0 && textOf("text").length === 0 ? null : textOf("text").join(""),
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
      ...(thought === undefined ? {} : { reasoning_content: thought }),
    };
  }

  #describe(status: string, reason: object | null, usage: Usage | null): object {
    const isLast = usage !== null;
    const lastStatus = status === "in_progress" ? "completed" : status;
    const output = isLast
      ? this.#parts.parts.map((part) =>
          this.#item(part, part.place === this.#parts.parts.length - 1 ? lastStatus : "completed"),
        )
      : [];
    return {
      ...this.#head,
      status,
      incomplete_details: reason,
      ...(isLast ? { completed_at: Math.floor(Date.now() / 1000) } : {}),
      output,
      usage: usage === null ? null : describeUsage(usage),
    };
  }

  /** Those of the tokens that have become text of this part. What is thought, and calls, have none. */
  #takeLogprobs({ kind, place }: AnswerPart): readonly TokenLogprob[] {
    const taken = kind === "text" ? this.#nextLogprobs : [];
    this.#nextLogprobs = [];
    this.#logprobs[place] = [...(this.#logprobs[place] ?? []), ...taken];
    return taken;
  }

  #logprobsOf({ place }: AnswerPart): readonly TokenLogprob[] {
    return this.#logprobs[place] ?? [];
  }

  #content(part: AnswerPart, said = part.text): object {
    return part.kind === "thinking"
      ? { type: "reasoning_text", text: said }
      : { type: "output_text", text: said, annotations: [], logprobs: this.#logprobsOf(part).map(logprobOf) };
  }

  #send(type: string, fields: object): string {
    return sse({ type, sequence_number: this.#sequence++, ...fields }, type);
  }

  #idsOf({ kind, place }: AnswerPart): ItemIds {
    const prefix = kind === "text" ? "msg" : kind === "thinking" ? "rs" : "fc";
    this.#ids[place] ??= { id: `${prefix}_${newId()}`, callId: newCallId() };
    return this.#ids[place];
  }

  #item(part: AnswerPart, status: string): object {
    const { id, callId } = this.#idsOf(part);
    const isBegun = status === "in_progress";
    switch (part.kind) {
      case "text":
        return { type: "message", id, status, role: "assistant", content: isBegun ? [] : [this.#content(part)] };
      case "thinking":
        return { type: "reasoning", id, status, summary: [], content: isBegun ? [] : [this.#content(part)] };
      case "call":
        return { type: "function_call", id, status, call_id: callId, name: part.name, arguments: part.text };
    }
  }

  #write(event: PartEvent, finish: AnswerFinish = "stop"): string {
    const { part } = event;
    const { id } = this.#idsOf(part);
    const at = { item_id: id, output_index: part.place };
    switch (event.kind) {
      case "begin":
        return (
          this.#send("response.output_item.added", {
            output_index: part.place,
            item: this.#item(part, "in_progress"),
          }) +
          (part.kind === "call"
            ? ""
            : this.#send("response.content_part.added", { ...at, content_index: 0, part: this.#content(part, "") }))
        );
      case "add":
        return this.#send(`${eventNames[part.kind]}.delta`, {
          ...{ ...at, ...placeOf(part, this.#takeLogprobs(part)), delta: event.text },
        });
      case "end": {
        this.#takeLogprobs(part);
        const isCut = finish === "length" || finish === "content_filter";
        const item = this.#item(part, isCut ? "incomplete" : "completed");
        const whole = part.kind === "call" ? { name: part.name, arguments: part.text } : { text: part.text };
        return (
          this.#send(`${eventNames[part.kind]}.done`, { ...at, ...placeOf(part, this.#logprobsOf(part)), ...whole }) +
          (part.kind === "call"
            ? ""
            : this.#send("response.content_part.done", { ...at, content_index: 0, part: this.#content(part) })) +
          this.#send("response.output_item.done", { output_index: part.place, item })
        );
      }
    }
  }
}

const eventNames = {
  text: "response.output_text",
  thinking: "response.reasoning_text",
  call: "response.function_call_arguments",
};

/** Which content of its item an event is about; only texts may have several, and log-probabilities. */
function placeOf({ kind }: AnswerPart, logprobs: readonly TokenLogprob[]): object {
  switch (kind) {
    case "text":
      return { content_index: 0, logprobs: logprobs.map(logprobOf) };
    case "thinking":
      return { content_index: 0 };
    case "call":
      return {};
  }
}

function describeUsage({ promptTokens, cachedTokens, completionTokens, reasoningTokens }: Usage): object {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}

function newId(): string {
  return randomUUID().replaceAll("-", "");
}
