// The library's public surface.

export type { AdapterFile, AdapterMatrix, AdapterOrigin } from "./adapter/adapter.js";
export { openAdapter } from "./adapter/open.js";
export { type AdapterBase, convertAdapter, type WriteAdapterOptions, writeAdapter } from "./adapter/write.js";
export type { WrittenAdapter, WrittenMatrix } from "./adapter/written.js";
export { BatchFaultsError, type Shard } from "./batch/check.js";
export { type HttpTargetOptions, httpTarget } from "./batch/http-target.js";
export type { BatchOutcome } from "./batch/outcome.js";
export type { RedisOptions } from "./batch/redis-queue.js";
export { redisTarget } from "./batch/redis-target.js";
export { type RedisWorker, type RedisWorkerOptions, startRedisWorker } from "./batch/redis-worker.js";
export type { BatchRequest, LineFault, LineForm } from "./batch/request.js";
export { type BatchOptions, type BatchProgress, type BatchSummary, runBatch } from "./batch/run.js";
export {
  type BatchCall,
  type BatchReply,
  type BatchTarget,
  type Send,
  type SendTargetOptions,
  sendTarget,
} from "./batch/target.js";
export { type AnswerResult, answerChat } from "./chat/answer.js";
export { Chat } from "./chat/chat.js";
export { encodeChat } from "./chat/encode.js";
export {
  builtinFormat,
  type ChatFormat,
  type ChatMessage,
  chatFormatNames,
  type FormatMessage,
  jinjaFormat,
  modelFormat,
  type RenderOptions,
  type ToolCall,
} from "./chat/format.js";
export { ChatModel as Model, type ChatOptions, loadChatModel as loadModel } from "./chat/model.js";
export { ChatSession } from "./chat/session.js";
export type { ChatPiece, ThinkingTags } from "./chat/thinking.js";
export { answerMessages, type MessagesOptions, type MessagesResult } from "./chat/tools/answer.js";
export { type AnswerCall, AnswerParser, type AnswerPiece } from "./chat/tools/parser.js";
export { planTools, planToolsAsync, type ToolPlan, type ToolRequest } from "./chat/tools/plan.js";
export { type IgnoredParameter, readToolChoice, readTools, type Tool, type ToolChoice } from "./chat/tools/tool.js";
export { convertCheckpoint } from "./convert/convert.js";
export type { ConvertOptions, I2sLayout } from "./convert/options.js";
export type { ConvertedTensor, ConvertProgress, ConvertReport } from "./convert/plan.js";
export { type DummyOptions, dummySizes, generateDummy } from "./convert/plan-dummy.js";
export type { Advice, Finding, Status as FindingStatus } from "./doctor/check.js";
export { type DiagnoseOptions, type Diagnosis, diagnose } from "./doctor/diagnose.js";
export { NpyFile, type NpyShape } from "./embed/npy.js";
export {
  type EmbeddingRanges,
  type Precision,
  type QuantizedEmbeddings,
  type QuantizeOptions,
  quantizeEmbeddings,
  rangesOf,
  readCodes,
} from "./embed/quantize.js";
export { type SearchHit, type SearchOptions, searchVectors } from "./embed/search.js";
export { evaluateSts, readStsPairs, type StsOptions, type StsPair, type StsResult } from "./embed/sts.js";
export { cosine } from "./embed/vectors.js";
export { Adapter, type AdapterOptions, type AdapterUse } from "./engine/adapter.js";
export type { Embeddings, EmbedInput, EmbedOptions, EmbedProgress } from "./engine/embed.js";
export type {
  CompleteResult,
  FinishReason,
  GenerateResult,
  GenerateTimings,
  Piece,
  Token,
  TokenProb,
  TokenProbability,
  TokensResult,
} from "./engine/generate.js";
export { Generation } from "./engine/generation.js";
export {
  type EngineStats,
  type LoadOptions,
  listKernels,
  type ModelInfo,
  type PrefillOptions,
  type SavedSession,
  Session,
  type SessionOptions,
  type TuningParameters,
} from "./engine/model.js";
export {
  type DistributionOptions,
  type GenerateOptions,
  listSamplingParameters,
  type Prompt,
  type SamplingOptions,
  type SamplingParameter,
  type ScoreOptions,
  type TokenOptions,
} from "./engine/request.js";
export type { LogitBlock, LogitSink, ScoreResult } from "./engine/score.js";
export {
  type DecodeOptions,
  type EncodeOptions,
  openTokenizer,
  Tokenizer,
  type TokenizerInfo,
  type TokenizerOptions,
} from "./engine/tokenizer.js";
export type { AppliedTuning } from "./engine/tuning.js";
export { passAtK } from "./eval/code/pass-at-k.js";
export { type CodeTest, type JudgedProgram, judgedProgram } from "./eval/code/program.js";
export {
  type CodeOutcome,
  type CodeRunner,
  type CodeRunnerOptions,
  openCodeRunner,
  type RunCodeOptions,
  type SandboxName,
} from "./eval/code/runner.js";
export {
  type ComparedSide,
  type CompareOptions,
  type ComparisonResult,
  compareModels,
  type SideReport,
} from "./eval/compare.js";
export {
  type BaseModel,
  type DivergenceOptions,
  type DivergencePlace,
  type DivergenceResult,
  evaluateDivergence,
} from "./eval/divergence.js";
export type { DivergenceStatistics, Percentiles } from "./eval/divergence-sums.js";
export {
  evaluateLlamaChoices,
  type LlamaChoiceKind,
  type LlamaChoiceOptions,
  type LlamaChoiceResult,
  type LlamaChoiceTask,
  readLlamaTasks,
} from "./eval/llama-choices.js";
export type { EvaluateTasksOptions, EvaluationProgress } from "./eval/options.js";
export {
  type EvaluationSetting,
  evaluatePerplexity,
  type PerplexityOptions,
  type PerplexityProgress,
  type PerplexityResult,
  type PerplexityStart,
} from "./eval/perplexity.js";
export {
  comparePublished,
  findPublished,
  type PublishedComparison,
  type PublishedFigure,
  type PublishedModel,
  publishedModels,
} from "./eval/published.js";
export type { EvaluationResults } from "./eval/results.js";
export { type Evaluation, evaluateTasks } from "./eval/run-tasks.js";
export type { Sample as EvaluationSample } from "./eval/samples.js";
export type { Estimate } from "./eval/statistics.js";
export type { Task as EvaluationTask } from "./eval/task.js";
export { Gguf, type MetadataValue, openGguf, type TensorInfo } from "./gguf/gguf.js";
export { type InspectReport, inspectGguf } from "./gguf/inspect.js";
export { listTensorTypes, type TensorType } from "./gguf/tensor-types.js";
export { GrammarError, type GrammarProblem, type IgnoredKeyword } from "./grammar/error.js";
export { Grammar } from "./grammar/grammar.js";
export type { JsonSchema, SchemaOptions } from "./grammar/schema.js";
export { type DownloadOptions, type DownloadProgress, downloadFiles } from "./hub/download.js";
export { type HubEnvironment, readHubEnvironment } from "./hub/environment.js";
export { type Hub, type HubOptions, openHub } from "./hub/http.js";
export { findRegistered, type RegisteredModel, registeredModels } from "./hub/registry.js";
export { openRemoteGguf } from "./hub/remote-gguf.js";
export { openRepository, type Repository, type RepositoryFile, readRepositoryName } from "./hub/repository.js";
export type { RetryPolicy } from "./hub/retry.js";
export { type CopiedModel, type CopyModelOptions, copyModel } from "./models/copy.js";
export { listModels, type ModelFile, removeModels } from "./models/installed.js";
export type { HubReference } from "./models/reference.js";
export { type ResolvedModel, type ResolveOptions, resolveModel } from "./models/resolve.js";
export {
  type DownloadCheckpointOptions,
  type DownloadedCheckpoint,
  downloadCheckpoint,
  setupModel,
} from "./models/setup.js";
export type { SetupOptions, SetupPlan, SetupResult, SetupStep } from "./models/setup-options.js";
export type { CacheType } from "./native/addon.js";
export { BitnetError, type BitnetErrorCode } from "./system/errors.js";
export type { AdapterShape, TrainTarget } from "./train/core/trainable.js";
export type { TrainOn } from "./train/data/render.js";
export type { DataSource } from "./train/data/sources.js";
export {
  type ExportModelOptions,
  exportModel,
  type MasterWeights,
  type ModelExport,
  type ModelForm,
} from "./train/export-model.js";
export { type FinetuneEvent, type FinetuneOptions, type FinetuneResult, finetune } from "./train/finetune.js";
export type { DataOptions, TrainingInput } from "./train/inputs.js";
export type { Checkpointing } from "./train/memory.js";
export {
  type MergedAdapter,
  type MergeMeasure,
  type MergeOptions,
  type MergeReport,
  type MergeStep,
  type MergeTarget,
  mergeAdapter,
} from "./train/merge.js";
export type { ReportTo } from "./train/metrics.js";
export { type PretrainEvent, type PretrainOptions, type PretrainResult, pretrain } from "./train/pretrain.js";
export type { RunControl, RunEvent } from "./train/run.js";
export type { SchedulerName } from "./train/schedule.js";
export type { TrainSettings } from "./train/settings.js";
export type { StepReport, TrainerEvent, TrainerResult } from "./train/trainer.js";
