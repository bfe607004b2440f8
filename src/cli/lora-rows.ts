// --lora and its other spellings: adapters of the model that a command loads.

import { existsSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import type { AdapterSource, AdapterUse } from "../engine/adapter.js";
import type { Model } from "../engine/model.js";
import { locateAdapter } from "./adapter-argument.js";
import type { OptionRows, RowValues } from "./option-rows.js";
import { note } from "./terminal/output.js";

export interface AdapterChoice {
  path: string;
  scale?: number;
}

export const loraRows = {
  lora: {
    flags: "--lora <path>",
    help: "use an adapter: a folder of PEFT, a .safetensors or .gguf file, owner/name; PATH=SCALE: so much of it; repeatable",
    parse: collectAdapters,
  },
  loraScaled: {
    flags: "--lora-scaled <path>",
    help: "the same as llama.cpp writes it: PATH SCALE or PATH:SCALE",
    parse: collectScaled,
    pair: "=",
  },
  loraByWeights: {
    flags: "--lora-scaled-by-weights",
    help: "multiply what adapters add by the scale of each matrix, as programs did that apply it last",
  },
} as const satisfies OptionRows;

const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** PATH, PATH=SCALE, or several of these with commas between them. */
function collectAdapters(text: string, earlier: AdapterChoice[] = []): AdapterChoice[] {
  return [...earlier, ...splitList(text).map((part) => readChoice(part, "="))];
}

/** PATH:SCALE or PATH=SCALE, of which the scale must be there. */
function collectScaled(text: string, earlier: AdapterChoice[] = []): AdapterChoice[] {
  const choices = splitList(text).map((part) => {
    const choice = readChoice(part, "=");
    return choice.scale === undefined ? readChoice(part, ":") : choice;
  });
  if (choices.some(({ scale }) => scale === undefined)) {
    throw new InvalidArgumentError("Expected PATH SCALE, PATH:SCALE or PATH=SCALE.");
  }
  return [...earlier, ...choices];
}

/** A path may have commas itself. */
function splitList(text: string): string[] {
  const parts = existsSync(text) ? [text] : text.split(",").filter((part) => part !== "");
  if (parts.length === 0) {
    throw new InvalidArgumentError("Expected the path of an adapter.");
  }
  return parts;
}

function readChoice(text: string, separator: string): AdapterChoice {
  const at = text.lastIndexOf(separator);
  const scale = text.slice(at + 1);
  return at > 0 && number.test(scale) && !existsSync(text)
    ? { path: text.slice(0, at), scale: Number(scale) }
    : { path: text };
}

/** What the rows name, in the order of the command line. */
export function adapterChoices({ lora = [], loraScaled = [] }: RowValues<typeof loraRows>): AdapterChoice[] {
  return [...lora, ...loraScaled];
}

/** The same with paths on this machine. */
export async function locateAdapters(
  values: RowValues<typeof loraRows>,
  { quiet }: { quiet?: boolean } = {},
): Promise<AdapterSource[]> {
  const sources: AdapterSource[] = [];
  for (const { path, scale } of adapterChoices(values)) {
    sources.push({ path: await locateAdapter(path, { quiet }), scale, scaledByWeights: values.loraByWeights });
  }
  return sources;
}

/** Loads the adapters and makes them those of every session of the model that names none. */
export async function applyAdapters(
  model: Model,
  values: RowValues<typeof loraRows>,
  { quiet, signal }: { quiet?: boolean; signal?: AbortSignal } = {},
): Promise<void> {
  const uses: AdapterUse[] = [];
  for (const { path, ...options } of await locateAdapters(values, { quiet })) {
    const adapter = await model.loadAdapter(path, { ...options, signal });
    for (const warning of quiet ? [] : adapter.warnings) {
      note(warning);
    }
    uses.push(adapter);
  }
  model.adapters = uses;
}
