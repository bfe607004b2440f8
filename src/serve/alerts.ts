// Alerts: what a reading of the monitor says against thresholds; each begins, ends, and can be told to another program.

import { createHmac } from "node:crypto";
import type { Log } from "./log.js";
import type { Snapshot } from "./snapshot.js";

export type ThresholdName = "memory" | "cpu" | "tokens_per_second" | "error_rate" | "latency";

/** A value for each name that watches it; undefined where it is off. */
export type Thresholds = Record<ThresholdName, number | undefined>;

/** Whether there was any within a reading: a server that nobody asks is neither slow nor failing. */
export interface Traffic {
  requests: boolean;
  tokens: boolean;
  answers: boolean;
}

/** What a server is set up for: alerts are about what goes beyond it. */
export interface Expectation {
  /** MB that the process may come to take; undefined while nobody can tell. */
  memoryMb?: number;
  /** ms that a step of the engine may take beside others. */
  stepMs: number;
  /** Seconds that a request may take. */
  requestTimeout: number;
}

interface ThresholdRow {
  /** Of the exported table. */
  key: string;
  /** Where nobody has set it; undefined: it is off. */
  standard: (expected: Expectation) => number | undefined;
  /** The same in words. */
  standardHelp: string;
  help: string;
  severity: "critical" | "warning";
  /** What is wrong when the value is on that side. */
  side: "above" | "below";
  /** Says nothing in a reading without any of these. */
  needs?: keyof Traffic;
  read: (snapshot: Snapshot) => number;
  describe: (value: number) => string;
}

export const thresholdRows: Record<ThresholdName, ThresholdRow> = {
  memory: {
    ...{ key: "max_memory_mb", severity: "warning", side: "above" },
    // Heaps and allocators keep a little of what they have given back.
    standard: ({ memoryMb }) => memoryMb && Math.ceil(1.1 * memoryMb),
    standardHelp: "a tenth over what the model, -np contexts and the caches take",
    help: "MiB of this process",
    read: (snapshot) => snapshot.memory_usage_mb,
    describe: (value) => `High memory usage: ${value.toFixed(1)} MB`,
  },
  cpu: {
    ...{ key: "max_cpu_percent", severity: "warning", side: "above" },
    standard: () => undefined,
    standardHelp: "off: who computes uses its processors",
    help: "percent of the processors that this process may use",
    read: (snapshot) => snapshot.cpu_usage_percent,
    describe: (value) => `High CPU usage: ${value.toFixed(1)} %`,
  },
  tokens_per_second: {
    ...{ key: "min_tokens_per_second", severity: "warning", side: "below", needs: "tokens" },
    standard: ({ stepMs }) => 500 / stepMs,
    standardHelp: "steps of twice --itl-target: 2.5",
    help: "tokens written per second of writing",
    read: (snapshot) => snapshot.tokens_per_second,
    describe: (value) => `Low generation speed: ${value.toFixed(1)} tokens/s`,
  },
  error_rate: {
    ...{ key: "max_error_rate", severity: "critical", side: "above", needs: "requests" },
    standard: () => 0.05,
    standardHelp: "0.05",
    help: "share of requests that failed, 0 to 1",
    read: (snapshot) => snapshot.error_rate,
    describe: (value) => `High error rate: ${(100 * value).toFixed(2)} %`,
  },
  latency: {
    ...{ key: "max_latency_ms", severity: "warning", side: "above", needs: "answers" },
    standard: ({ requestTimeout }) => 500 * requestTimeout,
    standardHelp: "half of --timeout: 300000",
    help: "ms of a request, on average",
    read: (snapshot) => snapshot.average_latency_ms,
    describe: (value) => `High latency: ${value.toFixed(1)} ms`,
  },
};

export const thresholdNames = Object.keys(thresholdRows) as ThresholdName[];

/** The standard ones, where nothing else is said. */
export function completeThresholds(given: Partial<Thresholds>, expected: Expectation): Thresholds {
  const entries = thresholdNames.map((name) => {
    return [name, name in given ? given[name] : thresholdRows[name].standard(expected)];
  });
  return Object.fromEntries(entries) as Thresholds;
}

export interface Alert {
  type: ThresholdName;
  severity: "critical" | "warning";
  message: string;
  /** What was read when it began. */
  value: number;
  threshold: number;
  /** Seconds since 1970, when it began. */
  timestamp: number;
  /** The same as ISO text; `end` is null while it lasts. */
  begin: string;
  end: string | null;
}

export type AlertListener = (event: "begin" | "end", alert: Alert) => void;

const keptSeconds = 6 * 3600; // of alerts that are over

/** Which alerts there are. One lasts as long as readings go against its threshold, and is one alert all that time. */
export class Alerts {
  thresholds: Thresholds;
  readonly #onChange: AlertListener;
  readonly #active = new Map<ThresholdName, Alert>();
  #all: Alert[] = [];

  constructor(thresholds: Thresholds, onChange: AlertListener = () => {}) {
    this.thresholds = thresholds;
    this.#onChange = onChange;
  }

  /** Those that last, and those that ended within six hours; the oldest first. */
  list(): readonly Alert[] {
    return this.#all;
  }

  check(snapshot: Snapshot, traffic: Traffic): void {
    for (const name of thresholdNames) {
      this.#checkOne(name, snapshot, traffic);
    }
    const oldest = snapshot.timestamp - keptSeconds;
    this.#all = this.#all.filter(({ end }) => end === null || Date.parse(end) / 1000 > oldest);
  }

  #checkOne(name: ThresholdName, snapshot: Snapshot, traffic: Traffic): void {
    const { needs, side, severity, read, describe } = thresholdRows[name];
    const threshold = this.thresholds[name];
    if (threshold === undefined || (needs !== undefined && !traffic[needs])) {
      this.#end(name, snapshot);
      return;
    }
    const value = read(snapshot);
    const isWrong = side === "above" ? value > threshold : value < threshold;
    if (!isWrong) {
      this.#end(name, snapshot);
    } else if (!this.#active.has(name)) {
      const { timestamp } = snapshot;
      const begin = new Date(timestamp * 1000).toISOString();
      const alert: Alert = {
        ...{ type: name, severity, message: describe(value), value, threshold, timestamp, begin, end: null },
      };
      this.#active.set(name, alert);
      this.#all.push(alert);
      this.#onChange("begin", alert);
    }
  }

  #end(name: ThresholdName, { timestamp }: Snapshot): void {
    const alert = this.#active.get(name);
    if (alert !== undefined) {
      alert.end = new Date(timestamp * 1000).toISOString();
      this.#active.delete(name);
      this.#onChange("end", alert);
    }
  }
}

export interface WebhookOptions {
  url: string;
  /** Of the signature; undefined: none is sent. */
  secret?: Buffer;
  log: Log;
  /** Milliseconds before the second and the third try. */
  pauses?: readonly number[];
}

const webhookTimeout = 10_000; // ms

/**
 * Tells another program, in order and up to three times: a POST of {event, alert} with the HMAC-SHA256 of the body under
 * the secret as `x-bitnet-signature: sha256=HEX`.
 */
export class Webhook {
  readonly #options: WebhookOptions;
  #sending: Promise<void> = Promise.resolve();

  constructor(options: WebhookOptions) {
    this.#options = options;
  }

  readonly tell: AlertListener = (event, alert) => {
    const body = JSON.stringify({ event, alert });
    this.#sending = this.#sending.then(() => this.#send(body));
  };

  /** Resolves when everything that was told has been sent or given up. */
  flush(): Promise<void> {
    return this.#sending;
  }

  async #send(body: string): Promise<void> {
    const { pauses = [1000, 5000], log } = this.#options;
    for (let tries = 1; ; tries++) {
      const failure = await this.#post(body);
      if (failure === undefined) {
        return;
      }
      const pause = pauses[tries - 1];
      if (pause === undefined) {
        log({ level: "warn", message: `an alert could not be told in ${tries} tries`, fields: { reason: failure } });
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, pause).unref());
    }
  }

  /** What went wrong; undefined: nothing. */
  async #post(body: string): Promise<string | undefined> {
    const { url, secret } = this.#options;
    const signature: Record<string, string> =
      secret === undefined
        ? {}
        : { "x-bitnet-signature": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}` };
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", ...signature },
        body,
        redirect: "error",
        signal: AbortSignal.timeout(webhookTimeout),
      });
      await answer.body?.cancel();
      return answer.ok ? undefined : `status ${answer.status}`;
    } catch (error) {
      const { cause, message } = error as Error;
      return cause instanceof Error ? cause.message : message;
    }
  }
}
