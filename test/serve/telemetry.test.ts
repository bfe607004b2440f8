// Spans of requests, as a program that was set up before the server sees them.

import { context, propagation, type Span, type SpanContext, TraceFlags, trace } from "@opentelemetry/api";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

interface Seen {
  name: string;
  attributes: Record<string, unknown>;
  parent: string | undefined;
  isEnded: boolean;
  status?: unknown;
}

const seen: Seen[] = [];
let server: TestServer;

beforeAll(async () => {
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = "http://127.0.0.1:9";
  const startSpan = (name: string, options: { attributes?: object } = {}, parent = context.active()) => {
    const span: Seen = {
      ...{ name, attributes: { ...options.attributes }, isEnded: false },
      parent: trace.getSpanContext(parent)?.traceId,
    };
    seen.push(span);
    return {
      setAttributes: (attributes: object) => Object.assign(span.attributes, attributes),
      setStatus: (status: unknown) => {
        span.status = status;
      },
      end: () => {
        span.isEnded = true;
      },
    } as unknown as Span;
  };
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan }) as never });
  propagation.setGlobalPropagator({
    inject: () => {},
    fields: () => ["traceparent"],
    extract: (parent, carrier: Record<string, string>) => {
      const [, traceId = "", spanId = ""] = carrier.traceparent?.split("-") ?? [];
      const spanContext: SpanContext = { traceId, spanId, traceFlags: TraceFlags.SAMPLED };
      return traceId === "" ? parent : trace.setSpanContext(parent, spanContext);
    },
  });
  server = await startTestServer();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
});

test("a request is a span with what was asked and what it cost, part of its client's trace", async () => {
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` };
  const body = { messages: [{ role: "user", content: "Hello" }], max_tokens: 4, ignore_eos: true, seed: 5 };
  await server.ask("/v1/chat/completions", body, { headers });
  await expect.poll(() => seen[0]?.isEnded).toBe(true);
  expect(seen[0]).toMatchObject({
    name: "chat tiny-bitnet",
    parent: traceId,
    attributes: {
      "gen_ai.operation.name": "chat",
      "gen_ai.request.model": "tiny-bitnet",
      "gen_ai.request.max_tokens": 4,
      "gen_ai.request.seed": 5,
      "gen_ai.response.finish_reasons": ["length"],
      "gen_ai.usage.output_tokens": 4,
    },
  });
  expect(JSON.stringify(seen[0])).not.toContain("Hello");
});

test("a request that fails is a span with the error's code", async () => {
  const content = "word ".repeat(5000);
  await server.ask("/v1/chat/completions", { messages: [{ role: "user", content }] });
  await expect.poll(() => seen.at(-1)?.isEnded).toBe(true);
  expect(seen.at(-1)).toMatchObject({
    attributes: { "error.type": "context_length_exceeded" },
    status: { message: "context_length_exceeded" },
  });
});
