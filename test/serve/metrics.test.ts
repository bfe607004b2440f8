// What operators see: /metrics by the names that others read, /admin, alerts, spans.

import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Alert, completeThresholds, type Thresholds, Webhook } from "../../src/serve/alerts.js";
import type { LogEntry } from "../../src/serve/log.js";
import { type MetricRow, metricRows } from "../../src/serve/metrics.js";
import { Monitor } from "../../src/serve/monitor.js";
import type { TextRecord } from "../../src/serve/records.js";
import { Tally } from "../../src/serve/tally.js";
import { root, runBitnet } from "../support/fixtures.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const chat = { messages: [{ role: "user", content: "Hello" }], max_tokens: 6, ignore_eos: true };

/** Values by "name{labels}". */
function parse(text: string): Map<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

describe("a server", () => {
  let server: TestServer;
  const admin = { headers: { authorization: "Bearer boss" } };

  beforeAll(async () => {
    server = await startTestServer({
      apiKeys: ["boss"],
      metricsPort: 0,
      responseCacheBytes: 2 ** 20,
      monitorInterval: 0,
    });
    const { post } = server;
    server.post = (path, body, init = {}) =>
      post(path, body, { ...init, headers: { ...admin.headers, ...init.headers } });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const read = async () => parse(await (await server.get("/metrics", admin)).text());
  const model = 'model_name="tiny-bitnet"';

  test("offers every metric of the table, and each counts", async () => {
    await (await server.post("/v1/chat/completions", chat)).json();
    await (await server.post("/v1/chat/completions", { ...chat, stream: true, seed: 1, temperature: 1 })).text();
    await (await server.post("/v1/chat/completions", chat)).json(); // from the cache
    await server.post("/v1/chat/completions", { ...chat, top_p: 7 });
    const metrics = await read();
    const families = new Set([...metrics.keys()].map((key) => key.replace(/\{.*/, "")));
    for (const { name, type } of metricRows as readonly MetricRow[]) {
      const isLabelled = name === "bitnet:cancelled_total" || name === "bitnet:streams_dropped_total";
      expect([name, isLabelled || families.has(type === "histogram" ? `${name}_count` : name)]).toEqual([name, true]);
    }
    expect(metrics.get(`vllm:generation_tokens_total{${model}}`)).toBe(18);
    expect(metrics.get(`vllm:request_success_total{${model},finished_reason="length"}`)).toBe(3);
    expect(metrics.get("llamacpp:tokens_predicted_total")).toBe(12); // what was found was not computed
    expect(metrics.get("bitnet:response_cache_hits_total")).toBe(1);
    expect(metrics.get('bitnet:rejected_total{code="invalid_value"}')).toBe(1);
    expect(metrics.get('bitnet:requests_total{code="400"}')).toBe(1);
    expect(metrics.get(`vllm:time_to_first_token_seconds_count{${model}}`)).toBe(3);
    expect(metrics.get(`vllm:num_requests_running{${model}}`)).toBe(0);
    expect(metrics.get(`vllm:num_requests_waiting{${model}}`)).toBe(0);
    expect(metrics.get("bitnet:step_rows_sum")).toBeGreaterThan(12);
    expect(metrics.get("process_resident_memory_bytes")).toBeGreaterThan(2 ** 20);
    expect(families).toContain("nodejs_eventloop_lag_seconds");
  });

  test("tells nothing of clients or texts, and wants a key, but for the port of its own", async () => {
    const text = await (await server.get("/metrics", admin)).text();
    expect(text).not.toMatch(/boss|127\.0\.0\.1|Hello/);
    expect((await server.get("/metrics")).status).toBe(401);
    const line = server.log.find(({ message }) => message.startsWith("metrics without a key: "));
    const url = line?.message.slice("metrics without a key: ".length) ?? "";
    expect(parse(await (await fetch(url)).text()).has("llamacpp:n_decode_total")).toBe(true);
    expect((await fetch(new URL("/v1/chat/completions", url))).status).toBe(404);
  });

  test("answers for health while a long prompt and a long answer are computed", async () => {
    const long = server.post("/v1/chat/completions", { ...chat, max_tokens: 1500, stream: true });
    const order: string[] = [];
    const done = long.then((answer) => answer.text()).then(() => order.push("answer"));
    for (const path of ["/health", "/livez", "/readyz"]) {
      expect((await server.get(path)).status).toBe(200);
      order.push(path);
    }
    await done;
    expect(order).toEqual(["/health", "/livez", "/readyz", "answer"]);
  });

  test("computes for a deep health check, once in ten seconds", async () => {
    const check = async () => (await server.get("/health?deep=1", admin)).json() as Promise<Record<string, unknown>>;
    const first = await check();
    expect(first).toMatchObject({ status: "healthy", tokens_generated: 10 });
    expect(first.response_time_ms).toBeGreaterThan(0);
    expect(await check()).toEqual(first);
  });

  test("tells its counts under the names that earlier services had", async () => {
    const get = async (path: string) => (await server.get(path, admin)).json() as Promise<Record<string, unknown>>;
    const stats = await get("/admin/stats");
    expect(Object.keys(stats)).toEqual(
      expect.arrayContaining(
        "total_requests successful_requests failed_requests success_rate average_generation_time average_tokens_per_second total_tokens_generated cache_size requests_per_second memory_usage_mb uptime_seconds".split(
          " ",
        ),
      ),
    );
    expect(stats).toMatchObject({ failed_requests: 0, cache_size: expect.any(Number) });
    expect(stats.average_tokens_per_second).toBeGreaterThan(0);
    const security = await get("/admin/security");
    expect(security).toMatchObject({ total_unique_clients: 1, security_config: { rate_limit_per_minute: 0 } });
    expect(security.total_blocked_requests).toBeGreaterThan(0); // the 401 above
    expect(await get("/admin/summary")).toMatchObject({ data_points: 0 });
    expect(await get("/admin/alerts")).toEqual({ alerts: [] });
    expect(Object.keys(await get("/admin/export?hours=1"))).toEqual(
      "export_timestamp time_period_hours performance_snapshots request_metrics active_alerts alert_thresholds performance_summary".split(
        " ",
      ),
    );
    expect((await server.get("/admin/export?hours=-1", admin)).status).toBe(400);
    expect((await server.get("/admin/stats")).status).toBe(401);
  });

  test("is looked at by bitnet monitor", async () => {
    const folder = mkdtempSync(join(tmpdir(), "bitnet-monitor-"));
    const file = join(folder, "export.json");
    const env = { ...process.env, BITNET_API_KEY: "boss" };
    const shown = await runBitnet(["monitor", server.url, "--export", file], { env });
    expect([shown.status, shown.stderr]).toEqual([0, expect.stringContaining(file)]);
    expect(shown.stdout).toMatch(/requests +\d+/);
    expect(JSON.parse(readFileSync(file, "utf8"))).toHaveProperty("performance_snapshots");
    const json = await runBitnet(["monitor", server.url, "--json"], { env });
    expect(JSON.parse(json.stdout)).toMatchObject({ stats: { failed_requests: 0 }, alerts: [] });
    const refused = await runBitnet(["monitor", server.url]);
    expect([refused.status, refused.stderr]).toEqual([1, expect.stringContaining("--api-key")]);
    rmSync(folder, { recursive: true });
  });
});

describe("the monitor", () => {
  const record = (more: Partial<TextRecord>) =>
    ({
      ...{ end: "complete", ms: 2000, run: { isCached: false }, usage: { completionTokens: 10 } },
      timings: { generateMs: 1000 },
      ...more,
    }) as TextRecord;

  const tutorial = { memory: 1024, cpu: 80, tokens_per_second: 5, error_rate: 0.05, latency: 5000 };

  function createMonitor(thresholds: Thresholds = { ...tutorial, cpu: undefined }) {
    const clock = { now: 0, cpu: 0 };
    const tally = new Tally(() => clock.now);
    const told: string[] = [];
    const monitor = new Monitor({
      ...{ tally, thresholds, active: () => 3 },
      onAlert: (event, { type, severity }) => told.push(`${event} ${type} ${severity}`),
      now: () => clock.now,
      cpuMs: () => clock.cpu,
      memoryBytes: () => 512 * 2 ** 20,
    });
    const read = (seconds = 60) => {
      clock.now += seconds * 1000;
      return monitor.read();
    };
    return { clock, tally, told, monitor, read };
  }

  test("tells rates of each interval alone, and none when nobody asks", () => {
    const { tally, read } = createMonitor();
    tally.onText(record({}));
    tally.onText(record({ run: { isCached: true } as TextRecord["run"], ms: 1 }));
    expect(read()).toMatchObject({
      ...{ tokens_per_second: 10, cache_hit_rate: 0.5, error_rate: 0, average_latency_ms: 1000.5 },
      ...{ memory_usage_mb: 512, active_requests: 3 },
    });
    expect(read()).toMatchObject({ tokens_per_second: 0, cache_hit_rate: 0, error_rate: 0, average_latency_ms: 0 });
  });

  test("raises an alert once, ends it, and raises none for a server that nobody asks", () => {
    const { tally, told, monitor, read } = createMonitor();
    read();
    expect(told).toEqual([]); // an idle server is not slow
    tally.onText(record({ timings: { generateMs: 5000 } as never, ms: 9000 }));
    tally.onText(record({ end: "failed", ms: 5 }));
    read();
    expect(told.splice(0)).toEqual([
      "begin tokens_per_second warning",
      "begin error_rate critical",
      "begin latency warning",
    ]);
    tally.onText(record({ timings: { generateMs: 5000 } as never, ms: 100 }));
    read();
    expect(told.splice(0)).toEqual(["end error_rate critical", "end latency warning"]);
    read();
    expect(told).toEqual(["end tokens_per_second warning"]);
    expect(monitor.alerts.list().map(({ type, end }) => [type, end !== null])).toEqual([
      ["tokens_per_second", true],
      ["error_rate", true],
      ["latency", true],
    ]);
    read(7 * 3600);
    expect(monitor.alerts.list()).toEqual([]);
  });

  test("a busy server of a 2B model is no alert by the standard thresholds, and one beyond its plan is", () => {
    const standard = completeThresholds({}, { memoryMb: 2000, stepMs: 200, requestTimeout: 600 });
    expect(standard).toEqual({
      memory: 2200,
      cpu: undefined,
      tokens_per_second: 2.5,
      error_rate: 0.05,
      latency: 300_000,
    });
    expect(completeThresholds(tutorial, { stepMs: 200, requestTimeout: 600 })).toEqual(tutorial);
    const alerts = (thresholds: Thresholds, memory: number, tokensPerSecond: number) => {
      const { monitor } = createMonitor(thresholds);
      const snapshot = { ...monitor.read(), memory_usage_mb: memory, cpu_usage_percent: 98 };
      const speeds = { tokens_per_second: tokensPerSecond, average_latency_ms: 18_000 };
      monitor.alerts.check({ ...snapshot, ...speeds }, { requests: true, tokens: true, answers: true });
      return monitor.alerts.list().map(({ type }) => type);
    };
    expect(alerts(standard, 1700, 4)).toEqual([]);
    expect(alerts(tutorial, 1700, 4)).toEqual(["memory", "cpu", "tokens_per_second", "latency"]);
    expect(alerts(standard, 2300, 2)).toEqual(["memory", "tokens_per_second"]);
  });

  test("keeps a day of minutes, and sums it up", () => {
    const { tally, monitor, read } = createMonitor();
    for (let i = 0; i < 1500; i++) {
      tally.onText(record({ timings: { generateMs: i < 1000 ? 1000 : 500 } as never }));
      read();
    }
    expect(monitor.snapshots(24)).toHaveLength(1440);
    expect(monitor.snapshots(1)).toHaveLength(60);
    expect(monitor.summary(1)).toMatchObject({
      ...{ time_period_hours: 1, data_points: 60 },
      memory_usage: { average_mb: 512, peak_mb: 512, min_mb: 512 },
      performance: { average_tokens_per_second: 20, peak_tokens_per_second: 20, average_latency_ms: 2000 },
      reliability: { total_requests: 1500, success_rate: 1, cache_hit_rate: 0 },
    });
    expect(monitor.export(1)).toMatchObject({ alert_thresholds: { max_memory_mb: 1024, max_cpu_percent: null } });
  });

  test("wrong requests of clients are no failures of the server", () => {
    const { tally, read } = createMonitor();
    tally.onText(record({ end: "failed", error: { status: 400 } as TextRecord["error"] }));
    tally.onText(record({ end: "left" }));
    expect(read().error_rate).toBe(0);
  });
});

describe("a webhook", () => {
  const alert = { type: "memory", message: "High" } as Alert;

  async function withReceiver(
    statuses: number[],
    body: (url: string, got: { body: string; signature: unknown }[]) => Promise<void>,
  ) {
    const got: { body: string; signature: unknown }[] = [];
    const receiver = createServer(async (request, response) => {
      let text = "";
      for await (const part of request.setEncoding("utf8")) {
        text += part;
      }
      got.push({ body: text, signature: request.headers["x-bitnet-signature"] });
      response.writeHead(statuses.shift() ?? 200, { location: "/elsewhere" }).end();
    });
    await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    await body(`http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`, got);
    await new Promise((resolve) => receiver.close(resolve));
  }

  test("is told in order, signed, and again when it fails", async () => {
    await withReceiver([500], async (url, got) => {
      const log: LogEntry[] = [];
      const secret = Buffer.from("sixteen bytes or more");
      const webhook = new Webhook({ url, secret, log: (entry) => log.push(entry), pauses: [1, 1] });
      webhook.tell("begin", alert);
      webhook.tell("end", alert);
      await webhook.flush();
      expect(got.map(({ body }) => JSON.parse(body).event)).toEqual(["begin", "begin", "end"]);
      for (const { body, signature } of got) {
        expect(signature).toBe(`sha256=${createHmac("sha256", secret).update(body).digest("hex")}`);
      }
      expect(log).toEqual([]);
    });
  });

  test("is given up after three tries, follows nobody elsewhere, and the log tells", async () => {
    await withReceiver([500, 302, 503], async (url, got) => {
      const log: LogEntry[] = [];
      const webhook = new Webhook({ url, log: (entry) => log.push(entry), pauses: [1, 1] });
      webhook.tell("begin", alert);
      await webhook.flush();
      expect(got).toHaveLength(3);
      expect(got[0]?.signature).toBeUndefined();
      expect(log).toEqual([expect.objectContaining({ level: "warn", fields: { reason: "status 503" } })]);
    });
  });
});

test("the table of metrics in the docs is that of the code", () => {
  const text = readFileSync(join(root, "docs", "monitoring.md"), "utf8");
  const rows = (metricRows as readonly MetricRow[]).map(
    ({ name, type, labels = [], help }) => `| \`${name}\` | ${type} | ${labels.join(", ")} | ${help} |`,
  );
  expect(text).toContain(rows.join("\n"));
});

test("the memory at which a server is an alert follows its options", async () => {
  const thresholdOf = async (promptCacheBytes: number) => {
    await using server = await startTestServer({ promptCacheBytes, parallel: 2 });
    const { alert_thresholds: thresholds } = await server.read("/admin/export");
    expect(thresholds).toMatchObject({ max_cpu_percent: null, min_tokens_per_second: 2.5, max_latency_ms: 300_000 });
    return thresholds.max_memory_mb;
  };
  const small = await thresholdOf(0);
  expect(small).toBeGreaterThan(60);
  expect((await thresholdOf(1000 * 2 ** 20)) - small).toBeCloseTo(1100, -1);
});

test("alerts that begin are in the log and in /admin/alerts", async () => {
  await using server = await startTestServer({ monitorInterval: 0.05, alerts: { memory: 1, cpu: undefined } });
  const read = async () => (await (await server.get("/admin/alerts")).json()) as { alerts: Alert[] };
  await expect.poll(async () => (await read()).alerts.length).toBe(1);
  expect((await read()).alerts[0]).toMatchObject({ type: "memory", severity: "warning", threshold: 1, end: null });
  expect(server.log).toContainEqual(
    expect.objectContaining({ level: "warn", fields: { alert: "memory", severity: "warning" } }),
  );
});
