// What a collector of OpenTelemetry gets over OTLP. Needs the packages that docs/monitoring.md names.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer } from "../support/serve.js";

const packages = [
  "sdk-trace-node",
  "exporter-trace-otlp-http",
  "sdk-metrics",
  "exporter-metrics-otlp-http",
  "resources",
];
const isInstalled = await Promise.all(packages.map((name) => import(`@opentelemetry/${name}`))).then(
  () => true,
  () => false,
);

interface Attribute {
  key: string;
  value: Record<string, unknown>;
}
interface Span {
  name: string;
  kind: number;
  traceId: string;
  parentSpanId?: string;
  attributes: Attribute[];
  status: { code?: number };
  startTimeUnixNano: string;
  endTimeUnixNano: string;
}
interface Received {
  resourceSpans?: { resource: { attributes: Attribute[] }; scopeSpans: { spans: Span[] }[] }[];
  resourceMetrics?: {
    scopeMetrics: { metrics: { name: string; histogram: { dataPoints: { count: number }[] } }[] }[];
  }[];
}

let collector: Server;
const received: Received[] = [];
beforeAll(async () => {
  collector = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      received.push(JSON.parse(Buffer.concat(chunks).toString()));
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    });
  });
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
});
afterAll(async () => {
  delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT;
  await new Promise((resolve) => collector.close(resolve));
});

const plain = (attributes: Attribute[]) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));

describe.skipIf(!isInstalled)("a collector", () => {
  test("gets a span of each request in its client's trace, and measurements, before the server has ended", async () => {
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    {
      await using server = await startTestServer();
      const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` };
      const body = { messages: [{ role: "user", content: "Hello" }], max_tokens: 4, ignore_eos: true, seed: 5 };
      await server.ask("/v1/chat/completions", body, { headers });
      await server.ask("/v1/completions", { prompt: "word ".repeat(5000) });
    }
    const resources = received.flatMap(({ resourceSpans = [] }) => resourceSpans);
    expect(plain(resources[0]?.resource.attributes ?? [])).toMatchObject({ "service.name": "bitnet" });
    const spans = resources.flatMap(({ scopeSpans }) => scopeSpans.flatMap((each) => each.spans));
    expect(spans.map(({ name, kind }) => [name, kind])).toEqual([
      ["chat tiny-bitnet", 2], // SERVER
      ["text_completion tiny-bitnet", 2],
    ]);
    const [chat, failed] = spans;
    expect(chat).toMatchObject({ traceId, parentSpanId: "b7ad6b7169203331" });
    expect(plain(chat?.attributes ?? [])).toMatchObject({
      "gen_ai.operation.name": "chat",
      "gen_ai.request.model": "tiny-bitnet",
      "gen_ai.request.seed": 5,
      "gen_ai.usage.output_tokens": 4,
    });
    expect(BigInt(chat?.endTimeUnixNano ?? 0) > BigInt(chat?.startTimeUnixNano ?? 0)).toBe(true);
    expect(plain(failed?.attributes ?? [])).toMatchObject({ "error.type": "context_length_exceeded" });
    expect(failed?.status.code).toBe(2); // ERROR
    expect(JSON.stringify(received)).not.toContain("Hello");
    const metrics = received
      .flatMap(({ resourceMetrics = [] }) => resourceMetrics)
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((each) => each.metrics));
    const counts = metrics.map(({ name, histogram }) => [
      name,
      histogram.dataPoints.reduce((sum, { count }) => sum + count, 0),
    ]);
    expect(Object.fromEntries(counts)).toEqual({
      "gen_ai.server.request.duration": 2,
      "gen_ai.server.time_to_first_token": 1,
      "gen_ai.server.time_per_output_token": 1,
    });
  });
});
