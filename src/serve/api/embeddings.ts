// POST /v1/embeddings and llama.cpp's /embedding: requests are checked; no model here computes embeddings.

import type { Register } from "../context.js";
import { ApiError } from "../errors.js";
import type { Fields } from "../fields.js";
import { bodyOf, checkModel, nameIgnored } from "./exchange.js";
import { readPrompts } from "./prompts.js";

const maxInputs = 2048;
const maxDimensions = 65536;

export const register: Register = (app, context) => {
  for (const url of ["/v1/embeddings", "/embedding", "/embeddings"]) {
    app.post(url, async (request, reply) => {
      const body = bodyOf(request);
      checkModel(context, body.text("model"));
      readEmbeddings(body);
      nameIgnored(reply, body);
      return refuseEmbeddings();
    });
  }
};

/** Texts or token ids, and how the vectors are to be written. */
function readEmbeddings(body: Fields): void {
  body.choice("encoding_format", ["float", "base64"]);
  body.integer("dimensions", { min: 1, max: maxDimensions });
  body.boolean("truncate");
  readPrompts(body, body.firstOf(["input", "content", "prompt"]), { mixed: true, most: maxInputs });
  body.ignore("user");
}

export function refuseEmbeddings(): never {
  throw new ApiError("not_supported_error", "the model computes no embeddings, only texts", {
    ...{ code: "not_supported", shouldRetry: false },
  });
}
