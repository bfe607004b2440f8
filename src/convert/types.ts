// Which type each tensor of an output file gets.

import { BitnetError } from "../system/errors.js";

export type TensorUse = "embedding" | "head" | "linear" | "other";

export interface TypeChoice {
  /** Of the matrices: "I2_S". */
  outtype: string;
  embeddingType?: string;
  outputType?: string;
}

const outtypes = ["F32", "F16", "BF16", "I2_S", "TL1", "TL2", "TQ1_0", "TQ2_0", "IQ1_BN", "IQ2_BN"];
const floatTypes = new Set(["F32", "F16", "BF16"]);
const embeddingTypes = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_0", "Q4_0", "Q3_K"];

// general.file_type, as bitnet.cpp and ik_llama.cpp number them.
const fileTypes: Record<string, number> = {
  F32: 0,
  F16: 1,
  BF16: 32,
  TQ1_0: 36,
  TQ2_0: 37,
  TL1: 38,
  TL2: 39,
  I2_S: 40,
  IQ1_BN: 136,
  IQ2_BN: 137,
};

/** Checks the names, whatever their case. Throws USAGE listing what there is. */
export function parseTypes(choice: TypeChoice): TypeChoice {
  const parse = (name: string, known: string[], what: string): string => {
    const upper = name.toUpperCase();
    if (!known.includes(upper)) {
      throw new BitnetError(
        "USAGE",
        `unknown ${what} ${JSON.stringify(name)}; known: ${known.join(", ").toLowerCase()}`,
      );
    }
    return upper;
  };
  const { outtype, embeddingType, outputType } = choice;
  return {
    outtype: parse(outtype, outtypes, "output type"),
    embeddingType: embeddingType === undefined ? undefined : parse(embeddingType, embeddingTypes, "embedding type"),
    outputType: outputType === undefined ? undefined : parse(outputType, embeddingTypes, "type of the output tensor"),
  };
}

export function isTernaryType(type: string): boolean {
  return outtypes.includes(type) && !floatTypes.has(type);
}

export function fileTypeOf(outtype: string): number {
  return fileTypes[outtype] ?? 0;
}

/** The type of one tensor. `kept`: what it has in a GGUF source. */
export function chooseType(choice: TypeChoice, use: TensorUse, kept?: string): string {
  const { outtype, embeddingType, outputType } = choice;
  if (use === "linear") {
    return outtype;
  }
  if (use === "other") {
    return kept ?? "F32";
  }
  const wanted = use === "head" ? (outputType ?? embeddingType) : embeddingType;
  if (wanted !== undefined) {
    return wanted;
  }
  if (floatTypes.has(outtype)) {
    return outtype;
  }
  return kept === undefined || kept === "F32" ? "F16" : kept; // what bitnet.cpp makes of a float model
}

const blocks: Record<string, [elements: number, next: string]> = {
  Q6_K: [256, "Q8_0"],
  Q3_K: [256, "Q4_0"],
  Q8_0: [32, "F16"],
  Q5_0: [32, "F16"],
  Q4_0: [32, "F16"],
};

/** For embeddings: `type`, or the next one whose blocks fit into rows of `cols` elements. */
export function typeThatFits(type: string, cols: number): string {
  const block = blocks[type];
  return block === undefined || cols % block[0] === 0 ? type : typeThatFits(block[1], cols);
}
