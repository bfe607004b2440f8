// A chat as token ids.
//
// Message contents are never read as control tokens: a chat is rendered with private marks in place of the contents,
// so that it is known which text comes from the template. Only control tokens there are parsed.

import { randomBytes } from "node:crypto";
import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError } from "../system/errors.js";
import type { ChatFormat, FormatMessage, FormatTokenizer, RenderOptions, ToolCall } from "./format.js";
import type { Plain } from "./template/template.js";

// Of arguments, schemas of tools and variables; real ones stay far below.
const maxDepth = 200;

export type ChatTokenizer = FormatTokenizer & Pick<Tokenizer, "piece" | "isEog" | "decode">;

/** A stretch of rendered chat; `content` tells whether a message or the template wrote it. */
export interface ChatPart {
  text: string;
  content: boolean;
}

/** The chat as parts; their texts joined are what the format renders. */
export function renderParts(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  given: readonly FormatMessage[],
  addGenerationPrompt: boolean,
  options: RenderOptions = {},
): ChatPart[] {
  const breakNames = (text: string) => breakSpecialTokens(text, tokenizer);
  const messages = given.map((message) => breakDetails(message, breakNames));
  const harmlessOptions = breakOptions(options, breakNames);
  const render = (written: readonly FormatMessage[]) => format.render(written, addGenerationPrompt, harmlessOptions);
  const rendered = render(messages);
  const asIs = (content: string) => content;
  const trimmed = (content: string) => content.trim();
  const bare = renderMarked(render, messages, () => ["", ""]);
  // Most templates write contents as they are or trimmed; marks can stand for either.
  for (const write of [asIs, trimmed]) {
    const parts = bare(write);
    if (joinParts(parts) === rendered) {
      return parts;
    }
  }
  // Some trim only some roles: leave the space around the marks to the template.
  const spaced = renderMarked(render, messages, surroundingSpace)(trimmed);
  if (joinParts(spaced) === rendered) {
    return spaced;
  }
  // The template rewrites contents (it may cut out an earlier answer's reasoning), so its output is all there is. The
  // names of special tokens in contents are broken up first.
  const harmless = messages.map((message) => ({
    ...message,
    content: message.content === null ? null : breakSpecialTokens(message.content, tokenizer),
  }));
  return [{ text: render(harmless), content: false }];
}

/**
 * Renders with marks for the contents, each with the text `around` it; the result puts the contents in their places, as
 * `write` gives them.
 */
function renderMarked(
  render: (messages: readonly FormatMessage[]) => string,
  messages: readonly FormatMessage[],
  around: (content: string) => readonly [string, string],
): (write: (content: string) => string) => ChatPart[] {
  // Private-use characters around a random number: no content can contain a mark on purpose.
  const key = randomBytes(8).readBigUInt64LE();
  const marked = messages.map((message, index) => {
    if (message.content === null) {
      return message;
    }
    const [before, after] = around(message.content);
    return { ...message, content: `${before}\uE000${key}:${index}\uE001${after}` };
  });
  const pieces = render(marked).split(new RegExp(`\uE000${key}:(\\d+)\uE001`));
  // split() puts the captured message number at every odd place.
  return (write) =>
    pieces.map((piece, place) =>
      place % 2 === 0
        ? { text: piece, content: false }
        : { text: write(contentAt(messages, Number(piece))), content: true },
    );
}

function contentAt(messages: readonly FormatMessage[], index: number): string {
  const content = messages[index]?.content;
  if (typeof content !== "string") {
    throw new BitnetError("INTERNAL", `a mark for message ${index} of ${messages.length}`);
  }
  return content;
}

function surroundingSpace(content: string): [string, string] {
  const core = content.trim();
  if (core === "") {
    return [content, ""];
  }
  const start = content.indexOf(core);
  return [content.slice(0, start), content.slice(start + core.length)];
}

function joinParts(parts: readonly ChatPart[]): string {
  return parts.map((part) => part.text).join("");
}

/** The message with all its texts but the content, which no marks stand for, as `change` writes them. */
function breakDetails(message: FormatMessage, change: (text: string) => string): FormatMessage {
  const { tool_calls, tool_call_id, name, reasoning_content } = message;
  return {
    ...message,
    ...(tool_calls === undefined ? {} : { tool_calls: tool_calls.map((call) => breakCall(call, change)) }),
    ...(tool_call_id === undefined ? {} : { tool_call_id: change(tool_call_id) }),
    ...(name === undefined ? {} : { name: change(name) }),
    ...(reasoning_content === undefined ? {} : { reasoning_content: change(reasoning_content) }),
  };
}

/** What clients may have written of the options: tools and variables. */
function breakOptions({ tools, variables, ...rest }: RenderOptions, change: (text: string) => string): RenderOptions {
  return {
    ...rest,
    ...(tools === undefined ? {} : { tools: tools.map((tool) => changeTexts(tool, change, 0, "tools")) }),
    ...(variables === undefined ? {} : { variables: changeEntries(variables, change, 0, "variables") }),
  };
}

function breakCall({ id, function: called, ...rest }: ToolCall, change: (text: string) => string): ToolCall {
  const { name, arguments: given } = called;
  const written = typeof given === "string" ? change(given) : changeEntries(given, change, 0, "tool_calls: arguments");
  return {
    ...rest,
    ...(id === undefined ? {} : { id: change(id) }),
    function: { name: change(name), arguments: written },
  };
}

type PlainEntries = { readonly [key: string]: Plain };

/** `subject` is what an error calls it. */
function changeEntries(
  entries: PlainEntries,
  change: (text: string) => string,
  depth: number,
  subject: string,
): PlainEntries {
  if (depth > maxDepth) {
    throw new BitnetError("USAGE", `${subject}: nested more than ${maxDepth} levels deep`);
  }
  const changeOne = (value: Plain): Plain => changeTexts(value, change, depth + 1, subject);
  return Object.fromEntries(Object.entries(entries).map(([key, value]) => [change(key), changeOne(value)]));
}

function changeTexts(value: Plain, change: (text: string) => string, depth: number, subject: string): Plain {
  if (typeof value === "string") {
    return change(value);
  }
  if (typeof value !== "object" || value === null) {
    return value;
  }
  // The entries of a list are its items.
  const changed = changeEntries(value as PlainEntries, change, depth, subject);
  return Array.isArray(value) ? Object.values(changed) : changed;
}

/** With an invisible space inside the name of every special token. */
function breakSpecialTokens(text: string, tokenizer: ChatTokenizer): string {
  const zeroWidthSpace = "\u200b";
  let broken = "";
  let cursor = 0;
  for (const { start } of findTokens(text, tokenizer, (id) => isControl(id, tokenizer) || isMarker(id, tokenizer))) {
    broken += text.slice(cursor, start + 1) + zeroWidthSpace;
    cursor = start + 1;
  }
  return broken + text.slice(cursor);
}

/** Token ids of a whole chat, for callers that keep no state. */
export function encodeChat(
  format: ChatFormat,
  tokenizer: ChatTokenizer,
  messages: readonly FormatMessage[],
  addGenerationPrompt = true,
  options: RenderOptions = {},
): number[] {
  const parts = renderParts(format, tokenizer, messages, addGenerationPrompt, options);
  return addBos(encodeParts(parts, tokenizer, findMarkers(format, tokenizer)), tokenizer);
}

/**
 * Token ids of parts. Between two control tokens of the template, its text and the contents are encoded as one, so
 * that merges across their border are those of the training data.
 */
export function encodeParts(
  parts: readonly ChatPart[],
  tokenizer: ChatTokenizer,
  markers: readonly string[],
): number[] {
  const ids: number[] = [];
  for (const stretch of cutParts(parts, tokenizer, markers)) {
    append(ids, typeof stretch === "number" ? [stretch] : encodePlain(stretch, tokenizer));
  }
  return ids;
}

// Shorter texts are encoded before another thread would have begun.
const longText = 1 << 14; // characters

/** The same, where long texts do not keep the thread. */
export async function encodePartsAsync(
  parts: readonly ChatPart[],
  tokenizer: ChatTokenizer & Pick<Tokenizer, "encodeAsync">,
  markers: readonly string[],
): Promise<number[]> {
  const ids: number[] = [];
  for (const stretch of cutParts(parts, tokenizer, markers)) {
    if (typeof stretch === "number") {
      ids.push(stretch);
    } else if (stretch.length < longText) {
      append(ids, encodePlain(stretch, tokenizer));
    } else {
      append(ids, await tokenizer.encodeAsync(stretch, { addSpecial: false }));
    }
  }
  return ids;
}

/** One by one: there may be more than a call can have arguments. */
function append(ids: number[], more: Iterable<number>): void {
  for (const id of more) {
    ids.push(id);
  }
}

/** Control tokens as their ids, and the plain text between them. */
function cutParts(
  parts: readonly ChatPart[],
  tokenizer: ChatTokenizer,
  markers: readonly string[],
): (number | string)[] {
  const stretches: (number | string)[] = [];
  let plain = "";
  const flush = () => {
    if (plain !== "") {
      stretches.push(plain);
      plain = "";
    }
  };
  for (const part of parts) {
    if (part.content) {
      for (const [index, piece] of cutMarkers(part.text, markers).entries()) {
        if (index > 0) {
          flush();
        }
        plain += piece;
      }
      continue;
    }
    let cursor = 0;
    for (const { id, start, end } of findTokens(part.text, tokenizer, (id) => isControl(id, tokenizer))) {
      plain += part.text.slice(cursor, start);
      flush();
      stretches.push(id);
      cursor = end;
    }
    plain += part.text.slice(cursor);
  }
  flush();
  return stretches;
}

/** The beginning of an answer, as it stands after a prompt for one. */
export function encodeBegun(text: string, tokenizer: ChatTokenizer, markers: readonly string[]): number[] {
  return text === "" ? [] : encodeParts([{ text, content: true }], tokenizer, markers);
}

/** BOS first if the model wants it and the template did not write it. */
export function addBos(ids: number[], tokenizer: ChatTokenizer): number[] {
  const { bos, addBos } = tokenizer.info;
  return addBos && bos >= 0 && ids[0] !== bos ? [bos, ...ids] : ids;
}

/** Where the special tokens that are `wanted` stand in a text. */
function findTokens(
  text: string,
  tokenizer: ChatTokenizer,
  wanted: (id: number) => boolean,
): { id: number; start: number; end: number }[] {
  const found: { id: number; start: number; end: number }[] = [];
  let cursor = 0;
  for (const id of encodePlain(text, tokenizer, true)) {
    if (!wanted(id)) {
      continue;
    }
    const name = tokenizer.piece(id, { special: true });
    const start = text.indexOf(name, cursor);
    if (start >= 0) {
      cursor = start + name.length;
      found.push({ id, start, end: cursor });
    }
  }
  return found;
}

export function encodePlain(text: string, tokenizer: ChatTokenizer, parseSpecial = false): number[] {
  return [...tokenizer.encode(text, { addSpecial: false, parseSpecial })];
}

/** Are there control tokens in a text of the format? What is generated by a grammar has none. */
export function hasControlTokens(text: string, tokenizer: ChatTokenizer): boolean {
  return encodePlain(text, tokenizer, true).some((id) => isControl(id, tokenizer));
}

function isControl(id: number, tokenizer: ChatTokenizer): boolean {
  return tokenizer.piece(id) === "" && tokenizer.piece(id, { special: true }) !== "";
}

/** A user-defined token that looks like markup: tokenizers recognize those in any text. */
function isMarker(id: number, tokenizer: ChatTokenizer): boolean {
  return tokenizer.isEog(id) || /^<[^\s<>]+>$/.test(tokenizer.piece(id, { special: true }));
}

/**
 * Markup of the format, and ends of answers, that the tokenizer would recognize even in plain text: what a content
 * must not be able to say.
 */
export function findMarkers(format: ChatFormat, tokenizer: ChatTokenizer): string[] {
  const ids = new Set([...encodePlain(renderSample(format), tokenizer), ...tokenizer.info.eog]);
  return [...ids]
    .filter((id) => isMarker(id, tokenizer))
    .map((id) => tokenizer.piece(id, { special: true }))
    .filter((name) => name !== "" && encodePlain(name, tokenizer).length === 1);
}

/** A chat with every role that the format knows. */
function renderSample(format: ChatFormat): string {
  const system = { role: "system", content: "a" };
  const turns = [
    { role: "user", content: "b" },
    { role: "assistant", content: "c" },
    { role: "user", content: "d" },
  ];
  try {
    return format.render([system, ...turns], true);
  } catch {
    return format.render(turns, true); // no system role; a template that fails at all says so here
  }
}

/** Cuts `text` inside every marker: its pieces, encoded one by one, hold none. */
function cutMarkers(text: string, markers: readonly string[]): string[] {
  const pieces: string[] = [];
  let start = 0;
  if (markers.length > 0) {
    const anyMarker = new RegExp(`(?=${markers.map(escapeRegExp).join("|")})`, "g");
    for (const match of text.matchAll(anyMarker)) {
      pieces.push(text.slice(start, match.index + 1));
      start = match.index + 1;
    }
  }
  pieces.push(text.slice(start));
  return pieces;
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
