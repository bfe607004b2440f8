// A line for every request: who, what, how it ended. Never a key or an address; texts only if the operator wants them.

import { AppendFile } from "./append-file.js";
import type { Register, ServerContext } from "./context.js";
import type { ExchangeRecord, TextRecord } from "./records.js";
import type { AnswerPiece, TextRequest } from "./request.js";

export const register: Register = (_, context) => {
  const { auditLog, auditContent, logFile } = context.options;
  if (auditLog !== undefined) {
    const file = new AppendFile(auditLog, {
      mode: 0o600,
      onFailure: (reason) => context.log({ level: "error", message: `the audit log is not complete: ${reason}` }),
    });
    context.onReload(() => file.reopen());
    context.onClose(() => file.close());
    const texts = new WeakMap<TextRecord, string[]>();
    context.watchers.push({
      onEvent: (event, record) => {
        if (auditContent && event.kind === "delta") {
          const list = texts.get(record) ?? [];
          list[event.choice] = (list[event.choice] ?? "") + event.pieces.map(textOf).join("");
          texts.set(record, list);
        }
      },
      onExchange: (exchange) => {
        if (exchange.access !== "open") {
          const content = auditContent
            ? {
                input: exchange.texts.map(({ request }) => inputOf(request)),
                output: exchange.texts.flatMap((t) => texts.get(t) ?? []),
              }
            : {};
          file.write(`${JSON.stringify({ ...lineOf(exchange, context), ...content })}\n`);
        }
      },
    });
  }
  if (logFile !== undefined) {
    context.watchers.push({
      onExchange: ({ id, method, route, status, code, ms }) => {
        const fields = { requestId: id, method, route, status, code, ms: Math.round(ms) };
        context.log({ level: "info", message: "request", fields });
      },
    });
  }
};

/** What is known of a request. JSON escapes what could break a line, and ids and routes have none of that anyway. */
export function lineOf(exchange: ExchangeRecord, context: ServerContext): Record<string, unknown> {
  const { id, client, method, route, status, code, ms, texts, notes } = exchange;
  const sum = (read: (record: TextRecord) => number) => texts.reduce((total, record) => total + read(record), 0);
  return {
    time: new Date().toISOString(),
    request_id: id,
    client: client === undefined ? null : context.markOf(client.id),
    ...{ method, route, model: context.modelId, status },
    code: code ?? null,
    prompt_tokens: sum(({ usage }) => usage.promptTokens),
    completion_tokens: sum(({ usage }) => usage.completionTokens),
    cached_tokens: sum(({ usage }) => usage.cachedTokens),
    ms: Math.round(ms),
    finish: texts.flatMap(({ finishes }) => finishes).join(",") || null,
    rule: [...notes.rules].join(",") || null,
  };
}

function textOf(piece: AnswerPiece): string {
  return piece.kind === "call" ? `${piece.name} ` : piece.text;
}

function inputOf({ prompt }: TextRequest): unknown {
  switch (prompt.kind) {
    case "chat":
      return prompt.messages;
    case "text":
      return prompt.parts;
    case "embed":
      return prompt.inputs.map(({ parts }) => parts);
  }
}
