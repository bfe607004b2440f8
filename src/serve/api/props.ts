// What a server is set to, and what its places do: numbers, never texts.

import { basename } from "node:path";
import { packageVersion } from "../../system/package.js";
import type { Register, ServerContext } from "../context.js";
import { ApiError } from "../errors.js";
import { describeSampling } from "./parameters.js";

export const register: Register = (app, context) => {
  app.get("/props", async () => describeServer(context));
  app.get("/slots", async () => {
    if (!context.options.slots) {
      throw new ApiError("not_supported_error", "the server was started without it: bitnet serve --slots", {
        ...{ code: "not_supported", shouldRetry: false },
      });
    }
    return describeSlots(context);
  });
};

function describeServer(context: ServerContext): object {
  const { service, options, modelId } = context;
  const { model, format, contextSize, admission, embeddings } = service;
  const { tokenizer, info } = model;
  const nameOf = (id: number) => (id < 0 ? "" : tokenizer.token(id));
  return {
    default_generation_settings: describeSlot(context, 0, false),
    total_slots: admission.limits.parallel,
    model_alias: modelId,
    model_path: basename(options.modelPath), // where it lies is nobody's business
    modalities: { vision: false, audio: false },
    chat_template: info.chatTemplate ?? "",
    chat_format: format.name,
    bos_token: nameOf(tokenizer.info.bos),
    eos_token: nameOf(tokenizer.info.eos),
    build_info: `bitnet-${packageVersion()}`,
    embedding: embeddings !== undefined,
    ...(embeddings === undefined ? {} : { pooling: embeddings.pooling }),
    is_sleeping: service.isSleeping,
    n_ctx: contextSize,
  };
}

/** Requests are not tied to places: as many are busy as run. */
function describeSlots(context: ServerContext): object[] {
  const { parallel } = context.service.admission.limits;
  const running = Math.min(context.service.admission.running, parallel);
  return Array.from({ length: parallel }, (_, id) => describeSlot(context, id, id < running));
}

function describeSlot({ service, options }: ServerContext, id: number, isBusy: boolean): object {
  return {
    id,
    id_task: -1,
    n_ctx: service.contextSize,
    speculative: false,
    is_processing: isBusy,
    params: {
      ...describeSampling(options.sampling),
      n_predict: options.maxPredict,
      max_tokens: options.maxPredict,
      seed: options.sampling.seed ?? -1,
      stop: [],
      stream: true,
    },
  };
}
