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

/** The tensor whose type is chosen. */
export interface TypedTensor {
  name: string;
  use: TensorUse;
  cols: number; // elements of a row
  /** The type that it has in a GGUF source. */
  kept?: string;
}

/** The type of one tensor. Where its rows do not fit the wanted type's blocks, `warnings` says so. */
export function chooseType(choice: TypeChoice, { name, use, cols, kept }: TypedTensor, warnings: string[]): string {
  const wanted = wantedType(choice, use, kept);
  const type = use === "linear" ? wanted : typeThatFits(wanted, cols);
  if (type !== wanted) {
    warnings.push(`${name} becomes ${type}: rows of ${cols} elements do not fit ${wanted}`);
  }
  return type;
}

function wantedType({ outtype, embeddingType, outputType }: TypeChoice, use: TensorUse, kept?: string): string {
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
function typeThatFits(type: string, cols: number): string {
  const { blockElements, substitute } = tensorTypeOf(type);
  return substitute === undefined || cols % blockElements === 0 ? type : typeThatFits(substitute, cols);
}
