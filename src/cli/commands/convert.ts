// bitnet convert: a checkpoint, a hub repository or a GGUF file -> a verified GGUF file.

import { existsSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Command } from "commander";
import { convertCheckpoint } from "../../convert/convert.js";
import { type ConvertOptions, defaultFileName } from "../../convert/options.js";
import type { ConvertReport } from "../../convert/plan.js";
import { parseRepositoryName } from "../../hub/repository.js";
import { downloadCheckpoint } from "../../models/setup.js";
import { BitnetError } from "../../system/errors.js";
import { addOptions, type GroupValues, groupOf, noteIgnored } from "../option-rows.js";
import { fileTypeRows, modelRows, outputRows, withHelp } from "../options.js";
import { printReport, withProgress } from "../terminal/convert-report.js";
import { interruptSignal, note, writeJson } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

const unneeded = "it is not needed here";

const ignoredGroup = groupOf("Ignored", {
  useTempFile: { flags: "--use-temp-file", ignored: unneeded },
  padVocab: { flags: "--pad-vocab", ignored: unneeded },
  vocabType: { flags: "--vocab-type <type>", ignored: unneeded },
});

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
        help: "where to write (default: ggml-model-TYPE.gguf beside the source)",
      },
      json: withHelp(outputRows.json, "print the report as one JSON object"),
    }),
    ignored: ignoredGroup,
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
      const report = await convert(source, options);
      if (options.output.json) {
        writeJson(report);
      } else {
        printReport(report);
      }
    });
}

async function convert(source: string, options: ConvertCommandOptions): Promise<ConvertReport> {
  noteIgnored(ignoredGroup, options.ignored, note);
  const { quantEmbd, ...types } = options.types;
  const common = {
    ...types,
    embeddingType: types.embeddingType ?? (quantEmbd === true ? "f16" : quantEmbd),
    ...options.model,
    ...options.work,
    signal: interruptSignal(),
  };
  const located = await locate(source, options);
  return withProgress("converting", (onProgress) => convertCheckpoint({ ...common, ...located, onProgress }));
}

/** Where the source lies, after a download if it is on the hub, and where the output goes. */
async function locate(
  source: string,
  { types, model, output }: ConvertCommandOptions,
): Promise<Pick<ConvertOptions, "source" | "outfile" | "sourceRepository" | "sourceRevision">> {
  const fileName = defaultFileName(types.outtype);
  if (existsSync(source)) {
    const stem = basename(source).replace(/(-\d{5}-of-\d{5})?\.gguf$/, ""); // also of a model in several files
    const outfile = statSync(source).isDirectory()
      ? join(source, fileName)
      : join(dirname(source), `${stem}-${types.outtype.toLowerCase()}.gguf`);
    return { source, outfile: output.outfile ?? outfile };
  }
  if (parseRepositoryName(source) === undefined) {
    throw new BitnetError("NOT_FOUND", `${source}: no such directory or file`);
  }
  const progress = createProgress("downloading", "bytes");
  try {
    const fetched = await downloadCheckpoint(source, {
      force: model.force,
      outtype: types.outtype,
      kernelConfig: types.kernelConfig,
      signal: interruptSignal(),
      onNote: (text) => progress.line(text),
      onDownload: ({ file, doneBytes, totalBytes, allDoneBytes, allTotalBytes, cachedBytes }) => {
        progress.update(doneBytes, totalBytes, { part: file, start: cachedBytes });
        progress.update(allDoneBytes, allTotalBytes, { start: allDoneBytes });
      },
    });
    const folder = join("models", basename(fetched.repository));
    if (output.outfile === undefined) {
      await mkdir(folder, { recursive: true });
    }
    const outfile = output.outfile ?? join(folder, fileName);
    return { source: fetched.source, outfile, sourceRepository: fetched.repository, sourceRevision: fetched.commit };
  } finally {
    progress.stop();
  }
}
