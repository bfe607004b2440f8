// The library's public surface.

export { Chat } from "./chat.js";
export { type AnswerResult, answerChat } from "./chat-answer.js";
export { encodeChat } from "./chat-encode.js";
export {
  builtinFormat,
  type ChatFormat,
  type ChatMessage,
  chatFormatNames,
  jinjaFormat,
  modelFormat,
} from "./chat-format.js";
export {
  type ConvertedTensor,
  type ConvertOptions,
  type ConvertProgress,
  type ConvertReport,
  convertCheckpoint,
} from "./convert.js";
export { type DummyOptions, dummySizes, generateDummy } from "./dummy.js";
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
export { type DownloadOptions, type DownloadProgress, downloadFiles } from "./hub/download.js";
export { type HubEnvironment, readHubEnvironment } from "./hub/environment.js";
export { type Hub, type HubOptions, openHub, type RetryPolicy } from "./hub/http.js";
export { findRegistered, type RegisteredModel, registeredModels } from "./hub/registry.js";
export { openRemoteGguf } from "./hub/remote-gguf.js";
export { openRepository, type Repository, type RepositoryFile, readRepositoryName } from "./hub/repository.js";
export { type InspectReport, inspectGguf } from "./inspect.js";
export {
  type CompleteResult,
  type LoadOptions,
  listKernels,
  loadModel,
  Model,
  type ModelInfo,
  Session,
  type SessionOptions,
  type TuningParameters,
} from "./model.js";
export { listModels, type ModelFile, removeModels } from "./model-files.js";
export type { CacheType } from "./native.js";
export {
  type DownloadedCheckpoint,
  downloadCheckpoint,
  type SetupOptions,
  type SetupResult,
  setupModel,
} from "./setup.js";
export {
  type DecodeOptions,
  type EncodeOptions,
  openTokenizer,
  Tokenizer,
  type TokenizerInfo,
} from "./tokenizer.js";
export type { AppliedTuning } from "./tuning.js";
