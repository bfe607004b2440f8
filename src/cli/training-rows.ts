// Options of the commands that train, under the names of the field: those of Hugging Face's trainer and of PEFT are accepted, too.

import { InvalidArgumentError } from "commander";
import { readTextFile } from "../system/text-file.js";
import { type TrainTarget, trainTargets } from "../train/core/trainable.js";
import { trainOnNames } from "../train/data/render.js";
import type { DataSource } from "../train/data/sources.js";
import { type Checkpointing, checkpointingNames } from "../train/memory.js";
import { reportNames } from "../train/metrics.js";
import { schedulerNames } from "../train/schedule.js";
import { defaultSettings, type TrainingKind, type TrainSettings } from "../train/settings.js";
import { asUsage } from "./model-argument.js";
import { groupOf, type OptionRow, type OptionRows } from "./option-rows.js";
import { modelRows, outputRows } from "./options.js";
import { collectText, integerFrom, numberFrom } from "./parsers.js";
import { note } from "./terminal/output.js";
import { openTrainingSource } from "./training-sources.js";

export const dataRows = {
  data: {
    flags: "--data <file>",
    help: "what is trained: JSONL, .txt, or owner/name of the hub; FILE:0.3: so much of it in an epoch; repeatable",
    aliases: ["-d", "--dataset"],
    parse: collectText,
  },
  evalData: {
    flags: "--eval-data <file>",
    help: "what evaluates, in the same forms; repeatable",
    parse: collectText,
  },
  evalSplit: {
    flags: "--eval-split <share>",
    help: "or the share of the examples that evaluates, such as 0.05",
    parse: numberFrom(Number.MIN_VALUE, 1 - Number.EPSILON),
  },
  maxSamples: {
    flags: "--max-samples <n>",
    help: "only the first n examples of each source (default: all)",
    parse: integerFrom(1),
  },
  skipBad: { flags: "--skip-bad", help: "leave out and count examples that are wrong (default: the first one ends)" },
} as const satisfies OptionRows;

export const trainOnRow = {
  flags: "--train-on <what>",
  help: "what of a chat is learned: its answers, the last one, or every token",
  choices: trainOnNames,
  standard: trainOnNames[0],
} as const satisfies OptionRow;

/** The default of a setting, for help: of finetune that of adapters. */
function standardOf(kind: TrainingKind) {
  const settings = defaultSettings[kind];
  const other = kind === "lora" ? defaultSettings.full : settings;
  return (name: keyof TrainSettings): string => {
    const [value, otherwise] = [String(settings[name]), String(other[name])];
    return value === otherwise ? `(default: ${value})` : `(default: ${value}, with --full ${otherwise})`;
  };
}

const maxSteps = 2 ** 31 - 1;

/** The keys are those of TrainSettings. */
export function settingRows(kind: TrainingKind) {
  const standard = standardOf(kind);
  return {
    epochs: {
      flags: "--epochs <n>",
      help: `passes over the data, 0.5 is half of one ${standard("epochs")}`,
      aliases: ["--num-train-epochs", "--num-epochs"],
      parse: numberFrom(Number.MIN_VALUE, 1e6),
    },
    maxSteps: {
      flags: "--max-steps <n>",
      help: "steps of the optimizer, whatever the epochs (default: as many as the epochs have)",
      parse: integerFrom(0, maxSteps),
    },
    batchSize: {
      flags: "--batch-size <n>",
      help: `rows of a step, times --accumulation-steps ${standard("batchSize")}`,
      aliases: ["-b", "--per-device-train-batch-size"],
      parse: integerFrom(1, 2 ** 16),
    },
    accumulation: {
      flags: "--accumulation-steps <n>",
      help: `a step has --batch-size times as many rows; only the product counts ${standard("accumulation")}`,
      aliases: ["--gradient-accumulation-steps"],
      parse: integerFrom(1, 2 ** 16),
    },
    lr: {
      flags: "--lr <rate>",
      help: `peak of the learning rate ${standard("lr")}`,
      aliases: ["--learning-rate"],
      parse: numberFrom(0, 10),
    },
    scheduler: {
      flags: "--lr-scheduler <name>",
      help: `how the rate falls ${standard("scheduler")}`,
      aliases: ["--lr-scheduler-type"],
      choices: schedulerNames,
    },
    lr2: {
      flags: "--lr2 <rate>",
      help: "peak of the second stage of two-stage (default: two thirds of --lr)",
      parse: numberFrom(0, 10),
    },
    split: {
      flags: "--split <share>",
      help: `share of the steps after which it begins ${standard("split")}`,
      parse: numberFrom(Number.MIN_VALUE, 1),
    },
    warmupSteps: {
      flags: "--warmup-steps <n>",
      help: "steps in which the rate rises (default: 100, or a tenth of all where that is less)",
      parse: integerFrom(0, maxSteps),
    },
    weightDecay: {
      flags: "--weight-decay <w>",
      help: `of AdamW, on matrices ${standard("weightDecay")}`,
      parse: numberFrom(0, 10),
    },
    beta1: {
      flags: "--adam-beta1 <b>",
      help: `of AdamW ${standard("beta1")}`,
      parse: numberFrom(0, 1 - Number.EPSILON),
    },
    beta2: {
      flags: "--adam-beta2 <b>",
      help: `of AdamW ${standard("beta2")}`,
      parse: numberFrom(0, 1 - Number.EPSILON),
    },
    epsilon: { flags: "--adam-epsilon <e>", help: `of AdamW ${standard("epsilon")}`, parse: numberFrom(0, 1) },
    clip: {
      flags: "--max-grad-norm <n>",
      help: `largest norm of the gradient; 0: no limit ${standard("clip")}`,
      parse: numberFrom(0, Number.MAX_VALUE),
    },
    maxLength: {
      flags: "--max-seq-length <n>",
      help: "tokens that a row may have (default: 2048, or what the model was trained for where that is less)",
      aliases: ["--max-length"],
      parse: integerFrom(2, 2 ** 20),
    },
    packing: {
      flags: "--packing",
      help: "several examples in a row, which do not see each other",
      standard: true,
      negated: "one example in a row",
    },
    seed: {
      flags: "-s, --seed <n>",
      help: `of order, dropout and first values ${standard("seed")}`,
      parse: integerFrom(0, 2 ** 32 - 1),
    },
  } as const satisfies OptionRows;
}

export const joinRow = {
  flags: "--join-documents <share>",
  help: `share of the rows that join documents, so that late positions are trained (default: ${defaultSettings.new.joinShare})`,
  parse: numberFrom(0, 1),
} as const satisfies OptionRow;

/** When something is told, measured and kept. The keys are those of TrainSettings. */
export function keepingRows(kind: TrainingKind) {
  const standard = standardOf(kind);
  return {
    loggingSteps: {
      flags: "--logging-steps <n>",
      help: `steps from one line to the next ${standard("loggingSteps")}`,
      parse: integerFrom(1, maxSteps),
    },
    evalSteps: {
      flags: "--eval-steps <n>",
      help: `steps from one evaluation to the next ${standard("evalSteps")}`,
      parse: integerFrom(1, maxSteps),
    },
    saveSteps: {
      flags: "--save-steps <n>",
      help: `steps from one checkpoint to the next; 0: only at the end ${standard("saveSteps")}`,
      parse: integerFrom(0, maxSteps),
    },
    saveTotalLimit: {
      flags: "--save-total-limit <n>",
      help: `checkpoints that are kept, beside the best one; 0: all ${standard("saveTotalLimit")}`,
      parse: integerFrom(0, maxSteps),
    },
    loadBestAtEnd: {
      flags: "--load-best-model-at-end",
      help: `the result is the checkpoint with the lowest loss of the evaluation ${standard("loadBestAtEnd")}`,
      negated: "the result is the last step",
    },
    lossWatchdog: {
      flags: "--loss-watchdog <loss>",
      help: `end when three losses in a row are above it; 0: never ${standard("lossWatchdog")}`,
      parse: numberFrom(0, Number.MAX_VALUE),
    },
  } as const satisfies OptionRows;
}

/** The keys are those of RunControl. */
export const runRows = {
  resume: {
    flags: "--resume [folder]",
    help: "go on from the newest checkpoint of --output, or from this one, as if the run had never stopped",
    aliases: ["--resume-from-checkpoint"],
  },
  force: {
    flags: "--force",
    help: "begin anew over an earlier run, go on with other settings, train weights that look damaged",
    aliases: ["--overwrite-output-dir"],
  },
  gradientCheckpointing: {
    flags: "--gradient-checkpointing [when]",
    help: "keep less in memory and compute more: auto (only where it would not fit), on, off (default: auto)",
    parse: parseCheckpointing,
    negated: "the same as off",
  },
  threads: modelRows.threads,
  kernel: modelRows.kernel,
} as const satisfies OptionRows;

export function trainingOutputRows(what: string) {
  return {
    output: {
      flags: "-o, --output <folder>",
      help: `where ${what}, checkpoints and figures go`,
      aliases: ["--output-dir"],
    },
    reportTo: {
      flags: "--report-to <where>",
      help: "figures also as files of TensorBoard, in runs/ of the output",
      choices: reportNames,
      standard: reportNames[0],
    },
    dryRun: {
      flags: "--dry-run",
      help: "show what would be trained, what it needs and how long it takes; train nothing",
    },
    json: { flags: "--json", help: "one JSON object a line on stdout: what happens, and last the result" },
    quiet: outputRows.quiet,
  } as const satisfies OptionRows;
}

function parseCheckpointing(text: string): Checkpointing {
  const name = checkpointingNames.find((known) => known === text.toLowerCase());
  if (name === undefined) {
    throw new InvalidArgumentError(`Expected one of ${checkpointingNames.join(", ")}.`);
  }
  return name;
}

/** Of the option without a value that it is on, of its "--no-" form that it is off. */
export function checkpointingOf(value: Checkpointing | boolean | undefined): Checkpointing | undefined {
  return typeof value === "boolean" ? (value ? "on" : "off") : value;
}

/** "q,k,v" or "q_proj,k_proj"; "all-linear" is all seven. */
export function parseTargets(text: string): TrainTarget[] {
  if (text === "all-linear" || text === "all") {
    return [...trainTargets];
  }
  const names = text.split(/[,\s]+/).map((name) => name.replace(/_proj$/, ""));
  const unknown = names.find((name) => !trainTargets.includes(name as TrainTarget));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`Expected some of ${trainTargets.join(",")}, or all-linear.`);
  }
  return [...new Set(names)] as TrainTarget[];
}

const mostLayers = 4096;

/** "20-29", "0,2,4-6". */
export function parseLayers(text: string): number[] {
  const layers = text.split(",").flatMap((part) => {
    const [, first = "", last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part) ?? [];
    const [from, to] = [Number(first), Number(last)];
    if (first === "" || to < from || to >= mostLayers) {
      throw new InvalidArgumentError("Expected layers from 0 on, like 20-29 or 0,2,4-6.");
    }
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
  return [...new Set(layers)].sort((a, b) => a - b);
}

/** Lines of a file that are not empty. */
export async function readPrompts(path: string | undefined): Promise<string[] | undefined> {
  if (path === undefined) {
    return undefined;
  }
  const text = await readTextFile(path);
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

/** What is wrong about how a run is to be evaluated. */
export function findEvaluationProblem(
  { evalData, evalSplit }: { evalData?: readonly string[]; evalSplit?: number },
  { evalSteps, loadBestAtEnd }: { evalSteps?: number; loadBestAtEnd?: boolean },
): string | undefined {
  if (evalData !== undefined && evalSplit !== undefined) {
    return "expected one of --eval-data and --eval-split, not both";
  }
  const needing =
    evalSteps !== undefined ? "--eval-steps" : loadBestAtEnd === true ? "--load-best-model-at-end" : undefined;
  return needing !== undefined && evalData === undefined && evalSplit === undefined
    ? `${needing} needs something to evaluate: --eval-data FILE or --eval-split 0.05`
    : undefined;
}

/** Files as they are, data sets of the hub after their download. */
export async function openSources(
  names: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<DataSource[] | undefined> {
  if (names === undefined) {
    return undefined;
  }
  const sources: DataSource[] = [];
  for (const name of names) {
    sources.push(
      await asUsage(() => openTrainingSource(name, { signal }), "FILE or FILE:WEIGHT, such as chats.jsonl:0.3"),
    );
  }
  return sources;
}

/** Options of other trainers that change nothing here. */
export const ignoredRows = {
  eightBit: { flags: "--load-in-8bit", ignored: "the weights of the base are ternary already" },
  fourBit: { flags: "--load-in-4bit", ignored: "the weights of the base are ternary already" },
  bf16: { flags: "--bf16", ignored: "passes compute with int8 and f32" },
  fp16: { flags: "--fp16", ignored: "passes compute with int8 and f32" },
  evalStrategy: {
    flags: "--eval-strategy <when>",
    aliases: ["--evaluation-strategy"],
    harmless: "steps",
    ignored: "evaluations are by --eval-steps",
  },
  saveStrategy: { flags: "--save-strategy <when>", harmless: "steps", ignored: "checkpoints are by --save-steps" },
  bias: { flags: "--bias <which>", harmless: "none", ignored: "adapters here have no biases" },
  taskType: { flags: "--task-type <type>", harmless: "CAUSAL_LM", ignored: "models here write text" },
} as const satisfies OptionRows;

export const ignoredGroup = groupOf("Of other programs", ignoredRows);

export const trainingRefusals = {
  "--use-dora": "DoRA is not trained here",
  "--modules-to-save": "only the seven matrices of layers are trained beside a frozen base; --full trains everything",
  "--optim": "the optimizer is AdamW",
  "--deepspeed --fsdp": "one machine trains here",
} as const;

/** What is told of options without effect. */
export function sayTo(quiet: boolean | undefined): (text: string) => void {
  return quiet ? () => {} : (text) => note(text);
}
