// What is served and how it is: models, health, version.

import { packageVersion } from "../../system/package.js";
import type { Register, ServerContext } from "../context.js";
import { HealthCheck } from "../deep-health.js";
import { ApiError, unavailable } from "../errors.js";

export const register: Register = (app, context) => {
  const check = new HealthCheck(context);
  for (const url of ["/v1/models", "/models"]) {
    app.get(url, async () => listModels(context));
  }
  app.get<{ Params: { "*": string } }>("/v1/models/*", async ({ params }) => findModel(context, params["*"]));
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
  return { object: "list", data: [describeModel(context)] };
}

function findModel(context: ServerContext, name: string): object {
  if (name !== context.modelId && !context.options.aliases.includes(name)) {
    throw new ApiError("not_found_error", `the model ${JSON.stringify(name.slice(0, 100))} does not exist`, {
      code: "model_not_found",
      shouldRetry: false,
    });
  }
  return describeModel(context);
}

/** While the model is loaded, only its name is known. */
function describeModel(context: ServerContext): object {
  const { options, modelId, startedAt, state } = context;
  const head = { id: modelId, object: "model", created: Math.floor(startedAt), owned_by: "bitnet" };
  const names = { aliases: options.aliases, tags: options.tags };
  if (state === "loading" || state === "failed") {
    return { ...head, ...names };
  }
  const { model, contextSize } = context.service;
  const { info } = model;
  const meta = {
    n_vocab: model.tokenizer.info.vocabSize,
    n_ctx_train: info.contextLength,
    n_embd: info.embeddingLength,
    n_params: info.parameterCount,
    size: info.fileSize,
  };
  return { ...head, ...names, max_model_len: contextSize, meta };
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
  const { msSinceProgress } = context.service.model.stats();
  if (msSinceProgress > wedgedAfter) {
    throw unavailable("wedged", `the engine has not moved for ${Math.round(msSinceProgress / 1000)} s`);
  }
}
