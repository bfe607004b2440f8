// What stands before a text that is embedded: instructions that a model was trained with, or any other.

import { closest } from "../system/closest.js";
import { BitnetError } from "../system/errors.js";

export { promptsOf } from "../gguf/embedding.js";

export interface PromptChoice {
  /** Of one that the file has. */
  promptName?: string;
  /** Any text. */
  prefix?: string;
  /** What a query is to find, as the models with instructions were taught: documents have none. */
  instruction?: string;
}

/** The text before each input; "" where none is asked for. USAGE for two at once, and for a name that is not there. */
export function choosePrefix(
  { promptName, prefix, instruction }: PromptChoice,
  prompts: ReadonlyMap<string, string>,
): string {
  if ([promptName, prefix, instruction].filter((choice) => choice !== undefined).length > 1) {
    throw new BitnetError("USAGE", "expected one of a prompt's name, a prefix and an instruction, not several");
  }
  if (instruction !== undefined) {
    return `Instruct: ${instruction}\nQuery:`;
  }
  if (promptName === undefined) {
    return prefix ?? "";
  }
  const named = prompts.get(promptName);
  if (named === undefined) {
    const names = [...prompts.keys()];
    const meant = closest(promptName, names);
    throw new BitnetError("USAGE", `the file has no prompt "${promptName}"`, {
      hint: meant === undefined ? describeNames(names) : `did you mean ${meant}?`,
    });
  }
  return named;
}

function describeNames(names: readonly string[]): string {
  return names.length === 0 ? "it has none at all; use a prefix or an instruction" : `it has ${names.join(", ")}`;
}
