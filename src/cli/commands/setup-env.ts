// bitnet setup-env: download a model and make it ready to run, the twin of setup_env.py.

import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { embeddingTypes, matrixTypes, namesOf } from "../../convert/types.js";
import type { TensorType } from "../../gguf/tensor-types.js";
import { registeredModels } from "../../hub/registry.js";
import { setupModel } from "../../models/setup.js";
import type { SetupOptions, SetupResult } from "../../models/setup-options.js";
import { type BitnetError, toBitnetError } from "../../system/errors.js";
import { addOptions, type GroupValues, groupOf, noteIgnored } from "../option-rows.js";
import { folderRows, modelRows, outputRows, withHelp } from "../options.js";
import { describeStep, showDownload } from "../setup-steps.js";
import { formatBytes, formatColumns, withoutControls } from "../terminal/format.js";
import { interruptSignal, note, write, writeJson } from "../terminal/output.js";
import { createSteps, type Steps } from "../terminal/steps.js";

const ignoredGroup = groupOf("Options", {
  usePretuned: {
    flags: "-p, --use-pretuned",
    help: "accepted; kernels need no tuning here",
    ignored: "there are no kernels to generate",
  },
});

const listGroups = () => ({
  model: groupOf("Model", {
    repository: {
      flags: "--hf-repo <repo>",
      help: "model on the Hugging Face hub, owner/name[@revision]",
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
      help: "where the logs of the steps go",
      aliases: ["-ld"],
      standard: "logs",
    },
    json: withHelp(outputRows.json, "print the result as one JSON object on stdout"),
    quiet: outputRows.quiet,
  }),
  ignored: ignoredGroup,
});

type SetupEnvOptions = GroupValues<ReturnType<typeof listGroups>>;

export default function configureSetupEnv(command: Command): void {
  const read = addOptions(command, listGroups());
  const models = formatColumns(
    registeredModels.map(({ repo, parameters, kind, license }) => [repo, parameters, kind, license]),
    { indent: "  " },
  );
  command
    .addHelpText(
      "after",
      `
Models known to work (any other ternary model of the hub may be named, too):
${models.join("\n")}

Examples:
  $ bitnet setup-env -hr microsoft/BitNet-b1.58-2B-4T -q i2_s
  $ bitnet setup-env -hr tiiuae/Falcon-E-1B-Instruct -q tl2 --quant-embd q6_k
  $ bitnet setup-env -md models/my-checkpoint -q tq2_0

The download continues where it stopped when the same command is run again. HF_TOKEN, HF_HOME, HF_HUB_CACHE,
HF_ENDPOINT, HF_HUB_OFFLINE and https_proxy are read as by Python's huggingface_hub, with which the cache is shared.`,
    )
    .action(async () => {
      const options = read();
      if (options.model.repository === undefined && options.model.modelDir === undefined) {
        command.error("no model is named: expected -hr OWNER/NAME, or -md with a checkpoint's folder", { exitCode: 2 });
      }
      await setupEnv(options);
    });
}

async function setupEnv(options: SetupEnvOptions): Promise<void> {
  const { repository, modelDir } = options.model;
  const { type, quantEmbd, kernelConfig } = options.types;
  const logs = openLogs(options.output.logDir);
  const steps = await createSteps(options.output);
  noteIgnored(ignoredGroup, options.ignored, (text) => steps.note(text));
  let result: SetupResult;
  try {
    result = await setupModel({
      repository,
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
  if (options.output.json) {
    writeJson({ ...result, next: nextCommand(result, options) });
  } else {
    printResult(result, options, steps);
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

function printResult(result: SetupResult, options: SetupEnvOptions, steps: Steps): void {
  const { path, bytes, type, origin, architecture, report } = result;
  if (report !== undefined) {
    const { minus, zero, plus } = report.ternary;
    steps.line(`weights: ${minus} of -1, ${zero} of 0, ${plus} of +1; read back and verified`);
  }
  const what = origin === "existing" ? "already exists" : "saved";
  steps.succeed(`GGUF model ${what} at ${path} (${architecture}, ${type}, ${formatBytes(bytes)})`);
  const next = nextCommand(result, options);
  if (next === undefined) {
    write(`${path}\n`);
  } else if (process.stdout.isTTY) {
    write(`\nReady. Try:\n\n  ${withoutControls(next)}\n\n`);
  } else {
    write(`${next}\n`);
  }
}

/** What to type next, where there is something to run. */
function nextCommand({ path, kind }: SetupResult, { types: { kernelConfig } }: SetupEnvOptions): string | undefined {
  if (kind === "embedding") {
    return undefined; // it writes no text
  }
  const tiles = kernelConfig === undefined ? "" : ` --kernel-config ${quoteArgument(kernelConfig)}`;
  const prompt = kind === "instruct" ? '-p "You are a helpful assistant" -cnv' : '-p "Once upon a time"';
  return `bitnet run -m ${quoteArgument(path)}${tiles} ${prompt}`;
}

function quoteArgument(text: string): string {
  return /^[\w./@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

interface Logs {
  folder: string;
  /** Names the file that lines go to from now on. */
  begin(step: string): void;
  write(text: string): void;
}

/** One file per step, as setup_env.py writes them; each run starts them anew. */
function openLogs(folder: string): Logs {
  mkdirSync(folder, { recursive: true });
  let file = join(folder, "setup.log");
  const started = new Set<string>();
  return {
    folder,
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
    note("stopped; the same command continues where it stopped");
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
