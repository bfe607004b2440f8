// Merging adapters into the weights of a model. Ternary weights take up a change only where it crosses a threshold, so what
// a merge costs is measured, and one that costs too much is refused.

import { existsSync } from "node:fs";
import { rename, rm, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { chooseFormat } from "../chat/choose-format.js";
import { convertCheckpoint } from "../convert/convert.js";
import type { AdapterUse } from "../engine/adapter.js";
import { loadModel, type Model } from "../engine/model.js";
import { BitnetError, convertingAsync, throwIfAborted } from "../system/errors.js";
import { makeFolder } from "../system/files.js";
import { fillFolder } from "../system/fill-folder.js";
import { checkChoice, checkOptionNames, checkPath, type OptionNames } from "../system/options.js";
import { meanLoss } from "./answer-loss.js";
import type { Documents } from "./data/documents.js";
import { loadTrainingData } from "./data/load.js";
import { type TrainOn, trainOnNames } from "./data/render.js";
import type { DataSource } from "./data/sources.js";
import {
  formNames,
  listFiles,
  type MasterWeights,
  type ModelExport,
  type ModelForm,
  writeForms,
} from "./export-model.js";
import { finetune } from "./finetune.js";
import { sourcesOf, type TrainingInput } from "./inputs.js";
import { mergeIntoFloats } from "./merge-floats.js";
import {
  type ChangedCodes,
  compareMasters,
  type MergedAdapter,
  openMerged,
  readDeltas,
  ternaryBaseError,
} from "./merged-weights.js";
import type { TrainSettings } from "./settings.js";

export type { MergedAdapter } from "./merged-weights.js";

/** What becomes of the matrices: ternary weights again, from a master, or floats. */
export type MergeTarget = "ternary" | "f16";

export interface MergeOptions {
  /** Folder of a checkpoint with its master; for "f16" also a GGUF file or a packed checkpoint. */
  base: string;
  adapters: readonly MergedAdapter[];
  /** A folder: master, packed and model.gguf, for "f16" the last one alone. */
  out: string;
  /** Default: "ternary". */
  to?: MergeTarget;
  /** What the losses are measured on. Needed unless `acceptLoss` is Infinity. */
  evalData?: TrainingInput | readonly TrainingInput[];
  /** Tokens of the longest document. Default: 2048 or the context of the model. */
  maxLength?: number;
  /** Default: "assistant". */
  trainOn?: TrainOn;
  /** Name of a chat format or path of a template. Default: the model's own. */
  chatTemplate?: string;
  skipBad?: boolean;
  /** The share of what the adapter has gained that the merge may take back. Default: 0.05; Infinity: anything. */
  acceptLoss?: number;
  /** Train all merged weights on after the merge, which needs the memory of that. Only for "ternary". */
  recover?: MergeRecovery;
  /** general.name of the GGUF file. Default: the name of the folder. */
  name?: string;
  threads?: number;
  signal?: AbortSignal;
  onStep?: (step: MergeStep) => void;
  /** What was measured, before it is decided whether that is good enough. */
  onMeasured?: (measure: MergeMeasure) => void;
}

/** Settings of the training that follows; default: those of finetune with `full`. */
export interface MergeRecovery extends Partial<Omit<TrainSettings, "maxSteps" | "epochs">> {
  steps: number;
  data: TrainingInput | readonly TrainingInput[];
}

const mergeOptions: OptionNames<MergeOptions> = {
  base: true,
  adapters: true,
  out: true,
  to: true,
  evalData: true,
  maxLength: true,
  trainOn: true,
  chatTemplate: true,
  skipBad: true,
  acceptLoss: true,
  recover: true,
  name: true,
  threads: true,
  signal: true,
  onStep: true,
  onMeasured: true,
};

/** What is done now, and how far it is: documents that have been evaluated, steps that have been trained. */
export interface MergeStep {
  kind: "convert" | "base" | "adapter" | "merge" | "recover" | "merged";
  progress?: { done: number; total: number };
}

/** Mean losses of the evaluation data, in nats per token that is learned. */
export interface MergeLosses {
  base: number;
  adapter: number;
  merged: number;
}

export interface MergeMeasure {
  losses?: MergeLosses;
  /** Share of what the adapter has gained that the merge takes back; undefined: it has gained nothing. */
  lost?: number;
  /** For "f16" there are no ternary weights. */
  changed?: ChangedCodes;
  documents?: number;
}

export interface MergeReport extends MergeMeasure, Omit<ModelExport, "matrices" | "nudged"> {}

const usualLoss = 0.05;
const usualLength = 2048;

/**
 * Merges and measures. Throws UNSUPPORTED for a base without master where ternary weights are wanted; USAGE where the merge
 * takes back more than `acceptLoss` of what the adapter has gained. Nothing is written then.
 */
export async function mergeAdapter(options: MergeOptions): Promise<MergeReport> {
  checkOptionNames("mergeAdapter", options, mergeOptions);
  const { base, adapters, out, to = "ternary", evalData, recover, acceptLoss = usualLoss } = options;
  checkPath("base", base);
  checkPath("out", out);
  checkChoice("to", to, ["ternary", "f16"]);
  checkChoice("trainOn", options.trainOn, trainOnNames);
  if (!Array.isArray(adapters) || adapters.length === 0) {
    throw new BitnetError("USAGE", "mergeAdapter: no adapter is named");
  }
  for (const [i, adapter] of adapters.entries()) {
    checkPath(`adapters[${i}].path`, Object(adapter).path);
  }
  if (recover !== undefined && !(Number.isSafeInteger(recover.steps) && recover.steps > 0)) {
    throw new BitnetError("USAGE", `recover.steps: expected a positive integer, got ${recover.steps}`);
  }
  throwIfAborted(options.signal);
  if (!(acceptLoss >= 0)) {
    throw new BitnetError("USAGE", `acceptLoss: expected a share from 0 on, got ${acceptLoss}`);
  }
  if (evalData === undefined && acceptLoss !== Number.POSITIVE_INFINITY) {
    throw new BitnetError("USAGE", "nothing to measure what the merge costs", {
      hint: "--eval-data FILE, or --accept-loss inf to merge without measuring",
    });
  }
  if (to === "f16" && recover !== undefined) {
    throw new BitnetError(
      "USAGE",
      "float matrices lose nothing that training could bring back: recover is for ternary ones",
    );
  }
  return await convertingAsync(async () => {
    const isFile = (await stat(base)).isFile();
    if (to === "ternary" && isFile) {
      throw ternaryBaseError(base);
    }
    const weights = to === "ternary" ? await openMerged(base, adapters) : undefined;
    return await fillFolder(out, async (partial) => {
      const work = join(partial, "work");
      await makeFolder(work);
      const report = await new Merge(options, { partial, work, isFile, weights }).run();
      await rm(work, { recursive: true });
      const place = (form: ModelForm) =>
        existsSync(join(partial, formNames[form])) ? join(out, formNames[form]) : undefined;
      const places = { master: place("master"), packed: place("packed"), gguf: place("gguf") };
      return { ...report, folder: out, ...places, files: await listFiles(partial, out) };
    });
  });
}

interface MergePlaces {
  partial: string;
  /** For files that are needed on the way. */
  work: string;
  /** The base is a GGUF file. */
  isFile: boolean;
  /** Undefined: matrices become floats. */
  weights: MasterWeights | undefined;
}

class Merge {
  readonly #options: MergeOptions;
  readonly #places: MergePlaces;

  constructor(options: MergeOptions, places: MergePlaces) {
    this.#options = options;
    this.#places = places;
  }

  async run(): Promise<MergeMeasure> {
    const { base, evalData, onMeasured, onStep } = this.#options;
    const { weights, partial } = this.#places;
    const gguf = evalData !== undefined || weights === undefined ? await this.#makeBase() : "";
    const before =
      evalData === undefined
        ? undefined
        : await this.#withModel(gguf, (model) => this.#measureBefore(model, sourcesOf(evalData, "evalData")));
    onStep?.({ kind: "merge" });
    await this.#write(gguf);
    const merged =
      before &&
      (await this.#withModel(join(partial, formNames.gguf), (model) =>
        this.#measure("merged", model, before.documents, []),
      ));
    const measure: MergeMeasure = {
      ...(weights !== undefined && { changed: await compareMasters(base, join(partial, formNames.master)) }),
      ...(before !== undefined && merged !== undefined && describe({ ...before.losses, merged }, before.documents)),
    };
    onMeasured?.(measure);
    this.#decide(measure);
    return measure;
  }

  /** The base as a GGUF file: what inference computes with. */
  async #makeBase(): Promise<string> {
    const { base, signal, onStep } = this.#options;
    if (this.#places.isFile) {
      return base;
    }
    onStep?.({ kind: "convert" });
    const outfile = join(this.#places.work, "base.gguf");
    await convertCheckpoint({ source: base, outfile, outtype: "i2_s", signal });
    return outfile;
  }

  async #withModel<T>(path: string, use: (model: Model) => Promise<T>): Promise<T> {
    const { threads, signal } = this.#options;
    const model = await loadModel(path, { threads, signal });
    try {
      return await use(model);
    } finally {
      model.close();
    }
  }

  async #measureBefore(model: Model, evalData: readonly DataSource[]) {
    const { adapters, signal } = this.#options;
    const documents = await this.#readDocuments(model, evalData);
    const base = await this.#measure("base", model, documents, []);
    const uses: AdapterUse[] = [];
    for (const { path, scale } of adapters) {
      uses.push(await model.loadAdapter(path, { scale, signal }));
    }
    const adapter = await this.#measure("adapter", model, documents, uses);
    return { documents, losses: { base, adapter } };
  }

  async #readDocuments(model: Model, evalData: readonly DataSource[]): Promise<Documents> {
    const { chatTemplate, trainOn = "assistant", skipBad, signal } = this.#options;
    const { maxLength = Math.min(usualLength, model.info.contextLength) } = this.#options;
    const format = await chooseFormat(model, chatTemplate);
    const rendering = { tokenizer: model.tokenizer, format, trainOn };
    const { documents } = await loadTrainingData(evalData, rendering, { maxLength, skipBad, signal });
    return documents;
  }

  async #measure(kind: MergeStep["kind"], model: Model, documents: Documents, adapters: readonly AdapterUse[]) {
    const { onStep, signal } = this.#options;
    const onProgress = (done: number) => onStep?.({ kind, progress: { done, total: documents.count } });
    onProgress(0);
    return await meanLoss(model, documents, { adapters, signal, onProgress });
  }

  async #write(gguf: string): Promise<void> {
    const { out, recover, base, name = basename(resolve(out)), signal } = this.#options;
    const { weights, partial, work } = this.#places;
    if (weights === undefined) {
      await this.#writeFloats(gguf, name);
    } else if (recover === undefined) {
      await writeForms(partial, { weights, folder: out, source: base, name, signal });
    } else {
      await writeForms(work, { weights, folder: work, source: base, forms: ["master"], signal });
      await this.#recover(join(work, formNames.master), recover);
    }
  }

  /** Trains all weights of the merged master; what comes of it takes its place. */
  async #recover(master: string, { steps, ...settings }: MergeRecovery): Promise<void> {
    const { partial, work } = this.#places;
    const { maxLength, trainOn, chatTemplate, skipBad, threads, signal, onStep } = this.#options;
    onStep?.({ kind: "recover" });
    const { folder } = await finetune({
      ...{ maxLength, trainOn, chatTemplate, skipBad, threads, signal },
      ...settings,
      ...{ model: master, full: true, maxSteps: steps, saveSteps: 0, out: join(work, "recovered") },
      onEvent: (event) => {
        if (event.kind === "progress") {
          onStep?.({ kind: "recover", progress: { done: event.step, total: event.steps } });
        }
      },
    });
    for (const form of Object.values(formNames)) {
      await rename(join(folder, form), join(partial, form));
    }
  }

  async #writeFloats(base: string, name: string): Promise<void> {
    const { adapters, signal } = this.#options;
    const { partial, work } = this.#places;
    const { headDim } = await this.#withModel(base, async ({ info }) => info);
    const deltas = await readDeltas(adapters, headDim);
    await mergeIntoFloats({ base, deltas, headDim, outfile: join(partial, formNames.gguf), work, name, signal });
  }

  #decide({ losses, lost }: MergeMeasure): void {
    const { acceptLoss = usualLoss } = this.#options;
    if (losses === undefined || acceptLoss === Number.POSITIVE_INFINITY) {
      return;
    }
    if (lost === undefined) {
      throw new BitnetError(
        "USAGE",
        `the adapter lowers the loss of this data not at all (${losses.base.toFixed(3)} to ${losses.adapter.toFixed(3)}): what the merge keeps of it cannot be told`,
        { hint: "name data like that which the adapter was trained for; --accept-loss inf merges all the same" },
      );
    }
    if (lost > acceptLoss) {
      throw new BitnetError(
        "USAGE",
        `the merge takes back ${formatShare(lost)} of what the adapter has gained, more than ${formatShare(acceptLoss)}: nothing is written`,
        { hint: "use the adapter beside the model (--lora), or allow more: --accept-loss SHARE" },
      );
    }
  }
}

function describe(losses: MergeLosses, documents: Documents): MergeMeasure {
  const gain = losses.base - losses.adapter;
  const lost = gain > 0 ? (losses.merged - losses.adapter) / gain : undefined;
  return { losses, lost, documents: documents.count };
}

/** "5 %", "0.8 %": two digits, so that small shares are told from none. */
export function formatShare(share: number): string {
  return `${Number((100 * share).toPrecision(2))} %`;
}
