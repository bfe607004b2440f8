// bitnet convert: a checkpoint, a hub repository or a GGUF file -> a verified GGUF file.

import { statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Command } from "commander";
import { convertCheckpoint } from "../../convert/convert.js";
import { type ConvertOptions, defaultFileName } from "../../convert/options.js";
import type { ConvertReport } from "../../convert/plan.js";
import { writeProvenance } from "../../models/provenance.js";
import { formatRepository } from "../../models/reference.js";
import { type DownloadedCheckpoint, downloadCheckpoint, placeConversion } from "../../models/setup.js";
import { converterGroup, converterRefusals, findRefused, noteConverterOptions } from "../converter-rows.js";
import { resolveArgument } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, refuseOptions } from "../option-rows.js";
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
      source: withHelp(modelRows.path, "the source, in the place of an argument"),
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
  refuseOptions(command, converterRefusals);
  command
    .argument(
      "[source]",
      "directory with config.json and safetensors, GGUF file, name of a model, or owner/name of the hub",
    )
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet convert models/my-checkpoint --outtype i2_s --outfile my-model.gguf
  $ bitnet convert tiiuae/Falcon3-3B-Instruct-1.58bit --outtype tq2_0 --embedding-type q6_k
  $ bitnet convert model-f32.gguf --outtype tl2`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const source = named ?? options.model.source;
      if (source === undefined || (named !== undefined && options.model.source !== undefined)) {
        command.error("expected a source", { exitCode: 2 });
      }
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
  const { source: _, ...model } = options.model;
  const common = {
    ...types,
    embeddingType: types.embeddingType ?? (quantEmbd === true ? "f16" : quantEmbd),
    ...model,
    ...options.work,
    signal: interruptSignal(),
  };
  const { made, ...located } = await locate(source, options, steps);
  const what = `${source} to ${types.outtype.toLowerCase()}`;
  const report = await showConversion(steps, describeStep({ kind: "convert", what }), (onProgress) =>
    convertCheckpoint({ ...common, ...located, onProgress }),
  );
  if (made !== undefined && options.output.outfile === undefined) {
    await writeProvenance(report.outfile, { ...made, type: types.outtype.toLowerCase() });
  }
  return report;
}

interface Located extends Pick<ConvertOptions, "source" | "outfile" | "sourceRepository" | "sourceRevision"> {
  /** Of a source from the hub, for the note beside the output. */
  made?: DownloadedCheckpoint["made"];
}

/** Where the source lies, after a download if it is on the hub, and where the output goes. */
async function locate(text: string, options: ConvertCommandOptions, steps: Steps): Promise<Located> {
  const { types, output } = options;
  const resolved = await resolveArgument(text, { want: "source" });
  if (resolved.kind === "path") {
    const source = resolved.path;
    const stem = basename(source).replace(/(-\d{5}-of-\d{5})?\.gguf$/i, ""); // also of a model in several files
    const outfile = statSync(source).isDirectory()
      ? join(source, defaultFileName(types.outtype))
      : join(dirname(source), `${stem}-${types.outtype.toLowerCase()}.gguf`);
    return { source, outfile: output.outfile ?? outfile };
  }
  const repository = formatRepository(resolved);
  const fetched = await download(repository, options, steps);
  const outfile = output.outfile ?? (await placeConversion(repository, types.outtype));
  const { commit, made } = fetched;
  return { source: fetched.source, outfile, sourceRepository: fetched.repository, sourceRevision: commit, made };
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
