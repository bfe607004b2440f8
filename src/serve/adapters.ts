// The adapters of a server: what they are called, and how much of each a request gets that does not say.

import type { Adapter, AdapterUse } from "../engine/adapter.js";
import type { Model } from "../engine/model.js";
import { at } from "../system/at.js";
import { BitnetError } from "../system/errors.js";
import type { Log } from "./log.js";
import type { ServeOptions } from "./options.js";
import type { RequestAdapter } from "./request.js";

/** In the order of their numbers. */
export async function loadAdapters(model: Model, options: ServeOptions, log: Log): Promise<Adapter[]> {
  const adapters: Adapter[] = [];
  for (const { path, ...rest } of options.adapters) {
    const adapter = await model.loadAdapter(path, rest);
    for (const warning of adapter.warnings) {
      log({ level: "warn", message: warning });
    }
    adapters.push(adapter);
  }
  const names = adapters.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new BitnetError("USAGE", `two adapters are called ${JSON.stringify(twice)}`, {
      hint: "give one another name with --lora-modules NAME=PATH",
    });
  }
  return adapters;
}

/** The scales of requests that name none, which outlive the model in memory. */
export class AdapterScales {
  #scales: readonly number[];

  constructor({ adapters, adaptersWait }: ServeOptions) {
    this.#scales = adapters.map(({ scale = 1 }) => (adaptersWait ? 0 : scale));
  }

  get(id: number): number {
    return at(this.#scales, id);
  }

  /** What is not in the list becomes 0. */
  set(adapters: readonly RequestAdapter[]): void {
    this.#scales = this.#scales.map((_, id) => adapters.find((adapter) => adapter.id === id)?.scale ?? 0);
  }

  /** Those that add something, in the order of their numbers; undefined where the server has no adapters. */
  list(): RequestAdapter[] | undefined {
    return this.#scales.length === 0 ? undefined : canonical(this.#scales.map((scale, id) => ({ id, scale })));
  }
}

/** The same choice is the same list. */
export function canonical(adapters: readonly RequestAdapter[]): RequestAdapter[] {
  return adapters.filter(({ scale }) => scale !== 0).sort((a, b) => a.id - b.id);
}

export function usesOf(loaded: readonly Adapter[], adapters: readonly RequestAdapter[] = []): AdapterUse[] {
  return adapters.map(({ id, scale }) => ({ adapter: at(loaded, id), scale }));
}
