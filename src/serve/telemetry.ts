// OpenTelemetry: a span and measurements for every request, where the environment names a collector and the packages are
// there. The names are those of the semantic conventions for generative AI (status: development).

import type { Attributes, Histogram, Span } from "@opentelemetry/api";
import { reasonOf } from "../system/errors.js";
import { packageVersion } from "../system/package.js";
import type { Register, ServerContext } from "./context.js";
import type { TextRecord, Watcher } from "./records.js";
import type { StageContext, TextRequest } from "./request.js";

type Api = typeof import("@opentelemetry/api");

const scope = "bitnet";

export const register: Register = async (app, context) => {
  if (!process.env.OTEL_EXPORTER_OTLP_ENDPOINT) {
    return;
  }
  const api = await importApi(context);
  if (api === undefined) {
    return;
  }
  const stop = await startExport(api, context);
  context.onClose(() => stop());
  const telemetry = new Telemetry(api, context);
  app.addHook("onRequest", async (request) => {
    if (request.notes !== undefined) {
      telemetry.noteParent(request.notes, request.headers);
    }
  });
  context.stages.push((request, run, next) => {
    telemetry.begin(request, run);
    return next(request);
  });
  context.watchers.push(telemetry);
};

async function importApi(context: ServerContext): Promise<Api | undefined> {
  try {
    return await import("@opentelemetry/api");
  } catch {
    const message = "OTEL_EXPORTER_OTLP_ENDPOINT is set, but there is no @opentelemetry/api: nothing is traced";
    context.log({ level: "warn", message, fields: { install: "npm install @opentelemetry/api" } });
    return undefined;
  }
}

const tracePackages = [
  "@opentelemetry/sdk-trace-node",
  "@opentelemetry/sdk-trace-base",
  "@opentelemetry/exporter-trace-otlp-http",
  "@opentelemetry/resources",
];
const metricPackages = [
  "@opentelemetry/sdk-metrics",
  "@opentelemetry/exporter-metrics-otlp-http",
  "@opentelemetry/resources",
];

/** What is sent by what the server sets up itself, if the program was not started with something that does (node --import). */
async function startExport(api: Api, context: ServerContext): Promise<() => Promise<void>> {
  const stops = [
    await withPackages<TracePackages>(context, "spans", tracePackages, ([node, base, exporter, resources]) => {
      const provider = new node.NodeTracerProvider({
        resource: describeSelf(resources),
        spanProcessors: [new base.BatchSpanProcessor(new exporter.OTLPTraceExporter())],
      });
      provider.register();
      return provider;
    }),
    await withPackages<MetricPackages>(context, "measurements", metricPackages, ([sdk, exporter, resources]) => {
      const reader = new sdk.PeriodicExportingMetricReader({ exporter: new exporter.OTLPMetricExporter() });
      const provider = new sdk.MeterProvider({ resource: describeSelf(resources), readers: [reader] });
      api.metrics.setGlobalMeterProvider(provider);
      return provider;
    }),
  ];
  return async () => {
    await Promise.all(stops.map((stop) => stop()));
  };
}

// What is used of packages that need not be installed, so that their own types are not there.

interface Provider {
  shutdown(): Promise<void>;
}

interface Resource {
  merge(other: Resource): Resource;
}

interface Resources {
  resourceFromAttributes(attributes: Record<string, string>): Resource;
  detectResources(options: { detectors: unknown[] }): Resource;
  defaultResource(): Resource;
  envDetector: unknown;
}

type MeterProvider = Provider & Parameters<Api["metrics"]["setGlobalMeterProvider"]>[0];

/** In the order of `tracePackages` and `metricPackages`. */
type TracePackages = [
  node: { NodeTracerProvider: new (options: object) => Provider & { register(): void } },
  base: { BatchSpanProcessor: new (exporter: object) => object },
  exporter: { OTLPTraceExporter: new () => object },
  resources: Resources,
];
type MetricPackages = [
  sdk: {
    PeriodicExportingMetricReader: new (options: object) => object;
    MeterProvider: new (options: object) => MeterProvider;
  },
  exporter: { OTLPMetricExporter: new () => object },
  resources: Resources,
];

async function withPackages<Packages>(
  context: ServerContext,
  what: string,
  names: readonly string[],
  create: (packages: Packages) => Provider,
): Promise<() => Promise<void>> {
  try {
    const packages: unknown = await Promise.all(names.map((name) => import(name)));
    const provider = create(packages as Packages);
    // A collector that is away must not keep the server from ending.
    return () => provider.shutdown().catch((error: unknown) => tellLost(context, what, error));
  } catch {
    const message = `${what} go to what --import has set up, if anything: the packages that send them are not installed`;
    context.log({ level: "info", message, fields: { install: `npm install ${names.join(" ")}` } });
    return async () => {};
  }
}

function tellLost(context: ServerContext, what: string, error: unknown): void {
  context.log({ level: "warn", message: `the last ${what} were not sent`, fields: { reason: reasonOf(error) } });
}

/** OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win. */
function describeSelf(resources: Resources): Resource {
  const own = resources.resourceFromAttributes({ "service.name": scope, "service.version": packageVersion() });
  const named = resources.detectResources({ detectors: [resources.envDetector] });
  return resources.defaultResource().merge(own).merge(named);
}

class Telemetry implements Watcher {
  readonly #api: Api;
  readonly #context: ServerContext;
  readonly #parents = new WeakMap<object, ReturnType<Api["context"]["active"]>>();
  readonly #spans = new WeakMap<object, Span>();
  readonly #duration: Histogram;
  readonly #firstToken: Histogram;
  readonly #perToken: Histogram;

  constructor(api: Api, context: ServerContext) {
    this.#api = api;
    this.#context = context;
    const meter = api.metrics.getMeter(scope);
    const histogram = (name: string, description: string) =>
      meter.createHistogram(`gen_ai.server.${name}`, { unit: "s", description });
    this.#duration = histogram("request.duration", "of a request");
    this.#firstToken = histogram("time_to_first_token", "until the first token");
    this.#perToken = histogram("time_per_output_token", "of every token after the first");
  }

  /** A traceparent header makes the span part of the client's trace. */
  noteParent(notes: object, headers: Record<string, unknown>): void {
    const { propagation, ROOT_CONTEXT } = this.#api;
    this.#parents.set(notes, propagation.extract(ROOT_CONTEXT, headers));
  }

  begin(request: TextRequest, { notes }: StageContext): void {
    const { trace, SpanKind, ROOT_CONTEXT } = this.#api;
    const parent = this.#parents.get(notes) ?? ROOT_CONTEXT;
    const { temperature, topP, topK } = request.sampling;
    const attributes = {
      ...this.#attributesOf(request),
      "gen_ai.request.max_tokens": request.maxTokens,
      "gen_ai.request.temperature": temperature,
      "gen_ai.request.top_p": topP,
      "gen_ai.request.top_k": topK,
      "gen_ai.request.seed": request.sampling.seed,
      "gen_ai.request.choice.count": request.n,
      "gen_ai.request.stop_sequences": [...request.stop],
    };
    const name = `${operationOf(request)} ${this.#context.modelId}`;
    this.#spans.set(request, trace.getTracer(scope).startSpan(name, { kind: SpanKind.SERVER, attributes }, parent));
  }

  onText(record: TextRecord): void {
    const { request, usage, finishes, error, ms, firstTokenMs } = record;
    const attributes = {
      ...this.#attributesOf(request),
      ...(error && { "error.type": error.details.code ?? error.type }),
    };
    this.#duration.record(ms / 1000, attributes);
    if (firstTokenMs !== undefined) {
      this.#firstToken.record(firstTokenMs / 1000, attributes);
      if (usage.completionTokens > 1) {
        this.#perToken.record((ms - firstTokenMs) / 1000 / (usage.completionTokens - 1), attributes);
      }
    }
    const span = this.#spans.get(request);
    this.#spans.delete(request);
    span?.setAttributes({
      ...attributes,
      "gen_ai.response.model": this.#context.modelId,
      "gen_ai.response.finish_reasons": finishes,
      "gen_ai.usage.input_tokens": usage.promptTokens,
      "gen_ai.usage.output_tokens": usage.completionTokens,
    });
    if (error !== undefined) {
      span?.setStatus({ code: this.#api.SpanStatusCode.ERROR, message: error.details.code });
    }
    span?.end();
  }

  #attributesOf(request: TextRequest): Attributes {
    return {
      "gen_ai.operation.name": operationOf(request),
      "gen_ai.provider.name": "bitnet",
      "gen_ai.request.model": this.#context.modelId,
    };
  }
}

function operationOf({ prompt }: TextRequest): string {
  return prompt.kind === "chat" ? "chat" : "text_completion";
}
