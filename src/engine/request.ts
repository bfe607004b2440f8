// The numbers of a request: what can be set for sampling, from the core's table, and the checks.

import { loadAddon, type NativeSampling, type NativeSamplingParameter } from "../native/addon.js";
import { BitnetError } from "../system/errors.js";

export type SamplingParameter = NativeSamplingParameter;

/**
 * Each parameter's bounds and default are in docs/sampling.md and `listSamplingParameters()`. The default of `seed` is
 * random; the result tells which it was.
 */
export interface SamplingOptions extends Omit<NativeSampling, "logitBias"> {
  /** Added to the logits of these token ids; -Infinity forbids one. */
  logitBias?: ReadonlyMap<number, number> | Readonly<Record<number, number>>;
}

export interface Range {
  min: number;
  max: number;
  integer?: boolean;
}

/** Counts are int32 in the core. */
export const maxCount = 2 ** 31 - 1;

let parameters: readonly SamplingParameter[] | undefined;

/** Everything that sampling can be told, besides `logitBias`: name, kind, bounds, default, a line of help. */
export function listSamplingParameters(): readonly SamplingParameter[] {
  parameters ??= loadAddon().samplingParameters();
  return parameters;
}

/** USAGE naming the first sampling option that is out of its bounds. */
export function checkSampling(options: SamplingOptions): void {
  for (const { name, kind, least, most } of listSamplingParameters()) {
    const value = options[name];
    if (value !== undefined) {
      checkNumber(name, value, { min: least, max: most, integer: kind === "whole" });
    }
  }
}

/** The sampling options among `options`, but for `logitBias`. */
export function pickSampling(options: SamplingOptions): Omit<NativeSampling, "logitBias"> {
  return Object.fromEntries(listSamplingParameters().map(({ name }) => [name, options[name]]));
}

/** USAGE naming the option if `value` is outside `range`. */
export function checkNumber(name: string, value: unknown, range: Range): void {
  const ok =
    typeof value === "number" &&
    value >= range.min &&
    value <= range.max &&
    (range.integer !== true || Number.isInteger(value));
  if (!ok) {
    const kind = range.integer ? "an integer" : "a number";
    throw new BitnetError("USAGE", `${name}: expected ${kind} from ${range.min} to ${range.max}, got ${String(value)}`);
  }
}
