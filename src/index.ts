// The library's public surface.

export { BitnetError, type BitnetErrorCode } from "./errors.js";
export type {
  FinishReason,
  GenerateOptions,
  GenerateResult,
  GenerateTimings,
  Piece,
  Prompt,
  SamplingOptions,
  TokenProb,
} from "./generate.js";
export { Gguf, type MetadataValue, openGguf, type TensorInfo } from "./gguf.js";
export {
  type CompleteResult,
  type LoadOptions,
  listKernels,
  loadModel,
  Model,
  type ModelInfo,
  Session,
  type SessionOptions,
} from "./model.js";
export {
  type DecodeOptions,
  type EncodeOptions,
  openTokenizer,
  Tokenizer,
  type TokenizerInfo,
} from "./tokenizer.js";
