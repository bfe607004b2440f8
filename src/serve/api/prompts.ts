// Prompts that are text or token ids.

import { invalid } from "../errors.js";
import { describe, type Fields } from "../fields.js";
import type { TextPrompt } from "../request.js";

const maxPrompts = 128;

type Part = TextPrompt["parts"][number];

/** How a list of texts is read: each a prompt of its own; with numbers in it, all of it is one prompt. */
export interface PromptForms {
  /** Texts and ids in one prompt: [12, "text"]. */
  mixed: boolean;
  /** Prompts at most. Default: 128. */
  most?: number;
}

/** string | string[] | int[] | int[][], and mixed lists. `isList`: the answer is a list, too. */
export function readPrompts(
  body: Fields,
  name: string,
  { mixed, most = maxPrompts }: PromptForms,
): { prompts: Part[][]; isList: boolean } {
  const value = body.value(name);
  if (value === undefined) {
    throw invalid(body.pathOf(name), "expected a text or token ids, got nothing");
  }
  if (!Array.isArray(value)) {
    return { prompts: [readPrompt(body.pathOf(name), value, mixed)], isList: false };
  }
  if (value.length === 0) {
    throw invalid(body.pathOf(name), "expected at least one prompt");
  }
  if (value.some((entry) => typeof entry === "number")) {
    return { prompts: [readPrompt(body.pathOf(name), value, mixed)], isList: false };
  }
  if (value.length > most) {
    throw invalid(body.pathOf(name), `expected at most ${most} prompts, got ${value.length}`);
  }
  const prompts = value.map((entry, i) => readPrompt(`${body.pathOf(name)}[${i}]`, entry, mixed));
  return { prompts, isList: true };
}

function readPrompt(path: string, value: unknown, mixed: boolean): Part[] {
  if (typeof value === "string") {
    return [value];
  }
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid(
      path,
      `expected a text or token ids, got ${Array.isArray(value) ? "an empty list" : describe(value)}`,
    );
  }
  const parts: (string | number[])[] = [];
  for (const [i, entry] of value.entries()) {
    const last = parts.at(-1);
    if (typeof entry === "number") {
      if (Array.isArray(last)) {
        last.push(entry);
      } else {
        parts.push([entry]);
      }
    } else if (typeof entry === "string" && mixed) {
      parts.push(entry);
    } else {
      throw invalid(`${path}[${i}]`, `expected a token id${mixed ? " or a text" : ""}, got ${describe(entry)}`);
    }
  }
  return parts;
}
