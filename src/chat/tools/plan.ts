// What a request with tools, or with a schema for its answer, asks of the model: the messages to render, the grammar of
// the answer, and how to read it.

import { Grammar } from "../../grammar/grammar.js";
import type { JsonSchema } from "../../grammar/schema.js";
import { BitnetError } from "../../system/errors.js";
import type { ChatTokenizer } from "../encode.js";
import type { ChatFormat, FormatMessage, RenderOptions } from "../format.js";
import type { ThinkingTags } from "../thinking.js";
import { roomForThinking, type ThinkingRoom, writeAnswerGrammar } from "./answer-grammar.js";
import { prepareGeneric, writeTurns } from "./generic.js";
import { findNativeTools, type NativeTools, prepareNative } from "./native.js";
import { AnswerParser } from "./parser.js";
import { type CallSyntax, genericSyntax } from "./syntax.js";
import { type AllowedTools, allowTools, readTools, type Tool, type ToolChoice, toPlain } from "./tool.js";

export interface ToolRequest {
  messages: readonly FormatMessage[];
  /** Default: none. */
  tools?: readonly Tool[];
  /** Default: "auto". */
  choice?: ToolChoice;
  /** May an answer have several calls? Default: true. */
  parallel?: boolean;
  /** The answer, where it is no call, is JSON that this schema accepts. */
  schema?: JsonSchema;
  /** The answer is a text of this grammar: GBNF, or one that is compiled. Neither beside `schema` nor tools. */
  grammar?: string | Grammar;
  /** As RenderOptions have it. */
  thinking?: boolean;
  variables?: RenderOptions["variables"];
}

export interface ToolPlan {
  /** "native": calls as the template writes them; "generic": as an object in the answer; "none": no calls. */
  kind: "native" | "generic" | "none";
  /** To be rendered instead of those of the request, */
  messages: FormatMessage[];
  /** ... with these options. */
  options: RenderOptions;
  /** What the answer must follow, thinking included; undefined: anything. */
  grammar?: Grammar;
  /** A reader for one answer. */
  createParser(): AnswerParser;
}

/** Throws USAGE for tools, a choice or a schema that cannot be held to. */
export function planTools(format: ChatFormat, tokenizer: ChatTokenizer, request: ToolRequest): ToolPlan {
  const { messages, choice = "auto", parallel = true, schema, thinking, variables } = request;
  const grammar = typeof request.grammar === "string" ? Grammar.fromGbnf(request.grammar) : request.grammar;
  const tools = readTools(request.tools ?? []);
  const allowed = allowTools(tools, choice, parallel);
  checkTogether(allowed, schema, grammar);
  const hasCalls = allowed.tools.length > 0;
  const given: RenderOptions = {
    ...(thinking === undefined ? {} : { thinking }),
    ...(variables === undefined ? {} : { variables }),
  };
  const native = hasCalls
    ? planNative(format, tokenizer, messages, schema !== undefined, { ...given, tools: toPlain(tools) })
    : findNativeTools(format, tokenizer);
  const options = native !== undefined && hasCalls ? { ...given, tools: toPlain(tools) } : given;
  const prepared = prepareMessages(format, messages, tools, allowed, native);
  const syntax = hasCalls ? (native?.syntax ?? genericSyntax) : undefined;
  const mute = mutedSyntax(native?.syntax, request, tools);
  const isHeld = (syntax ?? mute ?? schema ?? grammar) !== undefined;
  const thought = findThinking(format, tokenizer, prepared, options, isHeld);
  const form = { syntax: syntax ?? mute, allowed, schema, grammar, ...thought };
  return {
    kind: syntax === undefined ? "none" : native === undefined ? "generic" : "native",
    messages: prepared,
    options,
    ...(isHeld ? { grammar: writeAnswerGrammar(form) } : {}),
    createParser: () => new AnswerParser({ syntax, response: schema === undefined ? "text" : "json", ...thought }),
  };
}

/** undefined where the template's own way does not do: it fails with these messages and tools, or would be ambiguous. */
function planNative(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  messages: readonly FormatMessage[],
  hasSchema: boolean,
  options: RenderOptions,
): NativeTools | undefined {
  const native = findNativeTools(format, tokenizer);
  // The JSON of a schema may begin like a call that has no tags.
  if (native === undefined || (native.syntax.kind === "bare" && hasSchema)) {
    return undefined;
  }
  try {
    format.render(prepareNative(messages, native), true, options);
    return native;
  } catch (error) {
    if (error instanceof BitnetError) {
      return undefined;
    }
    throw error;
  }
}

function prepareMessages(
  format: ChatFormat,
  messages: readonly FormatMessage[],
  tools: readonly Tool[],
  allowed: AllowedTools,
  native: NativeTools | undefined,
): FormatMessage[] {
  if (native !== undefined) {
    return prepareNative(messages, native);
  }
  if (allowed.tools.length === 0) {
    return writeTurns(messages, false);
  }
  if (messages.at(-1)?.role === "assistant") {
    throw new BitnetError("USAGE", "messages: the last one is an answer, which cannot be continued beside tools");
  }
  return prepareGeneric(format, messages, tools);
}

/** Calls that an answer must not have, although the prompt or earlier turns show how they are written. */
function mutedSyntax(
  syntax: CallSyntax | undefined,
  { messages, schema, grammar }: ToolRequest,
  tools: readonly Tool[],
): CallSyntax | undefined {
  const isShown = tools.length > 0 || messages.some(({ tool_calls = [] }) => tool_calls.length > 0);
  return syntax?.kind === "tagged" && isShown && schema === undefined && grammar === undefined ? syntax : undefined;
}

function checkTogether({ tools }: AllowedTools, schema: JsonSchema | undefined, grammar: Grammar | undefined): void {
  if (schema !== undefined && grammar !== undefined) {
    throw new BitnetError("USAGE", "grammar, schema: expected one of them, not both");
  }
  if (grammar !== undefined && tools.length > 0) {
    throw new BitnetError("USAGE", "grammar: it cannot stand beside tools, whose calls it does not know", {
      hint: "use a JSON schema, or tool_choice none",
    });
  }
}

/** Whether the answer begins with thinking. `isHeld`: by a grammar. */
function findThinking(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  messages: readonly FormatMessage[],
  options: RenderOptions,
  isHeld: boolean,
): ThinkingRoom {
  const tags = format.thinking;
  if (tags === undefined || messages.at(-1)?.role === "assistant") {
    return { thinking: undefined, isThinking: false };
  }
  const isThinking = opensThinking(format, tags, messages, options);
  return isHeld ? roomForThinking(format, tokenizer, isThinking, options.thinking) : { thinking: tags, isThinking };
}

/** Does the prompt end with the opening tag, and does the template write it and no message? */
function opensThinking(
  format: ChatFormat,
  { open }: ThinkingTags,
  messages: readonly FormatMessage[],
  options: RenderOptions,
): boolean {
  const ends = (given: readonly FormatMessage[]) => format.render(given, true, options).trimEnd().endsWith(open);
  const last = messages.at(-1);
  return (
    ends(messages) &&
    (last?.content?.trimEnd().endsWith(open) !== true || ends([...messages.slice(0, -1), { ...last, content: "a" }]))
  );
}
