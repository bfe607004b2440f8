// bitnet setup-env: download a model and make it ready to run, the twin of setup_env.py.

import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { embeddingTypes, matrixTypes, namesOf } from "../../convert/types.js";
import type { TensorType } from "../../gguf/tensor-types.js";
import { registeredModels } from "../../hub/registry.js";
import { setupModel } from "../../models/setup.js";
import type { SetupResult } from "../../models/setup-options.js";
import { type BitnetError, toBitnetError } from "../../system/errors.js";
import { addOptions, type GroupValues, groupOf, noteIgnored } from "../option-rows.js";
import { folderRows, modelRows, outputRows, withHelp } from "../options.js";
import { formatBytes, formatColumns } from "../terminal/format.js";
import { interruptSignal, log, note, write, writeJson } from "../terminal/output.js";
import { createProgress, type Progress } from "../terminal/progress.js";

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
  log("no compile step needed: every kernel is in this program and is chosen when a model is loaded");
  noteIgnored(ignoredGroup, options.ignored, note);
  const display = createDisplay(logs);
  let result: SetupResult;
  try {
    result = await setupModel({
      repository,
      modelDir,
      type,
      embeddingType: quantEmbd === true ? "f16" : quantEmbd,
      kernelConfig,
      signal: interruptSignal(),
      onNote: display.note,
      onDownload: ({ file, doneBytes, totalBytes, allDoneBytes, allTotalBytes, cachedBytes }) => {
        display.step("download_model");
        const progress = display.progress("downloading");
        progress.update(doneBytes, totalBytes, { part: file, start: cachedBytes });
        progress.update(allDoneBytes, allTotalBytes, { start: allDoneBytes });
      },
      onConvert: ({ doneBytes, totalBytes }) => {
        display.step(`convert_to_${type}`);
        display.progress("converting").update(doneBytes, totalBytes);
      },
    });
  } catch (error) {
    display.stop();
    throw explainFailure(error, logs);
  }
  display.stop();
  logs.write(JSON.stringify(result));
  if (options.output.json) {
    writeJson({ ...result, next: nextCommand(result, options) });
  } else {
    printResult(result, options);
  }
}

function printResult(result: SetupResult, options: SetupEnvOptions): void {
  const { path, bytes, type, origin, architecture, report } = result;
  if (origin === "existing") {
    log(`GGUF model already exists at ${path}`);
  } else if (report !== undefined) {
    const { minus, zero, plus } = report.ternary;
    log(`weights: ${minus} of -1, ${zero} of 0, ${plus} of +1; read back and verified`);
  }
  log(`GGUF model saved at ${path} (${architecture}, ${type}, ${formatBytes(bytes)})`);
  const next = nextCommand(result, options);
  write(next === undefined ? `${path}\n` : `${next}\n`);
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

interface Display {
  note(text: string): void;
  step(name: string): void;
  /** The bars of this kind of work; replaces those of the work before. */
  progress(what: string): Progress;
  stop(): void;
}

function createDisplay(logs: Logs): Display {
  let shown: { what: string; progress: Progress } | undefined;
  const stop = () => {
    shown?.progress.stop();
    shown = undefined;
  };
  return {
    note(text) {
      logs.write(text);
      if (shown === undefined) {
        log(text);
      } else {
        shown.progress.line(text);
      }
    },
    step(name) {
      logs.begin(name);
    },
    progress(what) {
      if (shown?.what !== what) {
        stop();
        shown = { what, progress: createProgress(what, "bytes") };
      }
      return shown.progress;
    },
    stop,
  };
}

function explainFailure(thrown: unknown, logs: Logs): BitnetError {
  const error = toBitnetError(thrown);
  logs.write(error.code === "ABORTED" ? "stopped" : `${error.message}${error.hint ? ` (${error.hint})` : ""}`);
  if (error.code === "ABORTED") {
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
