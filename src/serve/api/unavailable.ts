// Routes of llama.cpp's server for what no model here can do: what is wrong with a request is said first.

import type { Register } from "../context.js";
import { ApiError, invalid } from "../errors.js";
import type { Fields } from "../fields.js";
import { bodyOf } from "./exchange.js";

const maxDocuments = 2048;
const maxExtras = 1024;

export const register: Register = (app) => {
  app.post("/infill", async (request) => refuseInfill(bodyOf(request)));
  for (const url of ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"]) {
    app.post(url, async (request) => refuseRerank(bodyOf(request)));
  }
};

function refuse(message: string): never {
  throw new ApiError("not_supported_error", message, { code: "not_supported", shouldRetry: false });
}

function refuseInfill(body: Fields): never {
  body.text("input_prefix");
  body.text("input_suffix");
  for (const extra of body.objects("input_extra", { max: maxExtras }) ?? []) {
    extra.text("filename");
    if (extra.text("text") === undefined) {
      throw invalid(extra.pathOf("text"), "expected a text, got nothing");
    }
  }
  refuse("the model has no tokens to fill in a middle");
}

function refuseRerank(body: Fields): never {
  if (body.text("query") === undefined) {
    throw invalid("query", "expected a text, got nothing");
  }
  const name = body.firstOf(["documents", "texts"]);
  const documents = body.list(name, { min: 1, max: maxDocuments });
  if (documents?.every((document) => typeof document === "string" || isObject(document)) !== true) {
    throw invalid(name, "expected a list of texts");
  }
  refuse("the model cannot rank documents");
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
