// How much a client may ask for: requests and tokens within 60 s, and the length of a prompt.

import type { FastifyReply } from "fastify";
import type { FormatMessage } from "../chat/format.js";
import { accessOf } from "./auth.js";
import type { Register } from "./context.js";
import { ApiError, invalid } from "./errors.js";
import type { ServeOptions } from "./options.js";
import { type Meter, type RateLimits, RateLog, type RateVerdict } from "./rate-log.js";
import type { AnsweredPrompt, Client, EmbedPrompt, TextEvent, TextRequest } from "./request.js";
import { SharedRates } from "./shared-rates.js";

export const register: Register = async (app, context) => {
  const { options } = context;
  const { redis: url, apiPrefix } = options;
  const rates = url === undefined ? new RateLog() : await SharedRates.open({ url, log: context.log });
  if (rates instanceof SharedRates) {
    context.onClose(() => rates.close());
  }
  app.addHook("onRequest", async (request, reply) => {
    const { client, notes } = request;
    if (
      client === undefined ||
      notes?.isInside ||
      request.method !== "POST" ||
      accessOf(request, apiPrefix) !== "chat"
    ) {
      return;
    }
    const limits = limitsOf(client, options);
    if (limits.requests + limits.tokens > 0) {
      const verdict = await rates.take(client.id, limits);
      writeHeaders(reply, verdict);
      checkVerdict(verdict);
    }
  });
  context.stages.push((request, { client, notes }, next) => {
    const checked = limitChars(request, options);
    return limitsOf(client, options).tokens > 0 && !notes.isInside
      ? countTokens(next(checked), (count) => rates.charge(client.id, count))
      : next(checked);
  });
};

/** Those of a key, where it has some, else the server's. */
function limitsOf(
  { requestsPerMinute, tokensPerMinute }: Client,
  options: Pick<ServeOptions, "requestsPerMinute" | "tokensPerMinute">,
): RateLimits {
  return {
    requests: requestsPerMinute ?? options.requestsPerMinute,
    tokens: tokensPerMinute ?? options.tokensPerMinute,
  };
}

function writeHeaders(reply: FastifyReply, { requests, tokens }: RateVerdict): void {
  for (const [name, { limit, remaining, resetMs }] of Object.entries({ requests, tokens }) as [string, Meter][]) {
    if (limit > 0) {
      reply.header(`x-ratelimit-limit-${name}`, limit);
      reply.header(`x-ratelimit-remaining-${name}`, remaining);
      reply.header(`x-ratelimit-reset-${name}`, `${(resetMs / 1000).toFixed(3)}s`);
    }
  }
}

function checkVerdict(verdict: RateVerdict): void {
  const { refused } = verdict;
  if (refused !== undefined) {
    const { limit } = verdict[refused.by];
    throw new ApiError("rate_limit_error", `more than ${limit} ${refused.by} within 60 s`, {
      code: "rate_limit_exceeded",
      retryAfter: Math.max(0.001, refused.retryMs / 1000),
    });
  }
}

const chargeEvery = 32; // tokens

/** Counts tokens as they come, so that whoever leaves early has paid for what was computed. */
async function* countTokens(
  events: AsyncIterable<TextEvent>,
  charge: (count: number) => void,
): AsyncGenerator<TextEvent> {
  let owed = 0;
  const pay = () => {
    if (owed > 0) {
      charge(owed);
      owed = 0;
    }
  };
  try {
    for await (const event of events) {
      if (event.kind === "started") {
        charge(event.promptTokens);
      } else if (event.kind === "delta") {
        owed += event.tokens.length;
        if (owed >= chargeEvery) {
          pay();
        }
      }
      yield event;
    }
  } finally {
    pay();
  }
}

/** 400 for a prompt of too many characters; with `truncateInput`, it without its beginning. */
function limitChars(
  request: TextRequest,
  { maxInputChars, truncateInput }: Pick<ServeOptions, "maxInputChars" | "truncateInput">,
): TextRequest {
  const { prompt } = request;
  if (prompt.kind === "embed") {
    return maxInputChars === 0 ? request : { ...request, prompt: limitInputs(prompt, maxInputChars) };
  }
  const length = lengthOf(prompt);
  if (maxInputChars === 0 || length <= maxInputChars) {
    return request;
  }
  if (!truncateInput) {
    const param = prompt.kind === "chat" ? "messages" : "prompt";
    throw invalid(param, `expected at most ${maxInputChars} characters, got ${length}`);
  }
  return prompt.kind === "chat"
    ? { ...request, prompt: { ...prompt, messages: cutMessages(prompt.messages, length - maxInputChars) } }
    : { ...request, prompt: { ...prompt, parts: cutParts(prompt.parts, length - maxInputChars) } };
}

/** Of texts that are embedded each is a prompt; one that is cut loses its end. */
function limitInputs(prompt: EmbedPrompt, most: number): EmbedPrompt {
  const inputs = prompt.inputs.map((input) => {
    const length = lengthOfParts(input.parts);
    if (length > most && !prompt.truncate) {
      throw invalid(input.path, `expected at most ${most} characters, got ${length}`);
    }
    let room = most;
    const parts = input.parts.map((part) => {
      const kept = typeof part === "string" ? part.slice(0, Math.max(0, room)) : part;
      room -= typeof kept === "string" ? kept.length : 0;
      return kept;
    });
    return { ...input, parts };
  });
  return { ...prompt, inputs };
}

function lengthOf(prompt: AnsweredPrompt): number {
  return prompt.kind === "chat"
    ? prompt.messages.reduce((sum, { content }) => sum + (content?.length ?? 0), 0)
    : lengthOfParts(prompt.parts);
}

function lengthOfParts(parts: readonly (string | readonly number[])[]): number {
  return parts.reduce((sum, part) => sum + (typeof part === "string" ? part.length : 0), 0);
}

/** The oldest messages go first, but for the system's; of the last one, the beginning. */
function cutMessages(messages: readonly FormatMessage[], excess: number): FormatMessage[] {
  let left = excess;
  return messages.flatMap((message, i) => {
    const { content, role } = message;
    if (left <= 0 || content === null || role === "system") {
      return [message];
    }
    if (i < messages.length - 1) {
      left -= content.length;
      return [];
    }
    const cut = content.slice(left);
    left = 0;
    return [{ ...message, content: cut }];
  });
}

function cutParts(parts: readonly (string | readonly number[])[], excess: number): (string | readonly number[])[] {
  let left = excess;
  return parts.map((part) => {
    if (typeof part !== "string") {
      return part;
    }
    const cut = part.slice(left);
    left = Math.max(0, left - part.length);
    return cut;
  });
}
