// A look at this machine, this program and a model: every check in one table, and what follows from all of them.

import { bundledModel } from "../models/bundled.js";
import { resolveModel } from "../models/resolve.js";
import { loadAddon, type NativeAddon } from "../native/addon.js";
import { BitnetError, throwIfAborted, toBitnetError } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { packageVersion } from "../system/package.js";
import {
  type Advice,
  adviceOf,
  type Check,
  type Context,
  type Finding,
  findingOf,
  type Status,
  worstOf,
} from "./check.js";
import { type CorrectnessFacts, checkCorrectness } from "./correctness.js";
import { checkDisk, type DiskFacts } from "./disk.js";
import { checkMemory, type MemoryFacts } from "./memory.js";
import { checkModel, type ModelFacts } from "./model.js";
import { checkNetwork, type NetworkFacts } from "./network.js";
import { checkProcessor, type ProcessorFacts } from "./processor.js";
import { checkProgram, type ProgramFacts } from "./program.js";
import { checkSettings, type SettingsFacts } from "./settings.js";
import { checkSpeed, type SpeedFacts } from "./speed.js";
import { SystemFiles } from "./system-files.js";

export interface DiagnoseOptions {
  /** A GGUF file, or the name of a model that is on this machine. Default: the bundled model. */
  model?: string;
  /** Default: as for any model. */
  threads?: number;
  /** Nothing is measured, and weights are not read. */
  quick?: boolean;
  /** Ask the hub whether it can be reached. Default: nothing uses the network. */
  online?: boolean;
  /** Names of environment variables to tell of; "X_*" stands for all that begin so. Default: those of the library. */
  variables?: readonly string[];
  /** Files of options to tell of. */
  settingsFiles?: readonly string[];
  signal?: AbortSignal;
  /** Something that takes time begins: "Reading the weights". */
  onStep?: (what: string) => void;
}

const diagnoseOptions: OptionNames<DiagnoseOptions> = {
  model: true,
  threads: true,
  quick: true,
  online: true,
  variables: true,
  settingsFiles: true,
  signal: true,
  onStep: true,
};

interface Facts {
  program: ProgramFacts;
  processor: ProcessorFacts;
  memory: MemoryFacts;
  disk: DiskFacts;
  settings: SettingsFacts;
  network: NetworkFacts;
  correctness: CorrectnessFacts;
  model: ModelFacts;
  speed: SpeedFacts;
}

/** In the order in which they are made: what changes what is found, as reading a file does, comes last. */
export const checks: { readonly [Id in keyof Facts]: Check<Facts[Id]> } = {
  program: { title: "Program", run: checkProgram },
  processor: { title: "Processor", run: checkProcessor },
  memory: { title: "Memory", run: checkMemory },
  disk: { title: "Disk", run: checkDisk },
  settings: { title: "Settings", run: checkSettings },
  network: { title: "Network", run: checkNetwork },
  correctness: { title: "Correctness", run: checkCorrectness },
  model: { title: "Model", run: checkModel },
  speed: { title: "Speed", run: checkSpeed },
};

export type CheckId = keyof Facts;

export interface Diagnosis {
  version: string;
  /** The worst of all checks. */
  status: Status;
  quick: boolean;
  /** The path of the model's file, or what was named. */
  model: string;
  checks: { [Id in CheckId]: Finding<Facts[Id]> };
  /** What of the checks' advice has to be done, then what may be. */
  problems: Advice[];
  warnings: Advice[];
  notes: Advice[];
}

const libraryVariables = ["BITNET_KERNEL", "BITNET_LAYOUT", "BITNET_TUNING", "BITNET_MODELS", "HF_*"];

/**
 * Looks at everything that makes a model run, be slow or fail here; what is broken is part of the answer. Takes some
 * seconds, with `quick` less than one. Throws USAGE for a wrong option, ABORTED.
 */
export async function diagnose(options: DiagnoseOptions = {}): Promise<Diagnosis> {
  checkOptionNames("diagnose", options, diagnoseOptions);
  const { threads, quick = false, online = false, signal, onStep = () => {} } = options;
  return await runChecks({
    native: findNative(),
    files: SystemFiles.of(process.platform),
    env: process.env,
    platform: process.platform,
    ...(await findModel(options.model)),
    ...{ threads, quick, online, signal, onStep },
    variables: options.variables ?? libraryVariables,
    settingsFiles: options.settingsFiles ?? [],
  });
}

function findNative(): NativeAddon | BitnetError {
  try {
    return loadAddon();
  } catch (error) {
    return toBitnetError(error);
  }
}

async function findModel(name: string | undefined): Promise<Pick<Context, "model" | "modelProblem">> {
  if (name === undefined) {
    return { model: bundledModel.path };
  }
  try {
    const resolved = await resolveModel(name);
    return resolved.kind === "path"
      ? { model: resolved.path }
      : {
          model: name,
          modelProblem: new BitnetError("NOT_FOUND", `${name} is not on this machine`, { hint: `bitnet pull ${name}` }),
        };
  } catch (error) {
    return { model: name, modelProblem: toBitnetError(error) };
  }
}

export async function runChecks(context: Context): Promise<Diagnosis> {
  const found: Partial<Record<CheckId, Finding<unknown>>> = {};
  for (const [id, check] of Object.entries(checks) as [CheckId, Check<unknown>][]) {
    throwIfAborted(context.signal);
    found[id] = await runCheck(check, context);
  }
  const findings = found as Diagnosis["checks"];
  const advice = Object.values(findings).flatMap((finding) => finding.advice);
  const of = (status: Advice["status"]) => advice.filter((one) => one.status === status);
  return {
    version: packageVersion(),
    status: worstOf(Object.values(findings).map(({ status }) => status)),
    ...{ quick: context.quick, model: context.model, checks: findings },
    ...{ problems: of("problem"), warnings: of("warning"), notes: of("note") },
  };
}

/** A check that fails in a way that it does not know is told, and the others are made. */
async function runCheck<F>({ title, run }: Check<F>, context: Context): Promise<Finding<F>> {
  try {
    return await run(context);
  } catch (error) {
    throwIfAborted(context.signal);
    return findingOf<F>(null, [adviceOf(error, "warning", `${title} could not be looked at`)]);
  }
}
