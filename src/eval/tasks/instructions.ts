// IFEval as a task: every instruction of a prompt is checked, strictly and loosely.

import { ColumnError, textOf, textsOf } from "../columns.js";
import type { Doc } from "../data/types.js";
import type { GenerationTask } from "../task.js";
import { approximateInstructions, followsInstruction, followsLoosely, type InstructionArguments } from "./ifeval.js";

function argumentsOf(doc: Doc, instructions: readonly string[]): InstructionArguments[] {
  const given = doc.kwargs;
  const areObjects = Array.isArray(given) && given.every((item) => typeof item === "object" && !Array.isArray(item));
  if (!areObjects || given.length !== instructions.length) {
    throw new ColumnError("kwargs", "a list with an object for each of instruction_id_list", given);
  }
  return given.map((item: InstructionArguments | null) => item ?? {});
}

export const ifeval: GenerationTask = {
  kind: "generation",
  name: "ifeval",
  version: 4,
  source: { id: "google/IFEval" },
  licence: "Apache-2.0",
  split: "train",
  documents: 541,
  shots: { from: "train", draw: "random" },
  shotCount: 0,
  prompt: (doc) => textOf(doc, "prompt"),
  target: () => "0",
  stops: [],
  maxTokens: 1280,
  filters: [{ name: "none", apply: (answer) => answer }],
  approximate: `languages, sentences and words are guessed without Python's libraries: ${approximateInstructions.join(", ")}`,
  metrics: [
    { name: "prompt_level_strict_acc" },
    { name: "inst_level_strict_acc", aggregation: "mean of items" },
    { name: "prompt_level_loose_acc" },
    { name: "inst_level_loose_acc", aggregation: "mean of items" },
  ],
  measure: (doc, answer) => {
    const instructions = textsOf(doc, "instruction_id_list");
    const given = argumentsOf(doc, instructions);
    const check = (follows: typeof followsInstruction) =>
      instructions.map((id, place) => follows(id, given[place] ?? {}, answer));
    const strict = check(followsInstruction);
    const loose = check(followsLoosely);
    return {
      prompt_level_strict_acc: Number(strict.every(Boolean)),
      inst_level_strict_acc: strict,
      prompt_level_loose_acc: Number(loose.every(Boolean)),
      inst_level_loose_acc: loose,
    };
  },
};
