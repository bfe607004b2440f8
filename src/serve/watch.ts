// What is seen of every request: when it began, waited, told its first token and ended, what it cost, and how it ended.
// Metrics, the audit log and the monitor are told from here.

import type { FastifyRequest } from "fastify";
import { accessOf } from "./auth.js";
import type { Register } from "./context.js";
import { toApiError } from "./errors.js";
import type { ExchangeRecord, TextRecord, Watcher } from "./records.js";
import type { RunNotes, StageContext, TextEvent, TextRequest } from "./request.js";

/** Does something with every watcher. */
type Tell = (what: (watcher: Watcher) => void) => void;

export const register: Register = (app, context) => {
  const { watchers, options } = context;
  const tell: Tell = (what) => {
    for (const watcher of watchers) {
      try {
        what(watcher);
      } catch (error) {
        // Who watches must not end what is watched.
        context.log({ level: "error", message: "a request was not written down", fields: { error: String(error) } });
      }
    }
  };
  const texts = new WeakMap<RunNotes, TextRecord[]>();
  context.stages.push((request, run, next) => {
    const record = newRecord(request, run);
    const list = texts.get(run.notes) ?? [];
    list.push(record);
    texts.set(run.notes, list);
    return watchText(record, next(request), tell);
  });
  app.addHook("onRequest", async (request, reply) => {
    const startedAt = performance.now();
    reply.raw.once("close", () => {
      const record = recordOf(request, performance.now() - startedAt, options.apiPrefix);
      if (record !== undefined) {
        record.status = reply.raw.headersSent ? reply.raw.statusCode : 499;
        record.texts = texts.get(record.notes) ?? [];
        record.code ??= record.texts.find(({ error }) => error !== undefined)?.error?.details.code;
        tell((watcher) => watcher.onExchange?.(record));
      }
    });
  });
};

function recordOf(request: FastifyRequest, ms: number, prefix: string): ExchangeRecord | undefined {
  const { id, method, client, notes, routeOptions } = request;
  return (
    notes && {
      ...{ id, method, client, notes, ms, status: 0, texts: [], code: notes.code },
      route: routeOptions.url ?? "",
      access: accessOf(request, prefix),
    }
  );
}

function newRecord(request: TextRequest, run: StageContext): TextRecord {
  const { client, requestId, notes } = run;
  return {
    ...{ request, client, requestId, notes, run, startedAt: performance.now(), queueMs: 0, ms: 0, finishes: [] },
    usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 },
    end: "running",
  };
}

async function* watchText(record: TextRecord, events: AsyncIterable<TextEvent>, tell: Tell): AsyncGenerator<TextEvent> {
  const lastTokenAt: number[] = [];
  try {
    for await (const event of events) {
      note(record, event);
      if (event.kind === "delta" && event.tokens.length > 0) {
        noteTokens(event, lastTokenAt, tell);
      }
      tell((watcher) => watcher.onEvent?.(event, record));
      yield event;
    }
  } catch (error) {
    record.error = toApiError(error);
    record.end = record.error.details.code === "client_closed_request" ? "left" : "failed";
    record.notes.code ??= record.error.details.code;
    throw error;
  } finally {
    if (record.end === "running") {
      record.end = "left";
    }
    record.ms = performance.now() - record.startedAt;
    tell((watcher) => watcher.onText?.(record));
  }
}

function note(record: TextRecord, event: TextEvent): void {
  const { usage } = record;
  switch (event.kind) {
    case "started":
      record.queueMs = event.queueMs;
      Object.assign(usage, { promptTokens: event.promptTokens, cachedTokens: event.cachedTokens });
      break;
    case "delta":
      record.firstTokenMs ??= performance.now() - record.startedAt;
      usage.completionTokens += event.tokens.length;
      break;
    case "finish":
      record.finishes.push(event.finish);
      break;
    case "end":
      record.usage = event.usage;
      record.timings = event.timings;
      record.end = "complete"; // nobody need wait for the end of the events
      record.queueMs ||= event.timings.queueMs;
  }
}

/** Tokens that come together have shared the time. */
function noteTokens(
  { choice, tokens }: Extract<TextEvent, { kind: "delta" }>,
  lastTokenAt: number[],
  tell: Tell,
): void {
  const now = performance.now();
  const before = lastTokenAt[choice];
  lastTokenAt[choice] = now;
  if (before === undefined) {
    return;
  }
  const seconds = (now - before) / 1000 / tokens.length;
  tell((watcher) => {
    for (let i = 0; i < tokens.length; i++) {
      watcher.onToken?.(seconds);
    }
  });
}
