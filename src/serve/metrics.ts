// The metrics of a server in Prometheus' format, under the names that dashboards and autoscalers of llama.cpp and vLLM
// read. One table: docs/monitoring.md is compared with it.

import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { EngineStats } from "../engine/model.js";
import type { ServerContext } from "./context.js";
import type { ExchangeRecord, TextRecord, Watcher } from "./records.js";
import type { TextEvent } from "./request.js";

export interface MetricRow {
  name: string;
  type: "counter" | "gauge" | "histogram";
  help: string;
  labels?: readonly string[];
  /** Bounds of a histogram. */
  buckets?: readonly number[];
}

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640];
const tokens = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];
const model = ["model_name"];

/** Everything but what Node tells of its process. */
export const metricRows = [
  { name: "llamacpp:prompt_tokens_total", type: "counter", help: "prompt tokens that were evaluated" },
  { name: "llamacpp:prompt_seconds_total", type: "counter", help: "seconds of requests' prompts" },
  { name: "llamacpp:prompt_tokens_seconds", type: "gauge", help: "prompt tokens per second, of all so far" },
  { name: "llamacpp:tokens_predicted_total", type: "counter", help: "tokens that were written" },
  { name: "llamacpp:tokens_predicted_seconds_total", type: "counter", help: "seconds of requests' answers" },
  { name: "llamacpp:predicted_tokens_seconds", type: "gauge", help: "tokens written per second, of all so far" },
  { name: "llamacpp:requests_processing", type: "gauge", help: "requests that run" },
  { name: "llamacpp:requests_deferred", type: "gauge", help: "requests that wait" },
  { name: "llamacpp:n_tokens_max", type: "counter", help: "most tokens of one request, prompt and answer" },
  { name: "llamacpp:n_decode_total", type: "counter", help: "steps of the engine" },
  { name: "llamacpp:n_busy_slots_per_decode", type: "counter", help: "tokens of a step, on average" },
  { name: "vllm:num_requests_running", type: "gauge", labels: model, help: "requests that run" },
  { name: "vllm:num_requests_waiting", type: "gauge", labels: model, help: "requests that wait" },
  {
    name: "vllm:kv_cache_usage_perc",
    type: "gauge",
    labels: model,
    help: "share of the keys' and values' memory in use, 0 to 1",
  },
  {
    ...{ name: "vllm:cache_config_info", type: "gauge", labels: ["block_size", "num_gpu_blocks"] },
    help: "positions of a block of keys and values, and blocks; always 1",
  },
  {
    name: "vllm:prefix_cache_queries_total",
    type: "counter",
    labels: model,
    help: "prompt tokens that were looked for in the cache",
  },
  { name: "vllm:prefix_cache_hits_total", type: "counter", labels: model, help: "prompt tokens that were found there" },
  {
    name: "vllm:prompt_tokens_total",
    type: "counter",
    labels: model,
    help: "prompt tokens of requests, found or evaluated",
  },
  { name: "vllm:generation_tokens_total", type: "counter", labels: model, help: "tokens that were written" },
  {
    ...{ name: "vllm:request_success_total", type: "counter", labels: [...model, "finished_reason"] },
    help: "answers that came to their end",
  },
  {
    name: "vllm:num_preemptions_total",
    type: "counter",
    labels: model,
    help: "times that work in the background gave way",
  },
  {
    name: "vllm:time_to_first_token_seconds",
    type: "histogram",
    labels: model,
    buckets: seconds,
    help: "until the first token",
  },
  {
    name: "vllm:inter_token_latency_seconds",
    type: "histogram",
    labels: model,
    buckets: seconds,
    help: "between two tokens",
  },
  {
    name: "vllm:e2e_request_latency_seconds",
    type: "histogram",
    labels: model,
    buckets: seconds,
    help: "of a whole request",
  },
  {
    name: "vllm:request_queue_time_seconds",
    type: "histogram",
    labels: model,
    buckets: seconds,
    help: "that it waited",
  },
  {
    name: "vllm:request_prefill_time_seconds",
    type: "histogram",
    labels: model,
    buckets: seconds,
    help: "of its prompt",
  },
  {
    name: "vllm:request_decode_time_seconds",
    type: "histogram",
    labels: model,
    buckets: seconds,
    help: "of its answer",
  },
  { name: "vllm:request_prompt_tokens", type: "histogram", labels: model, buckets: tokens, help: "of its prompt" },
  { name: "vllm:request_generation_tokens", type: "histogram", labels: model, buckets: tokens, help: "of its answer" },
  {
    ...{
      name: "vllm:lora_requests_info",
      type: "gauge",
      labels: ["max_lora", "running_lora_adapters", "waiting_lora_adapters"],
    },
    help: "adapters in use: none",
  },
  { name: "bitnet:step_seconds", type: "histogram", help: "of a step of the engine" },
  { name: "bitnet:step_rows", type: "histogram", help: "tokens of a step" },
  { name: "bitnet:grammar_mask_seconds", type: "histogram", help: "that a grammar took for a token" },
  { name: "bitnet:requests_total", type: "counter", labels: ["code"], help: "answers over HTTP by status" },
  {
    name: "bitnet:rejected_total",
    type: "counter",
    labels: ["code"],
    help: "requests that were refused, by the code of the error",
  },
  { name: "bitnet:cancelled_total", type: "counter", help: "requests whose client left" },
  {
    name: "bitnet:streams_dropped_total",
    type: "counter",
    help: "streams that were given up because nobody read them",
  },
  { name: "bitnet:response_cache_hits_total", type: "counter", help: "answers that were found, not computed" },
  { name: "bitnet:embeddings_total", type: "counter", help: "texts whose vectors were computed" },
  { name: "bitnet:filtered_total", type: "counter", help: "requests that a rule of the content filter met" },
  { name: "bitnet:loading", type: "gauge", help: "1 while the model is loaded" },
  { name: "bitnet:draining", type: "gauge", help: "1 while the server ends" },
  { name: "bitnet:sleeping", type: "gauge", help: "1 while the model is out of memory, as nobody asks" },
  {
    name: "bitnet:event_loop_lag_seconds",
    type: "gauge",
    labels: ["quantile"],
    help: "how late the server's thread is",
  },
] as const satisfies readonly MetricRow[];

type Row = (typeof metricRows)[number];
type NameOf<T extends MetricRow["type"]> = Extract<Row, { type: T }>["name"];

/** Histograms that the engine counts itself. */
const engineHistograms = {
  "bitnet:step_seconds": "stepSeconds",
  "bitnet:step_rows": "stepRows",
  "bitnet:grammar_mask_seconds": "maskSeconds",
} as const;

const blockSize = 64; // positions, as in native/run/kv_pool.h

export class Metrics implements Watcher {
  readonly #context: ServerContext;
  readonly #registry = new Registry();
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #histograms = new Map<string, Histogram>();
  readonly #delay = monitorEventLoopDelay({ resolution: 10 });
  #mostTokens = 0;
  /** Sums that llama.cpp's rates are made of. */
  #promptMs = 0;
  #promptTokens = 0;
  #generateMs = 0;
  #generatedTokens = 0;

  constructor(context: ServerContext) {
    this.#context = context;
    collectDefaultMetrics({ register: this.#registry });
    for (const row of metricRows as readonly MetricRow[]) {
      if (!(row.name in engineHistograms)) {
        this.#create(row);
      }
    }
    this.#delay.enable();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  close(): void {
    this.#delay.disable();
    this.#registry.clear();
  }

  /** A stream was given up. */
  noteDropped(): void {
    this.#count("bitnet:streams_dropped_total");
  }

  onEvent(event: TextEvent): void {
    if (event.kind === "vectors") {
      this.#count("bitnet:embeddings_total", event.vectors.length);
    }
  }

  onToken(secondsBetween: number): void {
    this.#observe("vllm:inter_token_latency_seconds", secondsBetween);
  }

  onText(record: TextRecord): void {
    const { usage, notes, finishes, end } = record;
    if (record.run.isCached) {
      this.#count("bitnet:response_cache_hits_total");
    }
    if (notes.rules.size > 0) {
      this.#count("bitnet:filtered_total");
    }
    if (end === "left") {
      this.#count("bitnet:cancelled_total");
    }
    this.#count("vllm:prompt_tokens_total", usage.promptTokens, this.#model);
    this.#count("vllm:generation_tokens_total", usage.completionTokens, this.#model);
    for (const finish of finishes) {
      this.#count("vllm:request_success_total", 1, { ...this.#model, finished_reason: finish });
    }
    if (end === "complete") {
      this.#observeText(record);
    }
  }

  #observeText({ firstTokenMs, ms, queueMs, usage, timings, run }: TextRecord): void {
    this.#observe("vllm:e2e_request_latency_seconds", ms / 1000);
    this.#observe("vllm:request_prompt_tokens", usage.promptTokens);
    this.#observe("vllm:request_generation_tokens", usage.completionTokens);
    if (firstTokenMs !== undefined) {
      this.#observe("vllm:time_to_first_token_seconds", firstTokenMs / 1000);
    }
    if (timings === undefined || run.isCached) {
      return;
    }
    const { promptMs, promptTokens, generateMs, generatedTokens } = timings;
    this.#observe("vllm:request_queue_time_seconds", queueMs / 1000);
    this.#observe("vllm:request_prefill_time_seconds", promptMs / 1000);
    this.#observe("vllm:request_decode_time_seconds", generateMs / 1000);
    this.#promptMs += promptMs;
    this.#promptTokens += promptTokens;
    this.#generateMs += generateMs;
    this.#generatedTokens += generatedTokens;
    this.#mostTokens = Math.max(this.#mostTokens, usage.promptTokens + usage.completionTokens);
  }

  onExchange({ status, code, texts }: ExchangeRecord): void {
    this.#count("bitnet:requests_total", 1, { code: String(status) });
    if (code !== undefined && texts.every(({ end }) => end === "failed")) {
      this.#count("bitnet:rejected_total", 1, { code });
    }
  }

  /** What /metrics answers. */
  async text(): Promise<string> {
    const { state } = this.#context;
    this.#set("bitnet:loading", state === "loading" ? 1 : 0);
    this.#set("bitnet:draining", state === "draining" ? 1 : 0);
    for (const quantile of [0.5, 0.9, 0.99]) {
      const ns = this.#delay.percentile(100 * quantile);
      this.#set("bitnet:event_loop_lag_seconds", ns / 1e9, { quantile: String(quantile) });
    }
    this.#delay.reset();
    this.#set("vllm:lora_requests_info", 0, { max_lora: "0", running_lora_adapters: "", waiting_lora_adapters: "" });
    this.#setRates();
    const stats = this.#readEngine();
    const own = await this.#registry.metrics();
    return stats === undefined ? own : own + describeHistograms(stats);
  }

  #setRates(): void {
    const rate = (count: number, ms: number) => (ms > 0 ? (1000 * count) / ms : 0);
    this.#reset("llamacpp:prompt_tokens_total", this.#promptTokens);
    this.#reset("llamacpp:prompt_seconds_total", this.#promptMs / 1000);
    this.#set("llamacpp:prompt_tokens_seconds", rate(this.#promptTokens, this.#promptMs));
    this.#reset("llamacpp:tokens_predicted_total", this.#generatedTokens);
    this.#reset("llamacpp:tokens_predicted_seconds_total", this.#generateMs / 1000);
    this.#set("llamacpp:predicted_tokens_seconds", rate(this.#generatedTokens, this.#generateMs));
    this.#reset("llamacpp:n_tokens_max", this.#mostTokens);
  }

  #readEngine(): EngineStats | undefined {
    const { state } = this.#context;
    if (state !== "ready" && state !== "draining") {
      return undefined;
    }
    let service: ServerContext["service"];
    let stats: EngineStats;
    try {
      service = this.#context.service;
      stats = service.stats();
    } catch {
      return undefined; // it was told to end before it was loaded
    }
    const { admission } = service;
    this.#set("bitnet:sleeping", service.isSleeping ? 1 : 0);
    for (const name of ["llamacpp:requests_processing", "vllm:num_requests_running"] as const) {
      this.#set(name, admission.running, this.#labelsOf(name));
    }
    for (const name of ["llamacpp:requests_deferred", "vllm:num_requests_waiting"] as const) {
      this.#set(name, admission.waiting, this.#labelsOf(name));
    }
    this.#set("vllm:kv_cache_usage_perc", stats.kvUsage, this.#model);
    const blocks = Math.ceil(service.contextSize / blockSize) * admission.limits.parallel;
    this.#set("vllm:cache_config_info", 1, { block_size: String(blockSize), num_gpu_blocks: String(blocks) });
    this.#reset("vllm:prefix_cache_queries_total", stats.promptTokens, this.#model);
    this.#reset("vllm:prefix_cache_hits_total", stats.reusedTokens, this.#model);
    this.#reset("vllm:num_preemptions_total", stats.preemptions, this.#model);
    this.#reset("llamacpp:n_decode_total", stats.steps);
    this.#reset("llamacpp:n_busy_slots_per_decode", stats.steps > 0 ? stats.rows / stats.steps : 0);
    return stats;
  }

  get #model(): Record<string, string> {
    return { model_name: this.#context.modelId };
  }

  #labelsOf(name: string): Record<string, string> {
    return name.startsWith("vllm:") ? this.#model : {};
  }

  #create({ name, type, help, labels = [], buckets = [] }: MetricRow): void {
    const settings = { name, help, labelNames: [...labels], registers: [this.#registry] };
    switch (type) {
      case "counter":
        this.#counters.set(name, new Counter(settings));
        break;
      case "gauge":
        this.#gauges.set(name, new Gauge(settings));
        break;
      case "histogram":
        this.#histograms.set(name, new Histogram({ ...settings, buckets: [...buckets] }));
    }
  }

  #count(name: NameOf<"counter">, value = 1, labels: Record<string, string> = {}): void {
    this.#counters.get(name)?.inc(labels, value);
  }

  /** Of a count that is kept elsewhere. */
  #reset(name: NameOf<"counter">, value: number, labels: Record<string, string> = {}): void {
    this.#counters.get(name)?.reset();
    this.#counters.get(name)?.inc(labels, value);
  }

  #set(name: NameOf<"gauge">, value: number, labels: Record<string, string> = {}): void {
    this.#gauges.get(name)?.set(labels, value);
  }

  #observe(name: NameOf<"histogram">, value: number): void {
    this.#histograms.get(name)?.observe(this.#model, value);
  }
}

function describeHistograms(stats: EngineStats): string {
  return Object.entries(engineHistograms)
    .map(([name, key]) => {
      const { buckets, count, sum } = stats[key];
      const help = metricRows.find((row) => row.name === name)?.help ?? "";
      const lines = buckets
        .filter(({ most }) => Number.isFinite(most))
        .map(({ most, count: upTo }) => `${name}_bucket{le="${most}"} ${upTo}`);
      return [
        `# HELP ${name} ${help}`,
        `# TYPE ${name} histogram`,
        ...lines,
        `${name}_bucket{le="+Inf"} ${count}`,
        `${name}_sum ${sum}`,
        `${name}_count ${count}\n`,
      ].join("\n");
    })
    .join("\n");
}
