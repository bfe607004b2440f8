// What is served and how it is: models, health, version.

import type { FastifyRequest } from "fastify";
import { packageVersion } from "../../system/package.js";
import type { Register, ServerContext } from "../context.js";
import { HealthCheck } from "../deep-health.js";
import { ApiError, unavailable } from "../errors.js";
import { adapterModels, findAdapterModel } from "./adapters.js";
import { errorBody as messagesError } from "./messages.js";

export const register: Register = (app, context) => {
  const check = new HealthCheck(context);
  for (const url of ["/v1/models", "/models"]) {
    app.get(url, async (request) =>
      isOfMessages(request) ? pageOfModels(context, request.query as PageQuery) : listModels(context),
    );
  }
  app.get<{ Params: { "*": string } }>("/v1/models/*", async (request, reply) => {
    const adapter = findAdapterModel(context, request.params["*"]);
    if (adapter !== undefined && !isOfMessages(request)) {
      return describeAdapter(context, adapterModels(context)[adapter] ?? "");
    }
    if (hasModel(context, request.params["*"])) {
      return isOfMessages(request) ? nameModel(context) : describeModel(context);
    }
    const error = noSuchModel(request.params["*"]);
    if (!isOfMessages(request)) {
      throw error;
    }
    return reply.status(error.status).headers(error.headers).send(messagesError(error));
  });
  for (const url of ["/health", "/v1/health", "/readyz", "/v2/health/ready"]) {
    app.get(url, async ({ query }, reply) => {
      checkReady(context);
      const isDeep = (query as { deep?: unknown }).deep !== undefined && url.endsWith("/health");
      const health = isDeep ? await check.run() : { status: "ok" };
      return reply.status(health.status === "unhealthy" ? 503 : 200).send(health);
    });
  }
  for (const url of ["/livez", "/v2/health/live"]) {
    app.get(url, async () => {
      checkAlive(context);
      return { status: "ok" };
    });
  }
  app.get("/version", async () => ({ version: packageVersion() }));
};

function listModels(context: ServerContext): object {
  const adapters = adapterModels(context).map((id) => describeAdapter(context, id));
  return { object: "list", data: [describeModel(context), ...adapters] };
}

/** As vLLM lists them. */
function describeAdapter({ modelId, startedAt }: ServerContext, id: string): object {
  return { id, object: "model", created: Math.floor(startedAt), owned_by: "bitnet", parent: modelId };
}

function hasModel({ modelId, options }: ServerContext, name: string): boolean {
  return name === modelId || options.aliases.includes(name);
}

function noSuchModel(name: string): ApiError {
  return new ApiError("not_found_error", `the model ${JSON.stringify(name.slice(0, 100))} does not exist`, {
    code: "model_not_found",
    shouldRetry: false,
  });
}

/** Anthropic's clients name the version of their interface with every request, and expect its shapes. */
function isOfMessages({ headers }: FastifyRequest): boolean {
  return headers["anthropic-version"] !== undefined;
}

interface PageQuery {
  after_id?: unknown;
  before_id?: unknown;
}

/** There is one model: before it and after it there is none. */
function pageOfModels(context: ServerContext, { after_id, before_id }: PageQuery): object {
  const data = after_id === undefined && before_id === undefined ? [nameModel(context)] : [];
  const id = data.length > 0 ? context.modelId : null;
  return { data, has_more: false, first_id: id, last_id: id };
}

function nameModel({ modelId, startedAt }: ServerContext): object {
  const created = new Date(Math.floor(startedAt) * 1000).toISOString();
  return { type: "model", id: modelId, display_name: modelId, created_at: created };
}

/** While the model is loaded, only its name is known. */
function describeModel(context: ServerContext): object {
  const { options, modelId, startedAt, state } = context;
  const head = { id: modelId, object: "model", created: Math.floor(startedAt), owned_by: "bitnet" };
  const names = { aliases: options.aliases, tags: options.tags };
  if (state === "loading" || state === "failed") {
    return { ...head, ...names };
  }
  const { model, contextSize, embeddings } = context.service;
  const { info } = model;
  const meta = {
    n_vocab: model.tokenizer.info.vocabSize,
    n_ctx_train: info.contextLength,
    n_embd: info.embeddingLength,
    n_params: info.parameterCount,
    size: info.fileSize,
    ...(embeddings === undefined ? {} : { pooling: embeddings.pooling }),
  };
  const capabilities = [embeddings === undefined ? "completion" : "embedding"];
  return { ...head, ...names, max_model_len: contextSize, capabilities, meta };
}

/** 503 unless requests are answered. */
export function checkReady({ state }: ServerContext): void {
  switch (state) {
    case "loading":
      throw unavailable("loading_model", "Loading model");
    case "draining":
      throw unavailable("draining", "the server is shutting down");
    case "failed":
      throw new ApiError("server_error", "the model could not be loaded", { code: "no_model" });
  }
}

// A pass over a layer takes milliseconds; the longest step of the slowest machine is far from this.
const wedgedAfter = 30_000; // ms

/** 503 if the engine has stopped turning. */
function checkAlive(context: ServerContext): void {
  if (context.state !== "ready" && context.state !== "draining") {
    return;
  }
  const { msSinceProgress } = context.service.stats();
  if (msSinceProgress > wedgedAfter) {
    throw unavailable("wedged", `the engine has not moved for ${Math.round(msSinceProgress / 1000)} s`);
  }
}
