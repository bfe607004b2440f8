// The lines of a batch: what each of the three forms means as a request.

import { createHash } from "node:crypto";
import type { FileLine } from "../system/line-file.js";
import { isNestedDeeper } from "../system/nesting.js";

/** What a batch may ask. */
export const batchUrls = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"] as const;

export type BatchUrl = (typeof batchUrls)[number];

/** A line of a batch as it is sent. */
export interface BatchRequest {
  /** Of everything that decides its answer, and so the same in every run: "batch_req_" and 32 hexadecimal digits. */
  id: string;
  customId: string;
  url: BatchUrl;
  body: Readonly<Record<string, unknown>>;
  /** Characters of all that, about. */
  size: number;
}

/** How lines are read. */
export interface LineForm {
  /** Every line is the text of a prompt. */
  text?: boolean;
  /** Prompts without an url are messages to be answered, not texts to be continued. */
  chat?: boolean;
  /** Fields of the bodies that are made of prompts, where the line does not say. */
  defaults?: Readonly<Record<string, unknown>>;
  /** Lines without a seed get one of this number and their custom_id; undefined: they stay without. */
  seed?: number;
  /** The url that every line must have. */
  onlyUrl?: BatchUrl;
}

/** What is wrong with a line. */
export interface LineFault {
  /** From 1 on; 0: the file. */
  line: number;
  code: string;
  message: string;
  param?: string;
}

/** Longest line in bytes: what a server takes as a body. */
export const mostLineBytes = 8 * 2 ** 20;

const maxDepth = 64;
const maxIdLength = 512;
const byteOrderMark = /^\ufeff/;

export function isEmptyLine({ bytes, isTooLong, number }: FileLine): boolean {
  return !isTooLong && bytes.length < 1024 && decode(bytes, number)?.trim() === "";
}

/** The request of a line, or what is wrong with it. `index` counts lines that are not empty, from 0 on. */
export function readRequest(line: FileLine, index: number, form: LineForm): BatchRequest | LineFault {
  const fault = (code: string, message: string, param?: string): LineFault => ({
    ...{ line: line.number, code, message },
    ...(param === undefined ? {} : { param }),
  });
  if (line.isTooLong) {
    return fault("line_too_long", `expected at most ${mostLineBytes} bytes`);
  }
  const text = decode(line.bytes, line.number);
  if (text === undefined) {
    return fault("invalid_encoding", "expected UTF-8 text");
  }
  if (form.text) {
    return finish({ customId: `req_${index}`, ...bodyOfPrompt(text, {}, form) }, form);
  }
  if (isNestedDeeper(line.bytes, maxDepth)) {
    return fault("invalid_json", `expected JSON of at most ${maxDepth} levels`);
  }
  const value = parseObject(text);
  return typeof value === "string" ? fault("invalid_json", value) : readObject(value, index, form, fault);
}

export function isFault(read: BatchRequest | LineFault): read is LineFault {
  return "line" in read;
}

/** The bytes of an id, for tables of them. */
export function hashOfId(id: string): Buffer {
  return Buffer.from(id.slice(-32), "hex");
}

export function hashOfText(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function decode(bytes: Buffer, number: number): string | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return number === 1 ? text.replace(byteOrderMark, "") : text;
  } catch {
    return undefined;
  }
}

/** An object, or why there is none. */
function parseObject(text: string): Record<string, unknown> | string {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : "expected a JSON object";
  } catch (error) {
    return `expected a JSON object: ${(error as Error).message.replace(/\s+/g, " ").slice(0, 100)}`;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

type MakeFault = (code: string, message: string, param?: string) => LineFault;

function readObject(
  value: Record<string, unknown>,
  index: number,
  form: LineForm,
  fault: MakeFault,
): BatchRequest | LineFault {
  const isPrompt = value.prompt !== undefined && value.body === undefined;
  const given = value.custom_id ?? (isPrompt ? (value.id ?? `req_${index}`) : undefined);
  const customId = typeof given === "number" ? String(given) : given;
  if (typeof customId !== "string" || customId === "" || customId.length > maxIdLength) {
    return fault("invalid_custom_id", `expected a text of 1 to ${maxIdLength} characters`, "custom_id");
  }
  if (isPrompt) {
    const { id: _, custom_id: __, prompt, ...rest } = value;
    return typeof prompt === "string"
      ? finish({ customId, ...bodyOfPrompt(prompt, rest, form) }, form)
      : fault("invalid_prompt", "expected a text", "prompt");
  }
  const { method = "POST", url, body } = value;
  if (method !== "POST") {
    return fault("invalid_method", 'expected "POST"', "method");
  }
  if (!batchUrls.includes(url as BatchUrl)) {
    return fault("invalid_url", `expected one of ${batchUrls.join(", ")}`, "url");
  }
  if (form.onlyUrl !== undefined && url !== form.onlyUrl) {
    return fault("mismatched_endpoint", `expected ${form.onlyUrl}, which the batch is for`, "url");
  }
  if (!isObject(body)) {
    return fault("invalid_body", "expected a JSON object", "body");
  }
  return body.stream === true
    ? fault("invalid_body", "a batch has no streams: leave it out", "body.stream")
    : finish({ customId, url: url as BatchUrl, body }, form);
}

function bodyOfPrompt(
  prompt: string,
  rest: Readonly<Record<string, unknown>>,
  { chat, defaults }: LineForm,
): Pick<BatchRequest, "url" | "body"> {
  return chat
    ? { url: "/v1/chat/completions", body: { messages: [{ role: "user", content: prompt }], ...defaults, ...rest } }
    : { url: "/v1/completions", body: { prompt, ...defaults, ...rest } };
}

/** With a seed, and as work in the background, where the line does not say. */
function finish(
  { customId, url, body }: Pick<BatchRequest, "customId" | "url" | "body">,
  { seed }: LineForm,
): BatchRequest {
  const samples = url !== "/v1/embeddings";
  const whole = {
    ...body,
    ...(samples && seed !== undefined && (body.seed ?? null) === null ? { seed: seedOf(seed, customId) } : {}),
    ...(samples && (body.service_tier ?? null) === null ? { service_tier: "flex" } : {}),
  };
  const text = JSON.stringify([customId, url, whole]);
  const id = `batch_req_${hashOfText(text).toString("hex").slice(0, 32)}`;
  return { id, customId, url, body: whole, size: text.length };
}

/** 31 bits: what every server takes. */
function seedOf(seed: number, customId: string): number {
  return hashOfText(`${seed} ${customId}`).readUInt32LE(0) >>> 1;
}
