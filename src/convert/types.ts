// Which type each tensor of an output file gets.

import { isTernaryType, listTensorTypes, type TensorType, tensorTypeOf } from "../gguf/tensor-types.js";
import { BitnetError } from "../system/errors.js";

export type TensorUse = "embedding" | "head" | "linear" | "other";

export interface TypeChoice {
  /** Of the matrices: "I2_S". */
  outtype: string;
  embeddingType?: string;
  outputType?: string;
}

/** Types that all matrices of a model can have. */
export function matrixTypes(): readonly TensorType[] {
  return listTensorTypes().filter(({ fileType }) => fileType !== undefined);
}

/** Types that an embedding or a head can be written as. */
export function embeddingTypes(): readonly TensorType[] {
  return listTensorTypes().filter(({ writable }) => writable);
}

/** For help texts and errors: "f32, f16, ...". */
export function namesOf(types: readonly TensorType[]): string {
  return types.map(({ name }) => name.toLowerCase()).join(", ");
}

function parse(given: string, known: readonly TensorType[], what: string): string {
  const name = given.toUpperCase();
  if (!known.some((type) => type.name === name)) {
    throw new BitnetError("USAGE", `unknown ${what} ${JSON.stringify(given)}; known: ${namesOf(known)}`);
  }
  return name;
}

/** Checks the names, whatever their case. Throws USAGE listing what there is. */
export function parseTypes({ outtype, embeddingType, outputType }: TypeChoice): TypeChoice {
  const embeddings = embeddingTypes();
  return {
    outtype: parse(outtype, matrixTypes(), "output type"),
    embeddingType: embeddingType === undefined ? undefined : parse(embeddingType, embeddings, "embedding type"),
    outputType: outputType === undefined ? undefined : parse(outputType, embeddings, "type of the output tensor"),
  };
}

/** general.file_type of a model with matrices of this type. */
export function fileTypeOf(outtype: string): number {
  const { fileType } = tensorTypeOf(outtype);
  if (fileType === undefined) {
    throw new BitnetError("INTERNAL", `${outtype} is not a type for all matrices of a model`);
  }
  return fileType;
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
  if (!isTernaryType(outtype)) {
    return outtype;
  }
  return kept === undefined || kept === "F32" ? "F16" : kept; // what bitnet.cpp makes of a float model
}

/** For embeddings: `type`, or the next one whose blocks fit into rows of `cols` elements. */
export function typeThatFits(type: string, cols: number): string {
  const { blockElements, substitute } = tensorTypeOf(type);
  return substitute === undefined || cols % blockElements === 0 ? type : typeThatFits(substitute, cols);
}
