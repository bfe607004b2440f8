// What became of a line, as it is written into the output.

import type { BatchRequest } from "./request.js";

/** An answer over HTTP, whatever its status, or why there is none. */
export type BatchOutcome =
  | { id: string; customId: string; status: number; requestId: string; body: unknown }
  | { id: string; customId: string; code: string; message: string };

export function isSuccess(outcome: BatchOutcome): boolean {
  return "status" in outcome && outcome.status >= 200 && outcome.status < 300;
}

/** Why a line failed, in one word and in a sentence. */
export function failureOf(outcome: BatchOutcome): { code: string; message: string } | undefined {
  if (!("status" in outcome)) {
    return { code: outcome.code, message: outcome.message };
  }
  if (isSuccess(outcome)) {
    return undefined;
  }
  const error = (outcome.body as { error?: { code?: unknown; message?: unknown } } | null | undefined)?.error;
  const code = typeof error?.code === "string" ? error.code : `http_${outcome.status}`;
  return { code, message: typeof error?.message === "string" ? error.message : `status ${outcome.status}` };
}

/** The line of the output, with its end. `raw`: with everything that differs from run to run. */
export function formatOutcome(outcome: BatchOutcome, raw: boolean): string {
  const { id, customId } = outcome;
  const response =
    "status" in outcome
      ? {
          status_code: outcome.status,
          request_id: raw ? outcome.requestId : id,
          body: raw ? outcome.body : withoutChance(outcome.body, id),
        }
      : null;
  return `${JSON.stringify({ id, custom_id: customId, response, error: failureOf(outcome) ?? null })}\n`;
}

/** A line of an output file as far as it matters for who goes on. Undefined: it is none. */
export function readOutcomeLine(bytes: Buffer): { id: string; isSuccess: boolean; model?: string } | undefined {
  try {
    const { id, response, error } = JSON.parse(bytes.toString("utf8"));
    if (typeof id !== "string" || !/^batch_req_[0-9a-f]{32}$/.test(id)) {
      return undefined;
    }
    const { model } = response?.body ?? {};
    const status: unknown = response?.status_code;
    return {
      id,
      isSuccess: error === null && typeof status === "number" && status >= 200 && status < 300,
      ...(typeof model === "string" ? { model } : {}),
    };
  } catch {
    return undefined;
  }
}

export function failedOutcome({ id, customId }: BatchRequest, code: string, message: string): BatchOutcome {
  return { id, customId, code, message };
}

const times = new Set(["created", "created_at", "completed_at"]);
const names = new Set(["id", "call_id", "item_id"]);
/** Of one run: how long it took, and what happened to be in a cache. */
const ofOneRun = new Set(["timings", "prompt_tokens_details", "input_tokens_details"]);
/** What the client itself has said is left alone. */
const ofClient = new Set(["metadata", "content", "text", "arguments"]);
const randomName = /^([a-z]+[-_])[0-9A-Za-z-]{16,}$/;

/**
 * A body that is the same whenever it is the answer to the same request: times are 0, random ids are made of the line's id,
 * and what tells of one run only is left out.
 */
function withoutChance(body: unknown, id: string): unknown {
  const hash = id.slice(-32);
  const renamed = new Map<string, string>();
  const rename = (name: string) => {
    const prefix = randomName.exec(name)?.[1];
    if (prefix !== undefined && !renamed.has(name)) {
      renamed.set(name, prefix + (renamed.size === 0 ? hash : `${hash}_${renamed.size}`));
    }
    return renamed.get(name) ?? name;
  };
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) {
      return typeof value[0] === "number" ? value : value.map(visit);
    }
    if (typeof value !== "object" || value === null) {
      return value;
    }
    const entries = Object.entries(value).filter(([key]) => !ofOneRun.has(key));
    return Object.fromEntries(
      entries.map(([key, field]) => {
        if (times.has(key) && typeof field === "number") {
          return [key, 0];
        }
        const isName = names.has(key) && typeof field === "string";
        return [key, isName ? rename(field) : ofClient.has(key) && !Array.isArray(field) ? field : visit(field)];
      }),
    );
  };
  return visit(body);
}

/** Tokens that an answer has cost. */
export function tokensOf(outcome: BatchOutcome): { prompt: number; completion: number } {
  const usage =
    "status" in outcome ? (outcome.body as { usage?: Record<string, unknown> } | null | undefined)?.usage : undefined;
  const count = (...keys: string[]) => {
    const value = keys.map((key) => usage?.[key]).find((each) => typeof each === "number");
    return typeof value === "number" ? value : 0;
  };
  return { prompt: count("prompt_tokens", "input_tokens"), completion: count("completion_tokens", "output_tokens") };
}
