// Reads the server from time to time: a day of readings, each with the rates since the one before, alerts, a summary.

import { availableParallelism } from "node:os";
import { type AlertListener, Alerts, type Thresholds, thresholdNames, thresholdRows } from "./alerts.js";
import type { Snapshot } from "./snapshot.js";
import type { Tally, Totals } from "./tally.js";

const maxSnapshots = 1440; // a day of minutes
const MiB = 2 ** 20;

export interface MonitorSetup {
  tally: Tally;
  thresholds: Thresholds;
  /** Requests that run and wait. */
  active: () => number;
  onAlert?: AlertListener;
  /** Milliseconds since 1970; and of processor time of this process. */
  now?: () => number;
  cpuMs?: () => number;
  memoryBytes?: () => number;
}

function cpuOfProcess(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

export class Monitor {
  readonly #setup: Required<Omit<MonitorSetup, "thresholds" | "onAlert">>;
  readonly alerts: Alerts;
  #snapshots: Snapshot[] = [];
  #before: { totals: Totals; time: number; cpuMs: number };

  constructor(setup: MonitorSetup) {
    const { thresholds, onAlert, ...rest } = setup;
    this.#setup = { now: Date.now, cpuMs: cpuOfProcess, memoryBytes: () => process.memoryUsage.rss(), ...rest };
    this.alerts = new Alerts(thresholds, onAlert);
    const { tally, now, cpuMs } = this.#setup;
    this.#before = { totals: tally.totals, time: now(), cpuMs: cpuMs() };
  }

  get latest(): Snapshot | undefined {
    return this.#snapshots.at(-1);
  }

  /** Of the last hours, the oldest first. */
  snapshots(hours: number): readonly Snapshot[] {
    const since = this.#setup.now() / 1000 - hours * 3600;
    return this.#snapshots.filter(({ timestamp }) => timestamp > since);
  }

  /** Takes a reading, and checks it against the thresholds. */
  read(): Snapshot {
    const { tally, active, now, cpuMs, memoryBytes } = this.#setup;
    const reading = { totals: tally.totals, time: now(), cpuMs: cpuMs() };
    const grown = (name: keyof Totals) => reading.totals[name] - this.#before.totals[name];
    const share = (part: number, whole: number) => (whole > 0 ? part / whole : 0);
    const elapsedMs = reading.time - this.#before.time;
    const snapshot: Snapshot = {
      timestamp: reading.time / 1000,
      memory_usage_mb: memoryBytes() / MiB,
      cpu_usage_percent: share(100 * (reading.cpuMs - this.#before.cpuMs), elapsedMs * availableParallelism()),
      tokens_per_second: share(grown("total_tokens_generated"), grown("total_generation_time")),
      active_requests: active(),
      cache_hit_rate: share(grown("cache_hits"), grown("cache_hits") + grown("cache_misses")),
      error_rate: share(grown("failed_requests"), grown("total_requests")),
      average_latency_ms: share(1000 * grown("total_latency"), grown("successful_requests")),
    };
    this.alerts.check(snapshot, {
      requests: grown("total_requests") > 0,
      tokens: grown("total_tokens_generated") > 0,
      answers: grown("successful_requests") > 0,
    });
    this.#before = reading;
    this.#snapshots.push(snapshot);
    if (this.#snapshots.length > maxSnapshots) {
      this.#snapshots = this.#snapshots.slice(-maxSnapshots);
    }
    return snapshot;
  }

  /** What the readings of the last hours say together. */
  summary(hours: number): object {
    const snapshots = this.snapshots(hours);
    if (snapshots.length === 0) {
      return { error: "No recent performance data available", time_period_hours: hours, data_points: 0 };
    }
    const { tally } = this.#setup;
    const { total_requests, successful_requests, cache_hits, cache_misses } = tally.totals;
    const of = (name: keyof Snapshot) => snapshots.map((snapshot) => snapshot[name]);
    const mean = (values: readonly number[]) =>
      values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
    const busy = (name: keyof Snapshot) => of(name).filter((value) => value > 0); // idle readings have no speed
    const memory = of("memory_usage_mb");
    return {
      time_period_hours: hours,
      data_points: snapshots.length,
      memory_usage: { average_mb: mean(memory), peak_mb: Math.max(...memory), min_mb: Math.min(...memory) },
      cpu_usage: { average_percent: mean(of("cpu_usage_percent")), peak_percent: Math.max(...of("cpu_usage_percent")) },
      performance: {
        average_tokens_per_second: mean(busy("tokens_per_second")),
        peak_tokens_per_second: Math.max(...of("tokens_per_second")),
        average_latency_ms: mean(busy("average_latency_ms")),
      },
      reliability: {
        total_requests,
        success_rate: total_requests > 0 ? successful_requests / total_requests : 1,
        cache_hit_rate: cache_hits / Math.max(1, cache_hits + cache_misses),
      },
    };
  }

  /** All of it, for a file. */
  export(hours: number): object {
    const { tally, now } = this.#setup;
    const { total_latency: _, ...requests } = tally.totals;
    const thresholds = thresholdNames.map((name) => [thresholdRows[name].key, this.alerts.thresholds[name] ?? null]);
    return {
      export_timestamp: new Date(now()).toISOString(),
      time_period_hours: hours,
      performance_snapshots: this.snapshots(hours),
      request_metrics: requests,
      active_alerts: this.alerts.list(),
      alert_thresholds: Object.fromEntries(thresholds),
      performance_summary: this.summary(hours),
    };
  }
}
