// The text of /metrics, and what a page can tell of two readings of it.

interface Sample {
  labels: string;
  value: number;
}

export type Metrics = Map<string, Sample[]>;

const longest = 4 * 2 ** 20;

/** Prometheus' text format; lines that are none of it are left out. */
export function parseMetrics(text: string): Metrics {
  const metrics: Metrics = new Map();
  for (const line of text.slice(0, longest).split("\n")) {
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (match === null) {
      continue;
    }
    const [, name = "", labels = "", number = ""] = match;
    const value = number === "+Inf" ? Number.POSITIVE_INFINITY : Number(number);
    if (!Number.isNaN(value)) {
      metrics.set(name, [...(metrics.get(name) ?? []), { labels, value }]);
    }
  }
  return metrics;
}

/** The sum over all labels, or over those that contain `labels`; undefined if there is none. */
export function metricOf(metrics: Metrics, name: string, labels = ""): number | undefined {
  const samples = metrics.get(name)?.filter((sample) => sample.labels.includes(labels));
  return samples?.reduce<number | undefined>((sum, { value }) => (sum ?? 0) + value, undefined);
}

export interface Reading {
  /** Milliseconds of a clock that only goes forward. */
  time: number;
  metrics: Metrics;
}

/** Per second, between two readings. A counter that went back was started anew. */
export function rateOf(before: Reading | undefined, now: Reading, name: string): number | undefined {
  const grown = growthOf(before, now, name);
  return before === undefined || grown === undefined ? undefined : grown / ((now.time - before.time) / 1000);
}

function growthOf(before: Reading | undefined, now: Reading, name: string): number | undefined {
  const last = metricOf(now.metrics, name);
  const first = before && metricOf(before.metrics, name);
  return last === undefined || first === undefined ? undefined : Math.max(0, last - first);
}

/** The mean of what a histogram or summary counted between two readings, or before the first one. */
export function meanOf(before: Reading | undefined, now: Reading, name: string): number | undefined {
  const grown = (part: string) => (before === undefined ? metricOf(now.metrics, part) : growthOf(before, now, part));
  const count = grown(`${name}_count`);
  const sum = grown(`${name}_sum`);
  return count === undefined || sum === undefined || count === 0 ? undefined : sum / count;
}

/** One of the numbers that the page shows, computed from the last two readings. */
export interface Figure {
  title: string;
  unit: "count" | "bytes" | "rate" | "seconds" | "share";
  read: (now: Reading, before: Reading | undefined) => number | undefined;
}

const total = (name: string) => (now: Reading) => metricOf(now.metrics, name);
const rate = (name: string) => (now: Reading, before: Reading | undefined) => rateOf(before, now, name);
const mean = (name: string) => (now: Reading, before: Reading | undefined) => meanOf(before, now, name);

export const figures: readonly Figure[] = [
  { title: "Tokens written per second", unit: "rate", read: rate("vllm:generation_tokens_total") },
  { title: "Prompt tokens read per second", unit: "rate", read: rate("vllm:prompt_tokens_total") },
  { title: "Requests running", unit: "count", read: total("vllm:num_requests_running") },
  { title: "Requests waiting", unit: "count", read: total("vllm:num_requests_waiting") },
  { title: "Time to first token", unit: "seconds", read: mean("vllm:time_to_first_token_seconds") },
  { title: "Time between tokens", unit: "seconds", read: mean("vllm:inter_token_latency_seconds") },
  { title: "Cache in use", unit: "share", read: total("vllm:kv_cache_usage_perc") },
  { title: "Memory", unit: "bytes", read: total("process_resident_memory_bytes") },
  { title: "Processor cores busy", unit: "rate", read: rate("process_cpu_seconds_total") },
  { title: "Requests finished", unit: "count", read: total("vllm:request_success_total") },
];

/** Milliseconds between two readings, and how many are kept: five minutes of them. */
export const readEvery = 2000;
const kept = 150;

/** The newest values of every figure. They stay while something else is shown. */
export class FigureHistory {
  rows: readonly (number | undefined)[][] = figures.map(() => []);
  private before: Reading | undefined;

  add(now: Reading): void {
    const { before } = this;
    const isOld = before !== undefined && now.time - before.time > kept * readEvery;
    this.rows = figures.map((figure, i) =>
      [...(isOld ? [] : (this.rows[i] ?? [])), figure.read(now, before)].slice(-kept),
    );
    this.before = now;
  }
}

export function formatFigure(value: number | undefined, unit: Figure["unit"]): string {
  if (value === undefined || !Number.isFinite(value)) {
    return "–";
  }
  switch (unit) {
    case "bytes":
      return value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(2)} GiB` : `${(value / 2 ** 20).toFixed(0)} MiB`;
    case "seconds":
      return value >= 1 ? `${value.toFixed(2)} s` : `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms`;
    case "share":
      return `${(value * 100).toFixed(0)} %`;
    case "rate":
      return value.toFixed(value >= 100 ? 0 : 1);
    case "count":
      return value.toLocaleString("en");
  }
}
