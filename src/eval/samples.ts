// What is kept of each document: lines of a samples file as lm-evaluation-harness writes them.

import { createHash } from "node:crypto";
import type { Doc } from "./data/types.js";
import type { Outcome, Request } from "./requests.js";
import type { MetricValues } from "./task.js";

export interface Sample {
  doc_id: number;
  doc: Doc;
  target: string | number | readonly string[];
  /** What was asked, one list for each request. */
  arguments: unknown[][];
  /** What came, once for each repetition, of which there is one. */
  resps: unknown[][];
  filtered_resps: unknown[];
  filter: string;
  metrics: string[];
  doc_hash: string;
  prompt_hash: string;
  target_hash: string;
  /** Token ids of the contexts, each that is not the one before it, and of the continuations; what was cut off the left. */
  bitnet: { contexts: number[][]; continuations: number[][]; cut: number };
  [metric: string]: unknown;
}

/** How a request is written down: its texts, and how a text was to be written. */
export type Arguments = [string] | [string, string | Readonly<Record<string, unknown>>];

export interface Asked {
  request: Request;
  arguments: Arguments;
}

export interface SampleParts {
  id: number;
  doc: Doc;
  target: Sample["target"];
  asked: readonly Asked[];
  outcomes: readonly Outcome[];
  filter: string;
  /** Of a text that was written: what the filter made of it. */
  answer?: string;
  metrics: MetricValues;
}

export function toSample({ id, doc, target, asked, outcomes, filter, answer, metrics }: SampleParts): Sample {
  const responses = asked.map(({ request }, place) => toResponse(request, outcomes[place]));
  return {
    doc_id: id,
    doc,
    target,
    arguments: asked.map((one) => one.arguments),
    resps: responses.map((response) => [response]),
    filtered_resps: answer === undefined ? responses : [answer],
    filter,
    metrics: Object.keys(metrics),
    doc_hash: hashText(JSON.stringify(doc, writeBigint, 2)),
    prompt_hash: hashText(asked[0]?.arguments[0] ?? ""),
    target_hash: hashText(pythonText(target)),
    bitnet: describeIds(asked.map(({ request }) => request)),
    ...metrics,
  };
}

/** As a line of the file. */
export function toLine(sample: Sample): string {
  return `${JSON.stringify(sample, writeBigint)}\n`;
}

function toResponse(request: Request, outcome: Outcome | undefined): unknown {
  if (outcome === undefined) {
    return null;
  }
  if ("text" in outcome) {
    return outcome.text;
  }
  return request.kind === "rolling" ? outcome.logLikelihood : [outcome.logLikelihood, outcome.isGreedy];
}

function describeIds(requests: readonly Request[]): Sample["bitnet"] {
  const contexts: Int32Array[] = [];
  const continuations: Int32Array[] = [];
  for (const request of requests) {
    for (const part of request.kind === "rolling" ? request.windows : [request]) {
      if (contexts.at(-1) !== part.context) {
        contexts.push(part.context);
      }
      if ("continuation" in part) {
        continuations.push(part.continuation);
      }
    }
  }
  const cut = Math.max(...requests.map((request) => request.cut), 0);
  return { contexts: contexts.map((ids) => [...ids]), continuations: continuations.map((ids) => [...ids]), cut };
}

export function hashText(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function writeBigint(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value;
}

/** str() of Python. */
function pythonText(value: Sample["target"]): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : `[${value.map(quote).join(", ")}]`;
}

/** repr() of Python: single quotes, unless the text has those and no double ones. */
function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text
    .replaceAll("\\", "\\\\")
    .replaceAll(mark, `\\${mark}`)
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r")
    .replaceAll("\t", "\\t");
  return mark + inner + mark;
}
