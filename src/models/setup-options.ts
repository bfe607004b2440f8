// What setting a model up is told, and what it tells.

import type { ConvertProgress, ConvertReport } from "../convert/plan.js";
import type { DownloadProgress } from "../hub/download.js";
import type { Hub } from "../hub/http.js";
import type { RegisteredModel } from "../hub/registry.js";
import type { HubRetry } from "../hub/retry.js";
import type { OptionNames } from "../system/options.js";
import type { Wanted } from "./place.js";
import type { Provenance } from "./provenance.js";

export interface SetupOptions {
  /** "owner/name" or "owner/name@revision". Without it `modelDir` is a checkpoint's own folder. */
  repository?: string;
  /** Holds one folder per model. Default: the user's folder of models, which BITNET_MODELS names. */
  modelDir?: string;
  /** Of the ternary weights, in any case, as for a conversion. Default: i2_s. */
  type?: string;
  /** Of the token embedding, as for a conversion. Default: f16, or a published file's own. */
  embeddingType?: string;
  /** Path of a kernel_config.ini with tile sizes of TL1 and TL2. Default: bitnet.cpp's own, else by the shapes. */
  kernelConfig?: string;
  /** Default: the hub that the process's environment describes. */
  hub?: Hub;
  signal?: AbortSignal;
  /** This file of the repository and no other, by its path there: "ggml-model-i2_s.gguf". Then `type` has no meaning. */
  file?: string;
  /** "run" refuses a model that writes no text before it is downloaded; "embed" takes it. Default: "keep". */
  use?: "keep" | "run" | "embed";
  /** Called as each step begins. Default: a note. */
  onStep?: (step: SetupStep) => void;
  /** Called with each thing worth a line. */
  onNote?: (text: string) => void;
  /** Called with each request that will be repeated. Default: a note. */
  onRetry?: (retry: HubRetry) => void;
  /** Called before something is downloaded, or taken from the cache. */
  onPlan?: (plan: SetupPlan) => void;
  onDownload?: (progress: DownloadProgress) => void;
  onConvert?: (progress: ConvertProgress) => void;
}

/** A step that begins; `what`: what it is done with, "owner/name/file" for example. */
export interface SetupStep {
  kind: "look-up" | "download" | "convert";
  what: string;
}

/** What a model is about to be made of. */
export interface SetupPlan {
  /** owner/name */
  repository: string;
  commit: string;
  /** Paths in the repository. */
  files: string[];
  totalBytes: number;
  /** What of it has to be downloaded. */
  missingBytes: number;
  /** The file that it will become; undefined where that is the caller's matter. */
  path?: string;
  converts: boolean;
}

export const setupOptions: OptionNames<SetupOptions> = {
  repository: true,
  modelDir: true,
  type: true,
  embeddingType: true,
  kernelConfig: true,
  file: true,
  use: true,
  hub: true,
  signal: true,
  onStep: true,
  onNote: true,
  onRetry: true,
  onPlan: true,
  onDownload: true,
  onConvert: true,
};

export interface SetupResult {
  /** The GGUF file. */
  path: string;
  bytes: number;
  type: string; // "i2_s"
  /** Where it came from: it was there, it was published so, or it was converted here. */
  origin: "existing" | "published" | "converted";
  architecture: string;
  /** What it is for; "instruct" of a model that nobody registered means that it has a chat template. */
  kind: RegisteredModel["kind"];
  repository?: string;
  commit?: string;
  /** What the file is made of; undefined: unknown, as of a file that somebody else put there, or of a local folder. */
  source?: Provenance["source"];
  /** Of a conversion. */
  report?: ConvertReport;
}

export interface SetupTask extends SetupOptions {
  type: string; // in lower case
  onStep: (step: SetupStep) => void;
  onNote: (text: string) => void;
}

const stepVerbs = { "look-up": "looking up", download: "downloading", convert: "converting" };

/** `type`: in lower case. */
export function startTask<Options extends SetupOptions>(options: Options, type: string): Options & SetupTask {
  const { onNote = () => {}, onStep = ({ kind, what }) => onNote(`${stepVerbs[kind]} ${what}`) } = options;
  return { ...options, type, onNote, onStep };
}

/** The task of one model of the hub. */
export interface HubTask extends SetupTask {
  wanted: Wanted;
  registered: RegisteredModel | undefined;
  hub: Hub;
}
