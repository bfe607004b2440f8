// One request and its answer over HTTP: its body, who asks, when they leave, what goes into the headers.

import type { FastifyReply, FastifyRequest } from "fastify";
import { addressClient } from "../addresses.js";
import type { ServerContext } from "../context.js";
import { ApiError } from "../errors.js";
import { Fields } from "../fields.js";
import { logFault } from "../log.js";
import type { Client, RunContext } from "../request.js";
import { type Framing, sendStream } from "../sse.js";
import { findAdapterModel } from "./adapters.js";

/** The address stands for clients without a key. */
export function clientOf(request: FastifyRequest): Client {
  return request.client ?? addressClient(request.ip);
}

/** Fires when the client leaves before its answer is complete. */
export function signalOfClient(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) {
      gone.abort();
    }
  });
  return gone.signal;
}

export function contextOf(request: FastifyRequest, reply: FastifyReply): RunContext {
  return { client: clientOf(request), requestId: request.id, signal: signalOfClient(reply), notes: request.notes };
}

/** The body as fields. */
export function bodyOf(request: FastifyRequest): Fields {
  return new Fields(request.body);
}

/** Tells which fields of the body were of no use; what the entries of a list have alike is told of the first. */
export function nameIgnored(reply: FastifyReply, body: Fields): void {
  const seen = new Set<string>();
  const names = body.unknown().filter((name) => {
    const anywhere = name.replace(/\[\d+\]/g, "[]");
    const isNew = /^[\w.[\]-]{1,128}$/.test(name) && !seen.has(anywhere);
    seen.add(anywhere);
    return isNew;
  });
  reply.request.notes?.nameIgnored(names);
}

/** 404 where another model than the served one is asked for, if that matters. */
export function checkModel(context: ServerContext, name: string | undefined): void {
  const { strictModel, aliases } = context.options;
  const isServed =
    name === context.modelId || aliases.includes(name ?? "") || findAdapterModel(context, name) !== undefined;
  if (strictModel && name !== undefined && !isServed) {
    throw new ApiError("not_found_error", `the model ${JSON.stringify(name.slice(0, 100))} does not exist`, {
      code: "model_not_found",
      param: "model",
      shouldRetry: false,
    });
  }
}

/** Sends messages as they come. */
export async function sendMessages(
  context: ServerContext,
  reply: FastifyReply,
  messages: AsyncIterable<string>,
  framing?: Framing,
): Promise<FastifyReply> {
  const { pingInterval } = context.options;
  const { id, routeOptions } = reply.request;
  await sendStream(reply, messages, {
    ...{ pingInterval, framing },
    onDropped: () => context.onDropped(),
    onFailure: (error) => logFault(context.log, error, id, routeOptions.url),
  });
  return reply;
}
