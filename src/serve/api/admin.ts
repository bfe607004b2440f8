// What operators ask: counts, readings, alerts. Numbers only, never a text or a client.

import type { FastifyRequest } from "fastify";
import type { Register, ServerContext } from "../context.js";
import { invalid } from "../errors.js";
import { activeRequests, type Watching, watchingOf } from "../watching.js";

const MiB = 2 ** 20;

export const register: Register = (app, context) => {
  const watching = watchingOf(context);
  const { monitor } = watching;
  app.get("/admin/stats", async () => statsOf(context, watching));
  app.get("/admin/security", async () => securityOf(context, watching));
  app.get("/admin/summary", async (request) => monitor.summary(hoursOf(request, 24)));
  app.get("/admin/alerts", async (request) => {
    const since = Date.now() / 1000 - hoursOf(request, 6) * 3600;
    return { alerts: monitor.alerts.list().filter(({ end, timestamp }) => end === null || timestamp > since) };
  });
  app.get("/admin/export", async (request, reply) => {
    const hours = hoursOf(request, 24);
    reply.header("content-disposition", 'attachment; filename="bitnet-metrics.json"');
    return monitor.export(hours);
  });
};

function hoursOf(request: FastifyRequest, standard: number): number {
  const { hours } = request.query as { hours?: unknown };
  const value = hours === undefined ? standard : Number(hours);
  if (!(value > 0 && value <= 24)) {
    throw invalid("hours", "expected a number above 0 and at most 24");
  }
  return value;
}

function statsOf(context: ServerContext, { tally }: Watching): object {
  const { totals } = tally;
  const uptime = Math.max(0.001, Date.now() / 1000 - context.startedAt);
  const each = (value: number, count: number) => (count > 0 ? value / count : 0);
  return {
    total_requests: totals.total_requests,
    successful_requests: totals.successful_requests,
    failed_requests: totals.failed_requests,
    success_rate: each(totals.successful_requests, totals.total_requests),
    average_generation_time: each(totals.total_generation_time, totals.successful_requests),
    average_tokens_per_second: each(totals.total_tokens_generated, totals.total_generation_time),
    total_tokens_generated: totals.total_tokens_generated,
    average_response_time: each(totals.total_latency, totals.successful_requests),
    requests_per_second: totals.total_requests / uptime,
    tokens_per_second: totals.total_tokens_generated / uptime,
    cache_hits: totals.cache_hits,
    cache_misses: totals.cache_misses,
    cache_size: context.responseCache?.size ?? 0,
    cache_bytes: context.responseCache?.bytes ?? 0,
    active_requests: activeRequests(context),
    uptime_seconds: uptime,
    ...memoryOf(context),
  };
}

function memoryOf(context: ServerContext): object {
  const { rss, heapUsed } = process.memoryUsage();
  const memory = { memory_usage_mb: rss / MiB, heap_mb: heapUsed / MiB };
  if (context.state !== "ready") {
    return memory;
  }
  const { service } = context;
  const { model, isSleeping } = service;
  const { heldBytes, cachedBytes } = service.stats();
  return {
    ...memory,
    is_sleeping: isSleeping,
    model_mb: model.info.fileSize / MiB,
    kv_held_mb: heldBytes / MiB,
    kv_cached_mb: cachedBytes / MiB,
    model_efficiency: `ternary weights, ${model.info.kernel}`,
  };
}

function securityOf({ options }: ServerContext, { tally }: Watching): object {
  const isFiltered = options.contentFilter !== undefined || options.contentFilterModule !== undefined;
  return {
    ...tally.security(),
    security_config: {
      max_input_length: options.maxInputChars,
      max_input_tokens: options.maxInputTokens,
      max_output_tokens: options.maxPredict,
      rate_limit_per_minute: options.requestsPerMinute,
      token_limit_per_minute: options.tokensPerMinute,
      content_filtering_enabled: isFiltered,
      request_logging_enabled: options.auditLog !== undefined,
      keys_required: options.apiKeys.length > 0 || options.apiKeyFile !== undefined,
    },
    service_status: "secure_operational",
  };
}
