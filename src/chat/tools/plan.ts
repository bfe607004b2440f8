// What a request with tools, or with a schema for its answer, asks of the model: the messages to render, the grammar of
// the answer, and how to read it.

import { setImmediate } from "node:timers/promises";
import { readGrammar, readGrammarAsync } from "../../engine/request.js";
import { Grammar } from "../../grammar/grammar.js";
import type { JsonSchema } from "../../grammar/schema.js";
import { BitnetError } from "../../system/errors.js";
import type { ChatTokenizer } from "../encode.js";
import type { ChatFormat, FormatMessage, RenderOptions } from "../format.js";
import type { ThinkingTags } from "../thinking.js";
import { roomForThinking, type ThinkingRoom, writeAnswerGrammar } from "./answer-grammar.js";
import { beginGeneric, prepareGeneric, writeTurns } from "./generic.js";
import { findNativeTools, type NativeTools, prepareNative } from "./native.js";
import { AnswerParser, AnswerReader } from "./parser.js";
import { type CallSyntax, genericSyntax } from "./syntax.js";
import {
  allowTools,
  type IgnoredParameter,
  readTools,
  type Tool,
  type ToolChoice,
  toPlain,
  writeArguments,
} from "./tool.js";

export interface ToolRequest {
  messages: readonly FormatMessage[];
  /** Default: none. */
  tools?: readonly Tool[];
  /** Default: "auto". */
  choice?: ToolChoice;
  /** May an answer have several calls? Default: true. */
  parallel?: boolean;
  /** What an answer that is no call must be: JSON that this schema accepts, */
  schema?: JsonSchema;
  /** ... or a text of this grammar, GBNF or compiled. */
  grammar?: string | Grammar;
  /** As RenderOptions have it. */
  thinking?: boolean;
  variables?: RenderOptions["variables"];
}

export interface ToolPlan {
  /** "native": calls as the template writes them; "generic": as an object in the answer; "none": no calls. */
  kind: "native" | "generic" | "none";
  /** To be rendered instead of those of the request, with a prompt for an answer, */
  messages: FormatMessage[];
  /** ... with these options. */
  options: RenderOptions;
  /** What stands after that in the prompt: the beginning of an answer that is to be continued; "" for none. */
  begun: string;
  /** What the answer must follow, from `begun` on and thinking included; undefined: anything. */
  grammar?: Grammar;
  /** What of the tools' schemas it does not hold to, where `strict: false` allows that. */
  ignored: readonly IgnoredParameter[];
  /** Around what the answer begins with, if it thinks; undefined: it does not. */
  thinking?: ThinkingTags;
  /** The prompt has written the opening tag already. */
  isThinking: boolean;
  /** A reader for one answer. */
  createParser(): AnswerParser;
  /** A reader for what follows the thinking of one answer. */
  createReader(): AnswerReader;
}

/** Throws USAGE for tools, a choice or a schema that cannot be held to. */
export function planTools(format: ChatFormat, tokenizer: ChatTokenizer, request: ToolRequest): ToolPlan {
  const { source, ...plan } = layOut(format, tokenizer, request, readGrammar(request));
  return source === undefined ? plan : { ...plan, grammar: Grammar.fromParts(source) };
}

/** The same with the automata made on another thread: those of many tools take a while. */
export async function planToolsAsync(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  request: ToolRequest,
): Promise<ToolPlan> {
  const grammar = await readGrammarAsync(request);
  await prepareArguments(request);
  const { source, ...plan } = layOut(format, tokenizer, request, grammar);
  return source === undefined ? plan : { ...plan, grammar: await Grammar.fromPartsAsync(source) };
}

const longestTurn = 5; // ms

/** Writes the grammars of arguments, which are kept, with others on the thread in between. */
async function prepareArguments({ tools = [], choice = "auto", parallel = true }: ToolRequest): Promise<void> {
  let begun = performance.now();
  for (const tool of allowTools(readTools(tools), choice, parallel).tools) {
    writeArguments(tool);
    if (performance.now() - begun > longestTurn) {
      await setImmediate();
      begun = performance.now();
    }
  }
}

/** A plan whose grammar is still to be compiled; undefined: anything may be answered. */
type Layout = Omit<ToolPlan, "grammar"> & { source?: string };

function layOut(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  request: ToolRequest,
  grammar: Grammar | undefined,
): Layout {
  const { choice = "auto", parallel = true, schema, thinking, variables } = request;
  const tools = readTools(request.tools ?? []);
  const allowed = allowTools(tools, choice, parallel);
  const hasCalls = allowed.tools.length > 0;
  const given: RenderOptions = {
    ...(thinking === undefined ? {} : { thinking }),
    ...(variables === undefined ? {} : { variables }),
  };
  const { messages, begun: said } = splitBegun(request.messages);
  const native = hasCalls
    ? planNative(format, tokenizer, messages, grammar !== undefined, { ...given, tools: toPlain(tools) })
    : findNativeTools(format, tokenizer);
  const options = native !== undefined && hasCalls ? { ...given, tools: toPlain(tools) } : given;
  const prepared = prepareMessages(format, messages, tools, hasCalls, native);
  const syntax = hasCalls ? (native?.syntax ?? genericSyntax) : undefined;
  const begun = syntax?.kind === "generic" ? beginGeneric(said, grammar !== undefined) : said;
  const mute = mutedSyntax(native?.syntax, request, tools);
  const isHeld = (syntax ?? mute ?? grammar) !== undefined;
  const thought = findThinking(format, tokenizer, prepared, options, begun, isHeld);
  const form = { syntax: syntax ?? mute, allowed, schema, grammar, isBegun: begun !== "", ...thought };
  const createReader = () => new AnswerReader(syntax, grammar === undefined ? "text" : "held", begun);
  return {
    kind: syntax === undefined ? "none" : native === undefined ? "generic" : "native",
    messages: prepared,
    ...{ options, begun, ...thought },
    ...(isHeld ? writeAnswerGrammar(form) : { ignored: [] }),
    createParser: () => new AnswerParser(createReader(), thought.thinking, thought.isThinking),
    createReader,
  };
}

/** A last answer without calls is to be continued. */
function splitBegun(messages: readonly FormatMessage[]): { messages: readonly FormatMessage[]; begun: string } {
  const last = messages.at(-1);
  const isBegun = last?.role === "assistant" && (last.tool_calls ?? []).length === 0;
  return isBegun ? { messages: messages.slice(0, -1), begun: last.content ?? "" } : { messages, begun: "" };
}

/** undefined where the template's own way does not do: it fails with these messages and tools, or would be ambiguous. */
function planNative(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  messages: readonly FormatMessage[],
  isHeld: boolean,
  options: RenderOptions,
): NativeTools | undefined {
  const native = findNativeTools(format, tokenizer);
  // What a schema or grammar wants may begin like a call that has no tags.
  if (native === undefined || (native.syntax.kind === "bare" && isHeld)) {
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
  hasCalls: boolean,
  native: NativeTools | undefined,
): FormatMessage[] {
  if (native !== undefined) {
    return prepareNative(messages, native);
  }
  return hasCalls ? prepareGeneric(format, messages, tools) : writeTurns(messages, false);
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

/** Whether the answer begins with thinking. `isHeld`: by a grammar. */
function findThinking(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  messages: readonly FormatMessage[],
  options: RenderOptions,
  begun: string,
  isHeld: boolean,
): ThinkingRoom {
  const tags = format.thinking;
  if (tags === undefined || begun !== "") {
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
