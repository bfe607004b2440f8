// Which type each tensor of an output file gets.

import { listTensorTypes, type TensorType, tensorTypeOf } from "../gguf/tensor-types.js";
import { BitnetError } from "../system/errors.js";

export type TensorUse = "embedding" | "head" | "linear" | "other";

export interface TypeNames {
  /** Of the matrices: "i2_s". */
  outtype: string;
  embeddingType?: string;
  outputType?: string;
}

/** A type that all matrices of a model can have. */
export type MatrixType = TensorType & { readonly fileType: number };

export interface TypeChoice {
  outtype: MatrixType;
  embeddingType?: TensorType;
  outputType?: TensorType;
}

export function matrixTypes(): readonly MatrixType[] {
  return listTensorTypes().filter((type): type is MatrixType => type.fileType !== undefined);
}

/** Types that an embedding or a head can be written as. */
export function embeddingTypes(): readonly TensorType[] {
  return listTensorTypes().filter(({ writable }) => writable);
}

/** For help texts and errors: "f32, f16, ...". */
export function namesOf(types: readonly TensorType[]): string {
  return types.map(({ name }) => name.toLowerCase()).join(", ");
}

function parse<Type extends TensorType>(given: string, known: readonly Type[], what: string): Type {
  const found = known.find(({ name }) => name === given.toUpperCase());
  if (found === undefined) {
    throw new BitnetError("USAGE", `unknown ${what} ${JSON.stringify(given)}; known: ${namesOf(known)}`);
  }
  return found;
}

/** The types of these names, whatever their case. Throws USAGE listing what there is. */
export function parseTypes({ outtype, embeddingType, outputType }: TypeNames): TypeChoice {
  const embeddings = embeddingTypes();
  return {
    outtype: parse(outtype, matrixTypes(), "output type"),
    embeddingType: embeddingType === undefined ? undefined : parse(embeddingType, embeddings, "embedding type"),
    outputType: outputType === undefined ? undefined : parse(outputType, embeddings, "type of the output tensor"),
  };
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
    return outtype.name;
  }
  if (use === "other") {
    return kept ?? "F32";
  }
  const wanted = use === "head" ? (outputType ?? embeddingType) : embeddingType;
  if (wanted !== undefined) {
    return wanted.name;
  }
  if (!outtype.ternary) {
    return outtype.name;
  }
  return kept === undefined || kept === "F32" ? "F16" : kept; // what bitnet.cpp makes of a float model
}

/** For embeddings: `type`, or the next one whose blocks fit into rows of `cols` elements. */
function typeThatFits(type: string, cols: number): string {
  const { blockElements, substitute } = tensorTypeOf(type);
  return substitute === undefined || cols % blockElements === 0 ? type : typeThatFits(substitute, cols);
}
