// What the server reads of itself from time to time.

/** One reading. The names are those that dashboards of earlier services read. */
export interface Snapshot {
  timestamp: number;
  memory_usage_mb: number;
  cpu_usage_percent: number;
  tokens_per_second: number;
  active_requests: number;
  cache_hit_rate: number;
  error_rate: number;
  average_latency_ms: number;
}
