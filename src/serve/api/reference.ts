// Every route with its fields, once: /openapi.json and docs/endpoints.md are written from this table.

import { listSamplingParameters } from "../../engine/request.js";
import { samplingFields } from "./parameters.js";

/** JSON Schema of a value, as far as it is said here. */
export type ValueSchema = Readonly<Record<string, unknown>>;

export interface FieldRow {
  name: string;
  schema: ValueSchema;
  help: string;
  required?: boolean;
}

export interface RouteRow {
  method: "GET" | "POST";
  /** The first is the one that documents name. */
  paths: readonly string[];
  help: string;
  /** Of the body. */
  fields?: readonly FieldRow[];
  /** Of the query. */
  query?: readonly FieldRow[];
  /** What the answer is, where it is not always JSON. */
  streams?: "events" | "lines";
}

const text: ValueSchema = { type: "string" };
const truth: ValueSchema = { type: "boolean" };
const object: ValueSchema = { type: "object" };
const whole = (minimum: number, maximum?: number): ValueSchema => ({
  type: "integer",
  minimum,
  ...(maximum === undefined ? {} : { maximum }),
});
const listOf = (items: ValueSchema, maxItems?: number): ValueSchema => ({
  type: "array",
  items,
  ...(maxItems === undefined ? {} : { maxItems }),
});
const oneOf = (...values: string[]): ValueSchema => ({ type: "string", enum: values });
const either = (...anyOf: ValueSchema[]): ValueSchema => ({ anyOf });

function field(name: string, schema: ValueSchema, help: string): FieldRow {
  return { name, schema, help };
}

function required(row: FieldRow): FieldRow {
  return { ...row, required: true };
}

const ids = listOf(whole(0));
/** With text alone: other parts are refused where they stand. */
const messageOf = (...roles: string[]): ValueSchema => ({
  type: "object",
  properties: { role: oneOf(...roles), content: text },
  required: ["role", "content"],
});
const stops = either(text, listOf(text, 16));
const prompt = required(
  field("prompt", either(text, ids, listOf(either(text, ids), 128)), "texts or lists of token ids; at most 128"),
);
const model = field("model", text, "any name, unless the server has --strict-model");
const stream = field("stream", truth, "send the answer as it comes");
const stop = field("stop", stops, "texts that end the answer and are no part of it: at most 16 of 256 bytes");

/** As the readers have them, with the help of the core's own table. */
export function samplingRows(): FieldRow[] {
  const rows = listSamplingParameters();
  const ranged = samplingFields.flatMap(({ names, option, range, integer }) => {
    const help = rows.find((row) => row.name === option)?.help ?? "";
    const schema = { type: integer ? "integer" : "number", minimum: range.min, maximum: range.max };
    return names.map((name, i) => field(name, schema, i === 0 ? help : `the same as ${names[0]}`));
  });
  return [
    ...ranged,
    field("dry_sequence_breakers", listOf(text, 64), "texts at which a repetition ends"),
    field("seed", { type: "integer" }, "the same seed gives the same answer; -1 or nothing: random"),
    field(
      "logit_bias",
      either(object, listOf(listOf({}))),
      "added to the logits of tokens, by id or text; -100 or false forbids",
    ),
    field("samplers", listOf(text, 16), "which of the chain are on; another order than the chain's is refused"),
    field("mirostat", whole(0, 0), "is not there"),
  ];
}

const running: readonly FieldRow[] = [
  field("ignore_eos", truth, "go on where the model would end"),
  field(
    "service_tier",
    oneOf("auto", "default", "flex", "priority", "scale", "standard_only"),
    "flex gives way to others",
  ),
  field("cache_prompt", truth, "take what is known of the prompt from the cache"),
  field("cache_salt", { ...text, maxLength: 256 }, "narrows who finds this prompt in the cache"),
  field("return_progress", truth, "tell in a stream how far a long prompt is read"),
];

const form: readonly FieldRow[] = [
  field("response_format", object, "{type: text, json_object or json_schema}, with the schema"),
  field("json_schema", either(object, text), "the answer is JSON that this accepts"),
  field("grammar", text, "the answer is a text of this GBNF grammar"),
  field("structured_outputs", object, "{json, regex, choice or grammar}"),
];

const tools: readonly FieldRow[] = [
  field("tools", listOf(object, 128), "functions that the model may call"),
  field(
    "tool_choice",
    either(oneOf("none", "auto", "required"), object),
    "whether and which: one function, or allowed_tools",
  ),
  field("parallel_tool_calls", truth, "may an answer have several calls"),
];

const chatFields: readonly FieldRow[] = [
  required(
    field(
      "messages",
      { ...listOf(messageOf("system", "user"), 4096), minItems: 1 },
      "system, developer, user, assistant, tool",
    ),
  ),
  ...tools,
  field("reasoning_effort", text, "a variable of the template; none: do not think"),
  field("chat_template_kwargs", object, "more variables of the template"),
];

const n = field("n", whole(1, 8), "answers; answer i has seed + i");
const usage = field("stream_options", object, "{include_usage}: the stream ends with what it cost");
const timings = field("timings_per_token", truth, "with each event of a stream, times");

const llamaFields: readonly FieldRow[] = [
  field("n_predict", whole(-2), "tokens at most; -1: to the end of the context"),
  field("n_probs", whole(0, 100), "the likeliest tokens beside each"),
  field("post_sampling_probs", truth, "probabilities of what the sampling leaves"),
  field("return_tokens", truth, "the ids beside the text"),
  field("response_fields", listOf(text, 64), "only these of the answer: content, timings/predicted_n"),
  field("t_max_predict_ms", whole(-1), "end the text after so much time"),
  field("id_slot", whole(-1, 1023), "the place whose sequence is gone on with, with --slot-save-path"),
];

const ollamaOptions = field("options", object, "sampling under the names above; num_predict, stop, seed");
const ollamaFormat = field("format", either(text, object), "json, or a schema");
const think = field("think", either(truth, text), "whether to think, or how much");
const content = field("content", text, "a text, as llama.cpp's server calls it");

const inputs = either(text, ids, listOf(either(text, ids), 2048));

function embeddingFields(): FieldRow[] {
  return [
    field("input", inputs, "texts or token ids, none of them empty; at most 2048"),
    field("encoding_format", oneOf("float", "base64"), "base64: of float32, little-endian"),
    field("dimensions", whole(1, 65536), "cut vectors to so many, before they are normalized"),
    field("truncate", truth, "cut what is too long"),
    field("embd_normalize", whole(-1, 1000), "-1: not at all, 0: largest is 32760, 2: Euclidean, else p"),
    field("parse_special", truth, "read names of control tokens as those"),
    ...running.filter((row) => row.name === "service_tier"),
    model,
  ];
}

/** Called when it is needed: the sampling rows come from the core. */
export function routeRows(): RouteRow[] {
  const sampling = samplingRows();
  return [
    {
      ...{ method: "POST", paths: ["/v1/chat/completions", "/chat/completions"], streams: "events" },
      help: "An answer to a chat, as OpenAI's interface has it",
      fields: [
        ...[...chatFields, model, stream, usage, n, stop],
        field("functions", listOf(object, 128), "tools as they were before, with function_call: so is the answer"),
        field("max_completion_tokens", whole(-2), "tokens at most; max_tokens and n_predict are the same"),
        field("logprobs", truth, "log-probabilities of the answer's tokens"),
        field("top_logprobs", whole(0, 20), "so many of the likeliest beside each"),
        ...[...form, timings, ...running, ...sampling],
      ],
    },
    {
      ...{ method: "POST", paths: ["/v1/completions"], streams: "events" },
      help: "Text that goes on, and log-probabilities of prompts, as OpenAI's older interface has it",
      fields: [
        ...[prompt, model, stream, usage, n, stop],
        field("max_tokens", whole(-2), "16 where nothing is said; 0 with echo"),
        field("echo", truth, "the prompt before its answer, with its log-probabilities"),
        field("logprobs", whole(0, 20), "log-probabilities with so many of the likeliest beside each"),
        field("best_of", whole(1, 8), "the likeliest n of so many"),
        ...[...form, ...running, ...sampling],
      ],
    },
    {
      ...{ method: "POST", paths: ["/v1/responses", "/responses"], streams: "events" },
      help: "An answer to items, as OpenAI's newer interface has it",
      fields: [
        required(
          field("input", either(text, listOf(object, 4096)), "a text, or message, reasoning and function items"),
        ),
        field("instructions", text, "the system message"),
        ...[model, stream, stop],
        field("max_output_tokens", whole(-2), "tokens at most"),
        field("previous_response_id", text, "goes on from a response, with --response-store"),
        field("store", truth, "keep it, with --response-store"),
        ...tools,
        field("text", object, "{format}: text, json_object or json_schema"),
        field("reasoning", object, "{effort}"),
        field("top_logprobs", whole(0, 20), "so many of the likeliest beside each token of the text"),
        field("include", listOf(text, 64), "message.output_text.logprobs: log-probabilities of the text's tokens"),
        ...[...running, ...sampling],
      ],
    },
    {
      ...{ method: "POST", paths: ["/v1/responses/input_tokens", "/responses/input_tokens"] },
      help: "How many tokens such a request has",
      fields: [
        required(field("input", either(text, listOf(object, 4096)), "as above")),
        ...[field("instructions", text, "as above"), model, ...tools],
      ],
    },
    {
      ...{ method: "POST", paths: ["/v1/messages"], streams: "events" },
      help: "An answer to messages, as Anthropic's interface has it",
      fields: [
        required(
          field(
            "messages",
            { ...listOf(messageOf("user"), 4096), minItems: 1 },
            "text, thinking, tool_use, tool_result",
          ),
        ),
        field("system", either(text, listOf(object)), "the system message"),
        ...[model, stream],
        field("max_tokens", whole(-2), "4096 where nothing is said"),
        field("stop_sequences", stops, "texts that end the answer"),
        field("tools", listOf(object, 128), "with name, description, input_schema"),
        field("tool_choice", object, "{type: auto, any, tool or none}"),
        field("thinking", object, "{type: enabled, disabled or adaptive}"),
        field("output_config", object, "{format: {type: json_schema, schema}}"),
        ...[...running, ...sampling],
      ],
    },
    {
      ...{ method: "POST", paths: ["/v1/messages/count_tokens"] },
      help: "How many tokens such a request has",
      fields: [
        required(field("messages", { ...listOf(messageOf("user"), 4096), minItems: 1 }, "as above")),
        field("system", either(text, listOf(object)), "as above"),
        ...[model, field("tools", listOf(object, 128), "as above")],
      ],
    },
    {
      ...{ method: "POST", paths: ["/completion", "/completions"], streams: "events" },
      help: "Text that goes on, as llama.cpp's server has it",
      fields: [
        required({ ...prompt, help: "texts, token ids, or both in one list" }),
        ...[...llamaFields, model, stream, stop, ...form, timings, ...running, ...sampling],
      ],
    },
    {
      ...{ method: "POST", paths: ["/v1/embeddings"] },
      help: "Vectors of texts, as OpenAI's interface has them; 501 where the model computes none",
      fields: embeddingFields(),
    },
    {
      ...{ method: "POST", paths: ["/embedding", "/embeddings"] },
      help: "The same, as llama.cpp's server has it: a list of vectors for each text",
      fields: [...embeddingFields(), field("content", inputs, "the same as input")],
    },
    {
      ...{ method: "POST", paths: ["/tokenize"] },
      help: "The tokens of a text or chat",
      fields: [
        content,
        field("prompt", text, "a text, as vLLM calls it"),
        field("messages", listOf(object, 4096), "a chat, in the place of a text"),
        field("add_special", truth, "BOS before content; off where nothing is said"),
        field("add_special_tokens", truth, "BOS before prompt; on where nothing is said"),
        field("parse_special", truth, "read names of control tokens as those"),
        field("with_pieces", truth, "each id with its text"),
        field("return_token_strs", truth, "the entries of the vocabulary, too"),
        model,
      ],
    },
    {
      ...{ method: "POST", paths: ["/detokenize"] },
      help: "The text of tokens",
      fields: [required(field("tokens", listOf(whole(0)), "ids")), model],
    },
    { method: "GET", paths: ["/tokenizer_info"], help: "Special tokens and the template" },
    {
      ...{ method: "POST", paths: ["/apply-template"] },
      help: "The text of a chat, as the model gets it",
      fields: chatFields,
    },
    { method: "GET", paths: ["/v1/models", "/models"], help: "The model that is served" },
    { method: "GET", paths: ["/v1/models/*"], help: "The same by its name" },
    { method: "GET", paths: ["/props"], help: "What the server is set to" },
    { method: "GET", paths: ["/slots"], help: "What runs: numbers, never texts" },
    {
      ...{ method: "POST", paths: ["/slots/:place"] },
      help: "Save, restore or erase the sequence of a place, with --slot-save-path",
      query: [required(field("action", oneOf("save", "restore", "erase"), "what to do"))],
      fields: [field("filename", text, "a bare name of a file")],
    },
    {
      ...{ method: "POST", paths: ["/infill"] },
      help: "501: no model here has tokens to fill in a middle",
      fields: [
        ...["input_prefix", "input_suffix"].map((name) => field(name, text, "what is around it")),
        field("input_extra", listOf(object, 1024), "{filename, text} of other files"),
      ],
    },
    {
      ...{ method: "POST", paths: ["/v1/rerank", "/rerank", "/reranking", "/v1/reranking"] },
      help: "501: no model here ranks documents",
      fields: [
        required(field("query", text, "what is looked for")),
        field("documents", listOf(either(text, object), 2048), "what is ranked"),
      ],
    },
    { method: "GET", paths: ["/lora-adapters"], help: "Adapters by their numbers, and how much of each requests get" },
    {
      method: "POST",
      paths: ["/lora-adapters"],
      help: "Change that: a list of {id, scale}; what is not in it becomes 0",
    },
    {
      ...{ method: "POST", paths: ["/api/chat"], streams: "lines" },
      help: "An answer to a chat, as Ollama's interface has it; streams unless told not to",
      fields: [
        required(field("messages", listOf(messageOf("system", "user"), 4096), "system, user, assistant, tool")),
        ...[model, stream, field("tools", listOf(object, 128), "as OpenAI's"), ollamaFormat, ollamaOptions, think],
      ],
    },
    {
      ...{ method: "POST", paths: ["/api/generate"], streams: "lines" },
      help: "The same for one text",
      fields: [
        field("prompt", text, "as a user's message"),
        field("system", text, "the system message"),
        field("raw", truth, "the prompt is a text to go on with"),
        ...[model, stream, ollamaFormat, ollamaOptions, think],
      ],
    },
    {
      ...{ method: "POST", paths: ["/api/embed"] },
      help: "Vectors of texts, as Ollama has them; 501 where the model computes none",
      fields: [
        field("input", either(text, listOf(text, 2048)), "texts"),
        field("truncate", truth, "cut what is too long; on where nothing is said"),
        ...[field("dimensions", whole(0, 65536), "of the vectors; 0: all"), model, ollamaOptions],
      ],
    },
    {
      ...{ method: "POST", paths: ["/api/embeddings"] },
      help: "The vector of one text, not normalized",
      fields: [field("prompt", text, "the text"), model, ollamaOptions],
    },
    { method: "POST", paths: ["/api/show"], help: "The model, as Ollama describes one", fields: [model] },
    { method: "GET", paths: ["/api/tags", "/api/ps"], help: "The model, as Ollama lists them" },
    { method: "GET", paths: ["/api/version"], help: "The version, as Ollama tells it" },
    {
      method: "GET",
      paths: ["/health", "/v1/health", "/readyz", "/v2/health/ready"],
      help: "200 once requests are answered",
    },
    { method: "GET", paths: ["/livez", "/v2/health/live"], help: "200 while the engine turns" },
    { method: "GET", paths: ["/version"], help: "The version" },
    { method: "GET", paths: ["/openapi.json"], help: "This table, as OpenAPI has it" },
  ];
}

/** docs/endpoints.md from its first table on. */
export function endpointTables(): string {
  const rows = routeRows();
  const list = rows.map(
    ({ method, paths, help }) => `| ${method} | ${paths.map((path) => `\`${path}\``).join(", ")} | ${help} |`,
  );
  const shared = new Set([...samplingRows(), ...running].map(({ name }) => name));
  const sections = rows.flatMap(({ paths: [path = ""], help, fields = [], query = [] }) => {
    const own = [...query, ...fields].filter(({ name }) => !shared.has(name));
    const more = own.length < fields.length ? "\nAnd the fields of sampling and running below.\n" : "";
    return own.length === 0 ? [] : [`## ${path}\n\n${help}.\n\n${fieldTable(own)}${more}`];
  });
  return [
    `| method | paths | what |\n|---|---|---|\n${list.join("\n")}\n`,
    ...sections,
    `## Sampling and running\n\n${fieldTable([...samplingRows(), ...running])}`,
  ].join("\n");
}

function fieldTable(rows: readonly FieldRow[]): string {
  const lines = rows.map(
    ({ name, schema, help, required: isRequired }) =>
      `| \`${name}\` | ${kindOf(schema)} | ${help}${isRequired ? " (required)" : ""} |`,
  );
  return `| field | value | what |\n|---|---|---|\n${lines.join("\n")}\n`;
}

function kindOf(schema: ValueSchema): string {
  const { type, items, minimum, maximum, maxItems } = schema;
  const { anyOf, enum: values } = schema as { anyOf?: ValueSchema[]; enum?: string[] };
  if (anyOf !== undefined) {
    return anyOf.map(kindOf).join(" or ");
  }
  if (values !== undefined) {
    return values.map((value) => `\`${value}\``).join(", ");
  }
  switch (type) {
    case "array":
      return `list of ${kindOf(items as ValueSchema)}${maxItems === undefined ? "" : `, at most ${maxItems}`}`;
    case "integer":
    case "number":
      return `${type}${minimum === undefined ? "" : maximum === undefined ? ` from ${minimum}` : ` from ${minimum} to ${maximum}`}`;
    case "boolean":
      return "true or false";
    default:
      return type === undefined ? "anything" : String(type === "string" ? "text" : type);
  }
}
