// Which adapters a request gets: by its field `lora`, as llama.cpp's server has it, or by its model's name, as vLLM has it;
// and /lora-adapters, which changes what all others get.

import { adapterName } from "../../adapter/peft.js";
import { canonical } from "../adapters.js";
import type { Register, ServerContext } from "../context.js";
import { invalid } from "../errors.js";
import { Fields } from "../fields.js";
import type { RequestAdapter, TextRequest } from "../request.js";

const largestScale = 1e6;

/** The adapters' names, in the order of their numbers; known before the model is there. */
export function adapterNames({ options }: Pick<ServerContext, "options">): string[] {
  return options.adapters.map(({ path, name }) => name ?? adapterName(path));
}

/** Their names as models: "MODEL:ADAPTER". */
export function adapterModels(context: ServerContext): string[] {
  return adapterNames(context).map((name) => `${context.modelId}:${name}`);
}

/** The adapter that a model's name means: "MODEL:ADAPTER", or its own name alone. */
export function findAdapterModel(context: ServerContext, model: string | undefined): number | undefined {
  const names = adapterNames(context);
  const { modelId, options } = context;
  const bases = [modelId, ...options.aliases];
  const id = names.findIndex((name) => name === model || bases.some((base) => `${base}:${name}` === model));
  return id < 0 || model === undefined || bases.includes(model) ? undefined : id;
}

/** Nothing where the server has no adapters: such requests are as if there were none anywhere. */
export function readAdapters(context: ServerContext, body: Fields): Pick<TextRequest, "adapters"> {
  const asked = readList(context, body, "lora");
  if (context.options.adapters.length === 0) {
    return {};
  }
  if (asked !== undefined) {
    return { adapters: canonical(asked) };
  }
  const id = findAdapterModel(context, body.text("model"));
  if (id !== undefined) {
    return { adapters: [{ id, scale: context.options.adapters[id]?.scale ?? 1 }] };
  }
  return { adapters: context.service.adapterScales.list() };
}

/** [{id, scale}], each number once. */
function readList({ options }: ServerContext, body: Fields, name: string): RequestAdapter[] | undefined {
  const { length } = options.adapters;
  const entries = body.objects(name, { max: 1024 });
  if (length === 0 && (entries ?? []).length > 0) {
    throw invalid(body.pathOf(name), "the server has no adapters");
  }
  const adapters = entries?.map((entry) => {
    const id = entry.integer("id", { min: 0, max: 2 ** 31 - 1 });
    const scale = entry.number("scale", { min: -largestScale, max: largestScale });
    if (id === undefined || id >= length) {
      throw invalid(entry.pathOf("id"), `expected the number of an adapter, 0 to ${length - 1}`);
    }
    return { id, scale: scale ?? 0 };
  });
  const ids = new Set(adapters?.map(({ id }) => id));
  if (adapters !== undefined && ids.size < adapters.length) {
    throw invalid(body.pathOf(name), "expected each adapter once");
  }
  return adapters;
}

export const register: Register = (app, context) => {
  app.get("/lora-adapters", async () => describe(context));
  app.post("/lora-adapters", { config: { access: "admin" } }, async (request) => {
    const body = new Fields({ adapters: request.body });
    context.service.adapterScales.set(readList(context, body, "adapters") ?? []);
    return { success: true };
  });
};

function describe(context: ServerContext): object[] {
  const { adapters, adapterScales } = context.service;
  return adapters.map(({ name, ranks, parameters, hash }, id) => ({
    ...{ id, path: name, name, scale: adapterScales.get(id), ranks, parameters, hash },
    ...{ task_name: "", prompt_prefix: "" }, // llama.cpp's server has them
  }));
}
