// bitnet setup-env: download a model and make it ready to run, the twin of setup_env.py.

import { appendFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { embeddingTypes, matrixTypes, namesOf } from "../../convert/types.js";
import { openGguf } from "../../gguf/gguf.js";
import type { TensorType } from "../../gguf/tensor-types.js";
import { readHubEnvironment } from "../../hub/environment.js";
import { findPublishing, registeredModels } from "../../hub/registry.js";
import { findModels, listModels } from "../../models/installed.js";
import { formatRepository, type HubReference, parseReference } from "../../models/reference.js";
import { resolveModel } from "../../models/resolve.js";
import { setupModel } from "../../models/setup.js";
import type { SetupOptions, SetupResult } from "../../models/setup-options.js";
import { closest } from "../../system/closest.js";
import { BitnetError, toBitnetError } from "../../system/errors.js";
import { makeFolderSync } from "../../system/files.js";
import { shortenHome } from "../../system/folders.js";
import { helpWidth, wrapCommand } from "../help.js";
import { asUsage } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, noteIgnored } from "../option-rows.js";
import { folderRows, modelRows, outputRows, withHelp } from "../options.js";
import { describeStep, showDownload, stoppedNote } from "../setup-steps.js";
import { formatBytes, quoteArgument, withoutControls } from "../terminal/format.js";
import { columnsOf, interruptSignal, note, write, writeJson } from "../terminal/output.js";
import { createSteps, type Steps } from "../terminal/steps.js";
import { type Column, formatTable } from "../terminal/table.js";

const ignoredGroup = groupOf("Accepted", {
  usePretuned: {
    flags: "-p, --use-pretuned",
    help: "as in setup_env.py; kernels need no tuning here",
    ignored: "there are no kernels to generate",
  },
});

const listGroups = () => ({
  model: groupOf("Model", {
    repository: {
      flags: "--hf-repo <repo>",
      help: "the model, in the place of an argument, as setup_env.py has it: owner/name[@revision]",
      aliases: ["-hr"],
    },
    modelDir: withHelp(folderRows.modelDir, "where models go; without -hr the folder of a checkpoint"),
  }),
  types: groupOf("Types", {
    type: {
      flags: "-q, --quant-type <type>",
      help: "type of the ternary weights",
      choices: matrixTypes().map(({ name }) => name.toLowerCase()),
      parse: nameFrom(matrixTypes()),
      standard: "i2_s",
    },
    quantEmbd: {
      flags: "--quant-embd [type]",
      help: `type of the token embedding: ${namesOf(embeddingTypes())}; f16 if no type follows`,
      parse: nameFrom(embeddingTypes()),
    },
    kernelConfig: modelRows.kernelConfig,
  }),
  output: groupOf("Output", {
    logDir: {
      flags: "--log-dir <dir>",
      help: "where the logs of the steps go (default: logs; none for a model that is named without -hr)",
      aliases: ["-ld"],
    },
    json: withHelp(outputRows.json, "print the result as one JSON object on stdout"),
    quiet: outputRows.quiet,
  }),
  ignored: ignoredGroup,
});

type SetupEnvOptions = GroupValues<ReturnType<typeof listGroups>>;

export default function configureSetupEnv(command: Command): void {
  const read = addOptions(command, listGroups());
  command
    .argument("[model]", "a known model (2b), owner/name[@revision][:type] of the hub, or an address there")
    .addHelpText(
      "after",
      `
Known models (any other ternary model of the hub may be named, too; docs/models.md has the licences):
${listKnown().join("\n")}
* Makes embeddings of texts, with bitnet embed.

Examples:
  $ bitnet pull 2b
  $ bitnet pull falcon-e-1b:tl2
  $ bitnet setup-env -hr microsoft/BitNet-b1.58-2B-4T -q i2_s
  $ bitnet setup-env -hr tiiuae/Falcon-E-1B-Instruct -q tl2 --quant-embd q6_k
  $ bitnet setup-env -md models/my-checkpoint -q tq2_0

The download continues where it stopped when the same command is run again. HF_TOKEN, HF_HOME, HF_HUB_CACHE,
HF_ENDPOINT, HF_HUB_OFFLINE and https_proxy are read as by Python's huggingface_hub, with which the cache is shared.`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const { repository, modelDir } = options.model;
      if (named !== undefined && repository !== undefined) {
        command.error("expected one of -hr and a model as an argument, not both", { exitCode: 2 });
      }
      const text = named ?? repository;
      if (text === undefined && modelDir === undefined) {
        command.error(
          "no model is named: expected a name (2b, owner/name; also -hr), or -md with a checkpoint's folder",
        );
      }
      const model = text === undefined ? {} : await asUsage(() => readHubModel(text));
      const isTyped = command.getOptionValueSource("quantType") === "cli";
      if (isTyped && model.type !== undefined && model.type !== options.types.type) {
        command.error(`-q ${options.types.type} and ${text} name two types`);
      }
      const type = model.type ?? options.types.type;
      const logDir = options.output.logDir ?? (named === undefined ? "logs" : undefined);
      await setupEnv({ ...options, types: { ...options.types, type }, output: { ...options.output, logDir } }, model);
    });
}

/** The models that setup_env.py knows, and which of them write no text. */
function listKnown(): string[] {
  const columns: Column[] = [{}, { whole: true }, { optional: true }, { optional: true }];
  const rows = registeredModels.map(({ repo, short, parameters, kind }) => [
    kind === "embedding" ? `${short} *` : short,
    repo,
    parameters,
    kind,
  ]);
  return formatTable({ columns, rows, indent: "  ", width: helpWidth(process.stdout.columns) });
}

interface HubModel {
  repository?: string;
  file?: string;
  type?: string;
}

/** A model of the hub in any of the ways to write it; also the name of one that is set up. */
async function readHubModel(text: string): Promise<HubModel> {
  const { endpoint } = await readHubEnvironment();
  const reference = parseReference(text, endpoint) ?? (await findSource(text));
  if (reference === undefined) {
    throw unknownRepositoryError(text);
  }
  const { type, file } = reference;
  return { repository: formatRepository(reference), type, file };
}

async function findSource(text: string): Promise<HubReference | undefined> {
  const [model] = findModels(await listModels(), text);
  const [revision] = model?.revisions ?? [];
  return model?.repository === undefined || revision === undefined
    ? undefined
    : { repository: model.repository, revision };
}

function unknownRepositoryError(text: string): BitnetError {
  const meant = closest(
    text,
    registeredModels.map(({ short }) => short),
  );
  return new BitnetError("USAGE", `"${text}" is not the name of a repository`, {
    hint:
      `${meant === undefined ? "" : `did you mean ${meant}? `}expected owner/name[@revision][:type], or a known model ` +
      "like 2b (bitnet pull --help lists them)",
  });
}

async function setupEnv(options: SetupEnvOptions, { repository, file }: HubModel): Promise<void> {
  const { modelDir } = options.model;
  const { type, quantEmbd, kernelConfig } = options.types;
  const logs = openLogs(options.output.logDir);
  const steps = await createSteps(options.output);
  noteIgnored(ignoredGroup, options.ignored, (text) => steps.note(text));
  let result: SetupResult;
  try {
    result = await setupModel({
      repository,
      file,
      modelDir,
      type,
      embeddingType: quantEmbd === true ? "f16" : quantEmbd,
      kernelConfig,
      signal: interruptSignal(),
      ...showSetup(steps, logs, type),
    });
  } catch (error) {
    steps.fail();
    throw explainFailure(error, logs, options);
  }
  steps.succeed();
  logs.write(JSON.stringify(result));
  const next = await nextCommand(result, options);
  if (options.output.json) {
    writeJson({ ...result, next });
  } else {
    printResult(result, next, steps);
  }
}

/** What happens, on the screen and in the logs. */
function showSetup(
  steps: Steps,
  logs: Logs,
  type: string,
): Pick<SetupOptions, "onStep" | "onNote" | "onRetry" | "onDownload" | "onConvert"> {
  return {
    onStep(step) {
      logs.begin({ "look-up": "setup", download: "download_model", convert: `convert_to_${type}` }[step.kind]);
      const { doing, done } = describeStep(step);
      logs.write(doing);
      steps.begin({ doing, done });
    },
    onNote(text) {
      logs.write(text);
      steps.line(text);
    },
    onRetry(retry) {
      logs.write(`${retry.subject}: ${retry.reason}; trying again in ${(retry.pause / 1000).toFixed(1)} s`);
      steps.retry(retry);
    },
    onDownload: (progress) => showDownload(steps, progress),
    onConvert: ({ doneBytes, totalBytes }) => steps.progress("converting").update(doneBytes, totalBytes),
  };
}

function printResult(result: SetupResult, next: string | undefined, steps: Steps): void {
  const { path, bytes, type, origin, architecture, report } = result;
  if (report !== undefined) {
    const { minus, zero, plus } = report.ternary;
    steps.line(`weights: ${minus} of -1, ${zero} of 0, ${plus} of +1; read back and verified`);
  }
  const what = origin === "existing" ? "already exists" : "saved";
  steps.succeed(`GGUF model ${what} at ${shortenHome(path)} (${architecture}, ${type}, ${formatBytes(bytes)})`);
  const columns = columnsOf(process.stdout);
  if (next === undefined) {
    write(`${path}\n`);
  } else if (columns === undefined) {
    write(`${next}\n`);
  } else {
    write(`\nReady. Try:\n\n${wrapCommand(withoutControls(next), columns, "  ")}\n\n`);
  }
}

/** What to type next, where there is something to run. */
async function nextCommand(result: SetupResult, { types }: SetupEnvOptions): Promise<string | undefined> {
  const { path, kind } = result;
  const { kernelConfig } = types;
  const needsTiles = kernelConfig !== undefined && !saysTiles(path);
  const tiles = needsTiles ? ` --kernel-config ${quoteArgument(kernelConfig)}` : "";
  const name = await shortestName(result);
  if (kind === "embedding") {
    return `bitnet embed -m ${quoteArgument(name ?? path)} -p "Once upon a time"`;
  }
  if (name === undefined) {
    const prompt = kind === "instruct" ? '-p "You are a helpful assistant" -cnv' : '-p "Once upon a time"';
    return `bitnet run -m ${quoteArgument(path)}${tiles} ${prompt}`;
  }
  return `bitnet run ${quoteArgument(name)}${tiles}${kind === "instruct" ? "" : ' -p "Once upon a time"'}`;
}

function saysTiles(path: string): boolean {
  return Object.keys(openGguf(path).metadata()).some((key) => /^bitnet\.tl\d\.tiles$/.test(key));
}

/** The shortest name that means this file; undefined where none does, as for one of another folder of models. */
async function shortestName({ path, repository, type }: SetupResult): Promise<string | undefined> {
  const names = [findPublishing(repository ?? "")?.short, basename(dirname(path))];
  for (const name of names.flatMap((one) => (one === undefined ? [] : [one, `${one}:${type}`]))) {
    const found = await resolveModel(name).catch(() => undefined);
    if (found?.kind === "path" && resolve(found.path) === resolve(path)) {
      return name;
    }
  }
  return undefined;
}

interface Logs {
  /** Names the file that lines go to from now on. */
  begin(step: string): void;
  write(text: string): void;
}

/** One file per step, as setup_env.py writes them; each run starts them anew. */
function openLogs(folder: string | undefined): Logs {
  if (folder === undefined) {
    return { begin() {}, write() {} };
  }
  makeFolderSync(folder);
  let file = join(folder, "setup.log");
  const started = new Set<string>();
  return {
    begin(step) {
      file = join(folder, `${step}.log`);
    },
    write(text) {
      const flag = started.has(file) ? "a" : "w";
      started.add(file);
      appendFileSync(file, `${new Date().toISOString()} ${text}\n`, { flag });
    },
  };
}

function explainFailure(thrown: unknown, logs: Logs, { output }: SetupEnvOptions): BitnetError {
  const error = toBitnetError(thrown);
  logs.write(error.code === "ABORTED" ? "stopped" : `${error.message}${error.hint ? ` (${error.hint})` : ""}`);
  if (error.code === "ABORTED" && !output.quiet) {
    note(stoppedNote);
  }
  return error;
}

/** The name of one of the types, in lower case. */
function nameFrom(types: readonly TensorType[]): (text: string) => string {
  return (text) => {
    const name = text.toLowerCase();
    if (!types.some((type) => type.name.toLowerCase() === name)) {
      throw new InvalidArgumentError(`Expected one of ${namesOf(types)}.`);
    }
    return name;
  };
}
