// Tools for models whose template knows none: they are described in the system message, and earlier calls and results
// are written as the answers are.

import { BitnetError } from "../../system/errors.js";
import type { ChatFormat, FormatMessage, ToolCall } from "../format.js";
import { genericKeys } from "./syntax.js";
import type { Tool } from "./tool.js";

/** The messages with all tools described and in the syntax of the answer, which goes on in it. */
export function prepareGeneric(
  format: ChatFormat,
  messages: readonly FormatMessage[],
  tools: readonly Tool[],
): FormatMessage[] {
  return addInstructions(format, writeTurns(messages, true), describeTools(tools));
}

/** Calls and results of earlier turns as text, for an answer that has no tools. */
export function writeTurns(messages: readonly FormatMessage[], areAnswersWrapped: boolean): FormatMessage[] {
  const out: FormatMessage[] = [];
  let isResult = false; // the last of `out` has results, and belongs to the user
  for (const message of messages) {
    if (message.role === "tool" || (message.role === "user" && isResult)) {
      const text = message.role === "tool" ? writeResult(message, messages) : (message.content ?? "");
      const last = isResult ? out.pop() : undefined;
      out.push({ role: "user", content: last === undefined ? text : `${last.content}\n${text}` });
      isResult = true;
      continue;
    }
    isResult = false;
    out.push(message.role === "assistant" ? writeAnswer(message, areAnswersWrapped) : message);
  }
  return out;
}

function writeAnswer({ tool_calls = [], ...message }: FormatMessage, isWrapped: boolean): FormatMessage {
  const calls = tool_calls.map(writeCall);
  const content = message.content ?? "";
  if (calls.length === 0) {
    const wrapped = `{"${genericKeys.response}": ${JSON.stringify(content)}}`;
    return { ...message, content: isWrapped ? wrapped : content };
  }
  const [key, value] = calls.length === 1 ? [genericKeys.call, calls[0]] : [genericKeys.calls, `[${calls.join(", ")}]`];
  const said = content === "" ? "" : `${content}\n`; // of another model: an answer here has text or calls
  return { ...message, content: `${said}{"${key}": ${value}}` };
}

/** The beginning of an answer that is to be continued. `isHeld`: by a schema or grammar, and so not a string. */
export function beginGeneric(text: string, isHeld: boolean): string {
  if (text === "") {
    return "";
  }
  return `{"${genericKeys.response}": ${isHeld ? text : JSON.stringify(text).slice(0, -1)}`;
}

function writeCall({ function: called }: ToolCall): string {
  const given = called.arguments;
  return `{"name": ${JSON.stringify(called.name)}, "arguments": ${typeof given === "string" ? given : JSON.stringify(given)}}`;
}

/** A result names its tool: itself, or by the id of the call. */
function writeResult(message: FormatMessage, messages: readonly FormatMessage[]): string {
  const calls = messages.flatMap((one) => one.tool_calls ?? []);
  const name =
    message.name ?? calls.find(({ id }) => id !== undefined && id === message.tool_call_id)?.function.name ?? "tool";
  return `{"tool_result": {"name": ${JSON.stringify(name)}, "content": ${JSON.stringify(message.content ?? "")}}}`;
}

/** The same for any choice among them, so that the prompt's beginning stays in the cache. */
function describeTools(tools: readonly Tool[]): string {
  const { call, calls, response } = genericKeys;
  const descriptions = tools.map(({ function: { name, description, parameters = {} } }) =>
    JSON.stringify({ name, ...(description === undefined ? {} : { description }), parameters }),
  );
  return [
    "You can call tools. Your answer is one JSON object:",
    `{"${call}": {"name": NAME, "arguments": {...}}} to call a tool`,
    `{"${calls}": [{"name": NAME, "arguments": {...}}, ...]} to call several`,
    `{"${response}": ...} to answer without a tool`,
    "The tools, with the JSON schemas of their arguments:",
    ...descriptions,
  ].join("\n");
}

/** At the end of the system message, or of the first message where the format has no system role. */
function addInstructions(format: ChatFormat, messages: readonly FormatMessage[], text: string): FormatMessage[] {
  const [first, ...rest] = messages;
  if (first?.role === "system" || first?.role === "developer") {
    return [{ ...first, content: join(first.content, text) }, ...rest];
  }
  if (knowsSystem(format) || first?.role !== "user") {
    return [{ role: "system", content: text }, ...messages];
  }
  return [{ ...first, content: join(text, first.content) }, ...rest];
}

function join(before: string | null, after: string | null): string {
  return [before, after].filter((text) => text !== null && text !== "").join("\n\n");
}

const systemRoles = new WeakMap<ChatFormat, boolean>();

function knowsSystem(format: ChatFormat): boolean {
  const known = systemRoles.get(format) ?? showsSystem(format);
  systemRoles.set(format, known);
  return known;
}

function showsSystem(format: ChatFormat): boolean {
  const mark = "SYSTEM-PROBE";
  try {
    const messages = [
      { role: "system", content: mark },
      { role: "user", content: "a" },
    ];
    return format.render(messages, true).includes(mark);
  } catch (error) {
    if (error instanceof BitnetError) {
      return false;
    }
    throw error;
  }
}
