// bitnet dummy: a model of random weights, the twin of generate-dummy-bitnet-model.py.

import { join } from "node:path";
import { type Command, Option } from "commander";
import { defaultFileName } from "../../convert/options.js";
import { dummySizes, generateDummy } from "../../convert/plan-dummy.js";
import { embeddingTypes, matrixTypes, namesOf } from "../../convert/types.js";
import { listFamilies } from "../../gguf/families.js";
import { integerFrom } from "../parsers.js";
import { printReport, withProgress } from "../terminal/convert-report.js";
import { interruptSignal, writeJson } from "../terminal/output.js";

interface DummyCommandOptions {
  outfile?: string;
  outtype: string;
  modelSize?: string;
  arch?: string;
  embeddingType?: string;
  outputTensorType?: string;
  vocabSize?: number;
  seed: number;
  kernelConfig?: string;
  modelName?: string;
  threads?: number;
  json?: boolean;
}

export default function configureDummy(command: Command): void {
  const architectures = listFamilies().map(({ architecture }) => architecture);
  command
    .argument("[model]", "checkpoint directory, GGUF file or tokenizer.json to take the tokenizer (and the shape) from")
    .option(
      "-o, --outfile <file>",
      "where to write (default: ggml-model-TYPE.gguf, in the model's directory if one is given)",
    )
    .option("--outtype <type>", `type of the ternary matrices: ${namesOf(matrixTypes())}`, "i2_s")
    .option("--model-size <name>", "size, see below (default: the model's config.json, else 125M)")
    .addOption(new Option("--arch <name>", "model family (default: that of the size)").choices(architectures))
    .option("--embedding-type <type>", `type of the token embedding: ${namesOf(embeddingTypes())}`)
    .option("--output-tensor-type <type>", "type of the head, the same ones (default: as the embedding)")
    .option(
      "--vocab-size <n>",
      "rows of the embedding (default: that of the size or of the tokenizer)",
      integerFrom(258, 2 ** 22),
    )
    .option("-s, --seed <n>", "seed; the same one gives the same file", integerFrom(0, 2 ** 32 - 1), 0)
    .option("--kernel-config <file>", "kernel_config.ini with the tile sizes of TL1 and TL2")
    .option("--model-name <name>", "name in the file")
    .option("-t, --threads <n>", "threads (default: the cores of this machine)", integerFrom(1, 1024))
    .option("--json", "print the report as one JSON object")
    .addHelpText(
      "after",
      `
Sizes:
${Object.keys(dummySizes)
  .map((name) => `  ${name}`)
  .join("\n")}

Examples:
  $ bitnet dummy --model-size 7B --outtype tq2_0 -o dummy-7b.gguf
  $ bitnet dummy --model-size BitNet-b1.58-2B-4T -o dummy-2b.gguf --embedding-type q6_k`,
    )
    .action(async (model: string | undefined, options: DummyCommandOptions) => {
      const { modelSize: size, arch: architecture, outputTensorType: outputType, ...rest } = options;
      const directory = model === undefined || /\.(gguf|json|model)$/.test(model) ? "." : model;
      const outfile = options.outfile ?? join(directory, defaultFileName(options.outtype));
      const report = await withProgress("writing", (onProgress) =>
        generateDummy({
          ...rest,
          outfile,
          size,
          architecture,
          outputType,
          model,
          signal: interruptSignal(),
          onProgress,
        }),
      );
      if (options.json) {
        writeJson(report);
      } else {
        printReport(report);
      }
    });
}
