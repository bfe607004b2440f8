// bitnet convert: a checkpoint, a hub repository or a GGUF file -> a verified GGUF file.

import { existsSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Command } from "commander";
import { convertCheckpoint } from "../../convert/convert.js";
import { type ConvertOptions, defaultFileName } from "../../convert/options.js";
import type { ConvertReport } from "../../convert/plan.js";
import { parseRepositoryName } from "../../hub/repository.js";
import { type DownloadedCheckpoint, downloadCheckpoint } from "../../models/setup.js";
import { BitnetError } from "../../system/errors.js";
import { modelsFolder } from "../../system/folders.js";
import { converterGroup, findRefused, noteConverterOptions } from "../converter-rows.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { fileTypeRows, modelRows, outputRows, withHelp } from "../options.js";
import { describeStep, showDownload } from "../setup-steps.js";
import { printReport, showConversion } from "../terminal/convert-report.js";
import { interruptSignal, writeJson } from "../terminal/output.js";
import { createSteps, type Steps } from "../terminal/steps.js";

const listGroups = () => {
  const { outtype, embeddingType, outputType, modelName } = fileTypeRows();
  return {
    types: groupOf("Types", {
      outtype,
      embeddingType: { ...embeddingType, aliases: ["--token-embedding-type"] },
      quantEmbd: { flags: "--quant-embd [type]", help: "the same; f16 if no type follows" },
      outputType,
      i2sLayout: {
        flags: "--i2s-layout <layout>",
        help: "how the I2_S tensors of a GGUF source lie",
        choices: ["canonical", "arm64", "row-group", "sequential"],
        standard: "canonical",
      },
      kernelConfig: modelRows.kernelConfig,
    }),
    model: groupOf("Model", {
      modelName,
      tokenizerPre: modelRows.tokenizerPre,
      vocabOnly: { flags: "--vocab-only", help: "write metadata and tokenizer only" },
      force: { flags: "--force", help: "ternarize weights although nothing says that they are ternary" },
      skipUnknown: { flags: "--skip-unknown", help: "leave out tensors that the model family does not have" },
    }),
    work: groupOf("Work", { threads: { ...modelRows.threads, aliases: ["--concurrency"] } }),
    output: groupOf("Output", {
      outfile: {
        flags: "-o, --outfile <file>",
        help: "where to write (default: ggml-model-TYPE.gguf in the source's folder; of NAME.gguf NAME-TYPE.gguf beside it)",
      },
      json: withHelp(outputRows.json, "print the report as one JSON object"),
      quiet: outputRows.quiet,
    }),
    ignored: converterGroup,
  };
};

type ConvertCommandOptions = GroupValues<ReturnType<typeof listGroups>>;

export default function configureConvert(command: Command): void {
  const read = addOptions(command, listGroups());
  command
    .argument("<source>", "directory with config.json and safetensors, GGUF file, or owner/name[@revision] of the hub")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet convert models/my-checkpoint --outtype i2_s --outfile my-model.gguf
  $ bitnet convert tiiuae/Falcon3-3B-Instruct-1.58bit --outtype tq2_0 --embedding-type q6_k
  $ bitnet convert model-f32.gguf --outtype tl2`,
    )
    .action(async (source: string) => {
      const options = read();
      const refused = findRefused(options.ignored);
      if (refused !== undefined) {
        command.error(refused, { exitCode: 2 });
      }
      const steps = await createSteps(options.output);
      noteConverterOptions(options.ignored, (text) => steps.note(text));
      const report = await convert(source, options, steps);
      if (options.output.json) {
        writeJson(report);
      } else {
        printReport(report, steps, { forced: options.model.force });
      }
    });
}

async function convert(source: string, options: ConvertCommandOptions, steps: Steps): Promise<ConvertReport> {
  const { quantEmbd, ...types } = options.types;
  const common = {
    ...types,
    embeddingType: types.embeddingType ?? (quantEmbd === true ? "f16" : quantEmbd),
    ...options.model,
    ...options.work,
    signal: interruptSignal(),
  };
  const located = await locate(source, options, steps);
  const what = `${source} to ${types.outtype.toLowerCase()}`;
  return showConversion(steps, describeStep({ kind: "convert", what }), (onProgress) =>
    convertCheckpoint({ ...common, ...located, onProgress }),
  );
}

/** Where the source lies, after a download if it is on the hub, and where the output goes. */
async function locate(
  source: string,
  options: ConvertCommandOptions,
  steps: Steps,
): Promise<Pick<ConvertOptions, "source" | "outfile" | "sourceRepository" | "sourceRevision">> {
  const { types, output } = options;
  const fileName = defaultFileName(types.outtype);
  if (existsSync(source)) {
    const stem = basename(source).replace(/(-\d{5}-of-\d{5})?\.gguf$/i, ""); // also of a model in several files
    const outfile = statSync(source).isDirectory()
      ? join(source, fileName)
      : join(dirname(source), `${stem}-${types.outtype.toLowerCase()}.gguf`);
    return { source, outfile: output.outfile ?? outfile };
  }
  if (parseRepositoryName(source) === undefined) {
    throw new BitnetError("NOT_FOUND", `${source}: no such directory or file`);
  }
  const fetched = await download(source, options, steps);
  const folder = join(modelsFolder(), basename(fetched.repository));
  if (output.outfile === undefined) {
    await mkdir(folder, { recursive: true });
  }
  const outfile = output.outfile ?? join(folder, fileName);
  return { source: fetched.source, outfile, sourceRepository: fetched.repository, sourceRevision: fetched.commit };
}

async function download(
  source: string,
  { types, model }: ConvertCommandOptions,
  steps: Steps,
): Promise<DownloadedCheckpoint> {
  try {
    return await downloadCheckpoint(source, {
      force: model.force,
      outtype: types.outtype,
      kernelConfig: types.kernelConfig,
      signal: interruptSignal(),
      onStep: (step) => steps.begin(describeStep(step)),
      onNote: (text) => steps.line(text),
      onRetry: (retry) => steps.retry(retry),
      onDownload: (progress) => showDownload(steps, progress),
    });
  } catch (error) {
    steps.fail();
    throw error;
  }
}
