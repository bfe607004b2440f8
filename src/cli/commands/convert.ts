// bitnet convert: a checkpoint, a hub repository or a GGUF file -> a verified GGUF file.

import { existsSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Command, Option } from "commander";
import { convertCheckpoint } from "../../convert/convert.js";
import { type ConvertOptions, defaultFileName, type I2sLayout } from "../../convert/options.js";
import type { ConvertReport } from "../../convert/plan.js";
import { embeddingTypes, matrixTypes, namesOf } from "../../convert/types.js";
import { parseRepositoryName } from "../../hub/repository.js";
import { downloadCheckpoint } from "../../models/setup.js";
import { BitnetError } from "../../system/errors.js";
import { integerFrom } from "../parsers.js";
import { printReport, withProgress } from "../terminal/convert-report.js";
import { interruptSignal, note, writeJson } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

interface ConvertCommandOptions {
  outtype: string;
  outfile?: string;
  embeddingType?: string;
  tokenEmbeddingType?: string;
  quantEmbd?: string | true;
  outputTensorType?: string;
  kernelConfig?: string;
  modelName?: string;
  tokenizerPre?: string;
  vocabOnly?: boolean;
  force?: boolean;
  skipUnknown?: boolean;
  i2sLayout?: I2sLayout;
  threads?: number;
  concurrency?: number;
  useTempFile?: boolean;
  padVocab?: boolean;
  vocabType?: string;
  json?: boolean;
}

export default function configureConvert(command: Command): void {
  command
    .argument("<source>", "directory with config.json and safetensors, GGUF file, or owner/name[@revision] of the hub")
    .option("-o, --outfile <file>", "where to write (default: ggml-model-TYPE.gguf beside the source)")
    .option("--outtype <type>", `type of the ternary matrices: ${namesOf(matrixTypes())}`, "i2_s")
    .option(
      "--embedding-type <type>",
      `type of the token embedding: ${namesOf(embeddingTypes())} (also --token-embedding-type)`,
    )
    .addOption(new Option("--token-embedding-type <type>").hideHelp())
    .option("--quant-embd [type]", "the same; f16 if no type follows")
    .option("--output-tensor-type <type>", "type of the head, where it is not shared (default: as the embedding)")
    .option("--kernel-config <file>", "kernel_config.ini with the tile sizes of TL1 and TL2 (default: bitnet.cpp's)")
    .option("--model-name <name>", "name in the file (default: that of the directory or repository)")
    .option("--tokenizer-pre <name>", "pre-tokenizer to write instead of the one that is found")
    .option("--vocab-only", "write metadata and tokenizer only")
    .option("--force", "ternarize weights although nothing says that they are ternary")
    .option("--skip-unknown", "leave out tensors that the model family does not have")
    .addOption(
      new Option("--i2s-layout <layout>", "how the I2_S tensors of a GGUF source lie")
        .choices(["canonical", "arm64", "row-group", "sequential"])
        .default("canonical"),
    )
    .option(
      "-t, --threads <n>",
      "threads (default: the cores of this machine; also --concurrency)",
      integerFrom(1, 1024),
    )
    .addOption(new Option("--concurrency <n>").argParser(integerFrom(1, 1024)).hideHelp())
    .addOption(new Option("--use-temp-file").hideHelp())
    .addOption(new Option("--pad-vocab").hideHelp())
    .addOption(new Option("--vocab-type <type>").hideHelp())
    .option("--json", "print the report as one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet convert models/my-checkpoint --outtype i2_s --outfile my-model.gguf
  $ bitnet convert tiiuae/Falcon3-3B-Instruct-1.58bit --outtype tq2_0 --embedding-type q6_k
  $ bitnet convert model-f32.gguf --outtype tl2 --kernel-config kernel_config.ini`,
    )
    .action(async (source: string, options: ConvertCommandOptions) => {
      const report = await convert(source, options);
      if (options.json) {
        writeJson(report);
      } else {
        printReport(report);
      }
    });
}

async function convert(source: string, options: ConvertCommandOptions): Promise<ConvertReport> {
  const { outtype, kernelConfig, modelName, tokenizerPre, vocabOnly, force, skipUnknown, i2sLayout } = options;
  for (const [given, flag] of [
    [options.useTempFile, "--use-temp-file"],
    [options.padVocab, "--pad-vocab"],
    [options.vocabType, "--vocab-type"],
  ]) {
    if (given !== undefined) {
      note(`${flag} has no effect: it is not needed here`);
    }
  }
  const quantEmbd = options.quantEmbd === true ? "f16" : options.quantEmbd;
  const common = {
    outtype,
    embeddingType: options.embeddingType ?? options.tokenEmbeddingType ?? quantEmbd,
    outputType: options.outputTensorType,
    ...{ kernelConfig, modelName, tokenizerPre, vocabOnly, force, skipUnknown, i2sLayout },
    threads: options.threads ?? options.concurrency,
    signal: interruptSignal(),
  };
  const located = await locate(source, options);
  return withProgress("converting", (onProgress) => convertCheckpoint({ ...common, ...located, onProgress }));
}

/** Where the source lies, after a download if it is on the hub, and where the output goes. */
async function locate(
  source: string,
  options: ConvertCommandOptions,
): Promise<Pick<ConvertOptions, "source" | "outfile" | "sourceRepository" | "sourceRevision">> {
  const fileName = defaultFileName(options.outtype);
  if (existsSync(source)) {
    const stem = basename(source).replace(/\.gguf$/, "");
    const outfile = statSync(source).isDirectory()
      ? join(source, fileName)
      : join(dirname(source), `${stem}-${options.outtype.toLowerCase()}.gguf`);
    return { source, outfile: options.outfile ?? outfile };
  }
  if (parseRepositoryName(source) === undefined) {
    throw new BitnetError("NOT_FOUND", `${source}: no such directory or file`);
  }
  const progress = createProgress("downloading");
  try {
    const fetched = await downloadCheckpoint(source, {
      force: options.force,
      signal: interruptSignal(),
      onNote: (text) => progress.line(text),
      onDownload: ({ file, doneBytes, totalBytes, allDoneBytes, allTotalBytes, cachedBytes }) => {
        progress.update(file, doneBytes, totalBytes, cachedBytes);
        progress.update(undefined, allDoneBytes, allTotalBytes, allDoneBytes);
      },
    });
    const folder = join("models", basename(fetched.repository));
    if (options.outfile === undefined) {
      await mkdir(folder, { recursive: true });
    }
    const outfile = options.outfile ?? join(folder, fileName);
    return { source: fetched.source, outfile, sourceRepository: fetched.repository, sourceRevision: fetched.commit };
  } finally {
    progress.stop();
  }
}
