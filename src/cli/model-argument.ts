// The model that a command line names: a file, or one of the hub, which is downloaded when it is first used.

import { statSync } from "node:fs";
import type { Command } from "commander";
import type { ResolvedModel, ResolveOptions } from "../models/resolve.js";
import type { SetupPlan } from "../models/setup-options.js";
import { BitnetError } from "../system/errors.js";
import { UsageError } from "./command.js";
import { describeStep, showDownload, stoppedNote } from "./setup-steps.js";
import { formatBytes } from "./terminal/format.js";
import { interruptSignal } from "./terminal/output.js";
import { createSteps } from "./terminal/steps.js";

/** The help of an argument or option that takes any of this. */
export const modelHelp =
  "a GGUF file, a name that bitnet list shows, a known model (2b), or owner/name[:type] of the hub";

/** The model that is an argument or the value of -m; both are a wrong command line. */
export function chooseModel(command: Command, named: string | undefined, path: string | undefined): string | undefined {
  if (named !== undefined && path !== undefined) {
    command.error("expected one of -m and a model as an argument, not both", { exitCode: 2 });
  }
  return named ?? path;
}

/** resolveModel, where a malformed name is a wrong command line. */
export async function resolveArgument(text: string, options: ResolveOptions = {}): Promise<ResolvedModel> {
  const { resolveModel } = await import("../models/resolve.js"); // a path that is there needs nothing of it
  return asUsage(() => resolveModel(text, options));
}

/** What `body` throws as USAGE about an argument ends with the status of a command line that cannot be parsed. */
export async function asUsage<T>(body: () => T | Promise<T>, hint = "see bitnet list"): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (error instanceof BitnetError && error.code === "USAGE") {
      throw new UsageError(error.message, error.hint ?? hint);
    }
    throw error;
  }
}

export interface LocateOptions {
  /** Nothing on stderr but errors. */
  quiet?: boolean;
  modelDir?: string;
  /** A certain file of the repository. */
  file?: string;
  /** "embed": also a model that writes no text. Default: "run". */
  use?: "run" | "embed";
}

/** The GGUF file of the model that `text` names, after its download if it is not there. Without a name undefined. */
export async function locateModel<T extends string | undefined>(text: T, options: LocateOptions = {}): Promise<T> {
  if (text === undefined || isFile(text)) {
    return text;
  }
  const { modelDir, file } = options;
  if (file !== undefined) {
    return (await fetchModel(await readFileReference(text, file), options)) as T;
  }
  const resolved = await resolveArgument(text, { modelDir });
  return (resolved.kind === "path" ? resolved.path : await fetchModel(resolved, options)) as T;
}

/** A file of a repository that is named apart from it, as by -hf and --hf-file. */
async function readFileReference(text: string, file: string): Promise<HubModel> {
  const resolved = await resolveArgument(text, { want: "source" });
  if (resolved.kind === "path") {
    throw new UsageError(`${text} is no repository that could hold ${file}`, "give one with -hf OWNER/NAME");
  }
  return { ...resolved, file };
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

type HubModel = Extract<ResolvedModel, { kind: "hub" }>;

/** Sets a model of the hub up, after saying how much that is to download. */
async function fetchModel({ repository, revision, type, file }: HubModel, options: LocateOptions): Promise<string> {
  const { setupModel } = await import("../models/setup.js");
  const steps = await createSteps({ quiet: options.quiet });
  try {
    const { path } = await setupModel({
      repository: revision === "main" ? repository : `${repository}@${revision}`,
      modelDir: options.modelDir,
      type,
      file,
      use: options.use ?? "run",
      signal: interruptSignal(),
      onStep: (step) => steps.begin(describeStep(step)),
      onNote: (text) => steps.line(text),
      onRetry: (retry) => steps.retry(retry),
      onPlan: (plan) => {
        if (plan.missingBytes > 0) {
          steps.note(describePlan(plan));
        }
      },
      onDownload: (progress) => showDownload(steps, progress),
      onConvert: ({ doneBytes, totalBytes }) => steps.progress("converting").update(doneBytes, totalBytes),
    });
    steps.succeed();
    return path;
  } catch (error) {
    steps.fail();
    if (isAborted(error)) {
      steps.note(stoppedNote);
    }
    throw error;
  }
}

function isAborted(error: unknown): boolean {
  return error instanceof BitnetError && error.code === "ABORTED";
}

/** "microsoft/x is not on this machine: 1.19 GB to download". */
function describePlan({ repository, missingBytes, totalBytes, converts }: SetupPlan): string {
  const there = totalBytes - missingBytes;
  const rest = there > 0 ? `, ${formatBytes(there)} of it are here` : "";
  const then = converts ? ", then it is converted" : "";
  return `${repository} is not on this machine: ${formatBytes(missingBytes)} to download${rest}${then}`;
}
