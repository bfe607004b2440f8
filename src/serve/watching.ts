// Sets up what watches a server: metrics, counts, the monitor and its alerts.

import { completeThresholds, Webhook } from "./alerts.js";
import type { ServerContext } from "./context.js";
import { Metrics } from "./metrics.js";
import { Monitor } from "./monitor.js";
import { Tally } from "./tally.js";

const MiB = 2 ** 20;
const standardStepMs = 200; // as native/run/engine.h has it

export interface Watching {
  metrics: Metrics;
  tally: Tally;
  monitor: Monitor;
}

const watchings = new WeakMap<ServerContext, Watching>();

/** The same one for everybody who asks. */
export function watchingOf(context: ServerContext): Watching {
  const known = watchings.get(context);
  if (known !== undefined) {
    return known;
  }
  const watching = createWatching(context);
  watchings.set(context, watching);
  return watching;
}

function createWatching(context: ServerContext): Watching {
  const { alerts, alertWebhook, monitorInterval, requestTimeout, stepMs = standardStepMs } = context.options;
  const expected = { requestTimeout, stepMs };
  const metrics = new Metrics(context);
  const tally = new Tally();
  const webhook =
    alertWebhook === undefined
      ? undefined
      : new Webhook({ url: alertWebhook, secret: context.secret, log: context.log });
  const monitor = new Monitor({
    tally,
    thresholds: completeThresholds(alerts, expected),
    active: () => activeRequests(context),
    onAlert: (event, alert) => {
      const { type, severity, message } = alert;
      const text = event === "begin" ? message : `over: ${message}`;
      context.log({ level: event === "begin" ? "warn" : "info", message: text, fields: { alert: type, severity } });
      webhook?.tell(event, alert);
    },
  });
  context.onReady((service) => {
    const memoryMb = service.mostBytes / MiB;
    monitor.alerts.thresholds = completeThresholds(alerts, { ...expected, memoryMb });
  });
  context.watchers.push(metrics, tally);
  context.onDrop(() => metrics.noteDropped());
  const timer = monitorInterval > 0 ? setInterval(() => monitor.read(), monitorInterval * 1000).unref() : undefined;
  context.onClose(() => {
    clearInterval(timer);
    metrics.close();
  });
  return { metrics, tally, monitor };
}

export function activeRequests(context: ServerContext): number {
  if (context.state !== "ready" && context.state !== "draining") {
    return 0;
  }
  try {
    const { running, waiting } = context.service.admission;
    return running + waiting;
  } catch {
    return 0; // it ends before it was loaded
  }
}
