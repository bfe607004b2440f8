// What the server says about itself: its model, its context, the defaults of its sampling.

import { type Connection, field, ServerError } from "./connection.js";

export interface ServerInfo {
  model: string;
  /** Tokens; undefined while it is not known. */
  contextSize?: number;
  /** By name of the parameter. */
  defaults: Record<string, number>;
}

export async function readServerInfo(connection: Connection): Promise<ServerInfo> {
  const models = field(await connection.json("v1/models"), "data");
  const first: unknown = Array.isArray(models) ? models[0] : undefined;
  const id = field(first, "id");
  const info: ServerInfo = {
    model: typeof id === "string" ? id : "",
    contextSize: positive(field(first, "max_model_len")),
    defaults: {},
  };
  const props = await connection.json("props").catch(ignoreAbsent);
  const settings = field(props, "default_generation_settings");
  info.contextSize = positive(field(settings, "n_ctx")) ?? info.contextSize;
  const parameters = field(settings, "params") ?? settings;
  for (const [name, value] of Object.entries(parameters ?? {})) {
    if (typeof value === "number") {
      info.defaults[name] = value;
    }
  }
  return info;
}

/** A server may keep its settings to itself. */
function ignoreAbsent(error: unknown): undefined {
  if (!(error instanceof ServerError) || error.status !== 404) {
    throw error;
  }
}

function positive(value: unknown): number | undefined {
  return typeof value === "number" && value > 0 ? value : undefined;
}
