// The way of a template to write calls, told from what it renders: a probe of a tool, a call and its result.

import { createHash } from "node:crypto";
import { BitnetError } from "../../system/errors.js";
import { type ChatTokenizer, hasControlTokens } from "../encode.js";
import type { ChatFormat, FormatMessage, ToolCall } from "../format.js";
import type { NativeSyntax } from "./syntax.js";
import { type Tool, toPlain } from "./tool.js";

/** A template that knows tools. */
export interface NativeTools {
  syntax: NativeSyntax;
  /** Does it take null as the content beside calls? */
  takesNull: boolean;
}

const probe = { name: "probe_tool", key: "probe_key", value: "probe_value", text: "PROBE" };
const probeTool: Tool = {
  type: "function",
  function: {
    name: probe.name,
    description: "probe",
    parameters: { type: "object", properties: { [probe.key]: { type: "string" } }, required: [probe.key] },
  },
};
const usualIds = ["call_0", "call_1"];
const idLength = 9; // what Mistral's templates demand
const shortIds = ["abcdefgh1", "abcdefgh2"];

const call = new RegExp(
  `\\{\\s*"name":\\s*"${probe.name}",\\s*"(?<key>arguments|parameters)":\\s*` +
    `\\{\\s*"${probe.key}":\\s*"${probe.value}"\\s*\\}(?<id>,\\s*"id":\\s*"\\w+")?\\s*\\}`,
);
const written = new RegExp(
  `^\\s*(?<open><[^<>\\s]+>|\\[[A-Z_]+\\])?\\s*(?<list>\\[)?\\s*${call.source}` +
    "\\s*(?<end>\\])?\\s*(?<close></[^<>\\s]+>|\\[/[A-Z_]+\\])?",
);

const known = new WeakMap<ChatFormat, { native: NativeTools | undefined }>();

/** undefined: it has no way, or one that cannot be followed safely. */
export function findNativeTools(format: ChatFormat, tokenizer: ChatTokenizer): NativeTools | undefined {
  let found = known.get(format);
  if (found === undefined) {
    found = { native: detect(format, tokenizer) };
    known.set(format, found);
  }
  return found.native;
}

function detect(format: ChatFormat, tokenizer: ChatTokenizer): NativeTools | undefined {
  const render = (messages: readonly FormatMessage[]) => tryRender(format, messages);
  const user: FormatMessage = { role: "user", content: "a" };
  const answer: FormatMessage = { role: "assistant", content: probe.text };
  const plain = render([user, answer, user]);
  const beginning = plain?.slice(0, plain.indexOf(probe.text)).trimEnd();
  if (beginning === undefined || plain?.includes(probe.text) !== true || !showsTools(format)) {
    return undefined;
  }
  for (const ids of [usualIds, shortIds]) {
    for (const content of [null, ""]) {
      const text = render(converse(user, content, ids.slice(0, 1), answer));
      const match = text?.startsWith(beginning) ? written.exec(text.slice(beginning.length)) : null;
      if (match !== null) {
        const several = render(converse(user, content, ids, answer));
        const calls = several?.match(new RegExp(call.source, "g"))?.length;
        const syntax = readSyntax(match.groups ?? {}, calls === 2, ids === shortIds);
        return isSpelled(syntax, tokenizer) ? { syntax, takesNull: content === null } : undefined;
      }
    }
  }
  return undefined;
}

/** Do tools change what it renders, and are they all there? */
function showsTools(format: ChatFormat): boolean {
  return tryRender(format, [{ role: "user", content: "a" }])?.includes(probe.name) === true;
}

function tryRender(format: ChatFormat, messages: readonly FormatMessage[]): string | undefined {
  try {
    return format.render(messages, true, { tools: toPlain([probeTool]) });
  } catch (error) {
    if (error instanceof BitnetError) {
      return undefined;
    }
    throw error;
  }
}

function converse(
  user: FormatMessage,
  content: string | null,
  ids: readonly string[],
  answer: FormatMessage,
): FormatMessage[] {
  const calls = ids.map(
    (id): ToolCall => ({
      id,
      type: "function",
      function: { name: probe.name, arguments: { [probe.key]: probe.value } },
    }),
  );
  const results = ids.map((id): FormatMessage => ({ role: "tool", content: "b", name: probe.name, tool_call_id: id }));
  return [user, { role: "assistant", content, tool_calls: calls }, ...results, answer, user];
}

function readSyntax(
  { open, close = "", list, key, id }: { [name: string]: string | undefined },
  isRepeatable: boolean,
  needsShortIds: boolean,
): NativeSyntax {
  const argumentsKey = key === "parameters" ? "parameters" : "arguments";
  return open === undefined
    ? { kind: "bare", argumentsKey, isRepeatable: false }
    : {
        kind: "tagged",
        open,
        close,
        isList: list !== undefined,
        argumentsKey,
        isRepeatable,
        ...(needsShortIds || id !== undefined ? { idLength } : {}),
        writesIds: id !== undefined,
      };
}

/** Can its tags be generated as text? A grammar does not reach control tokens. */
function isSpelled(syntax: NativeSyntax, tokenizer: ChatTokenizer): boolean {
  return syntax.kind === "bare" || !hasControlTokens(syntax.open + syntax.close, tokenizer);
}

/** Messages as the template can write them. */
export function prepareNative(messages: readonly FormatMessage[], { syntax, takesNull }: NativeTools): FormatMessage[] {
  const split = syntax.isRepeatable ? messages : splitCalls(messages);
  const length = syntax.kind === "tagged" ? syntax.idLength : undefined;
  const shorten = (id: string) => (length === undefined ? id : shortenId(id, length));
  return split.map(({ content, tool_calls, tool_call_id, ...rest }) => ({
    ...rest,
    content: content === null && !(takesNull && tool_calls !== undefined) ? "" : content,
    ...(tool_calls === undefined || tool_calls.length === 0
      ? {}
      : { tool_calls: tool_calls.map((one) => ({ ...one, id: shorten(one.id ?? "") })) }),
    ...(tool_call_id === undefined ? {} : { tool_call_id: shorten(tool_call_id) }),
  }));
}

/** Equal ids stay equal. */
function shortenId(id: string, length: number): string {
  return new RegExp(`^[A-Za-z0-9]{${length}}$`).test(id)
    ? id
    : createHash("sha256").update(id).digest("hex").slice(0, length);
}

/** An answer with several calls as several answers, each with the result of its call. */
function splitCalls(messages: readonly FormatMessage[]): FormatMessage[] {
  const out: FormatMessage[] = [];
  for (let i = 0; i < messages.length; i++) {
    const message = messages[i];
    if (message?.tool_calls === undefined || message.tool_calls.length < 2) {
      out.push(...(message === undefined ? [] : [message]));
      continue;
    }
    const results: FormatMessage[] = [];
    while (messages[i + 1]?.role === "tool") {
      results.push(...messages.slice(++i, i + 1));
    }
    for (const [place, one] of message.tool_calls.entries()) {
      const result = results.find((each) => each.tool_call_id === one.id && each.tool_call_id !== undefined);
      const mine = result ?? results[place];
      out.push({ ...message, content: place === 0 ? message.content : null, tool_calls: [one] });
      out.push(...(mine === undefined ? [] : [mine]));
    }
  }
  return out;
}
