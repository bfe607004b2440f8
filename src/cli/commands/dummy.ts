// bitnet dummy: a model of random weights, the twin of generate-dummy-bitnet-model.py.

import { join } from "node:path";
import type { Command } from "commander";
import { defaultFileName } from "../../convert/options.js";
import { dummySizes, generateDummy } from "../../convert/plan-dummy.js";
import { listFamilies } from "../../gguf/families.js";
import { converterGroup, converterRefusals, findRefused, noteConverterOptions } from "../converter-rows.js";
import { addOptions, groupOf, refuseOptions } from "../option-rows.js";
import { fileTypeRows, modelRows, outputRows, withHelp } from "../options.js";
import { integerFrom } from "../parsers.js";
import { printReport, showConversion } from "../terminal/convert-report.js";
import { interruptSignal, writeJson } from "../terminal/output.js";
import { createSteps } from "../terminal/steps.js";

const listGroups = () => {
  const { outtype, embeddingType, outputType, modelName } = fileTypeRows();
  return {
    types: groupOf("Types", {
      outtype,
      embeddingType,
      outputType,
      kernelConfig: modelRows.kernelConfig,
    }),
    model: groupOf("Model", {
      size: {
        flags: "--model-size <name>",
        help: "size, see below (default: the model's config.json, else 125M)",
      },
      architecture: {
        flags: "--arch <name>",
        help: "model family (default: that of the size)",
        choices: listFamilies().map(({ architecture }) => architecture),
      },
      vocabSize: {
        flags: "--vocab-size <n>",
        help: "rows of the embedding (default: that of the size or of the tokenizer)",
        parse: integerFrom(258, 2 ** 22),
      },
      seed: {
        flags: "-s, --seed <n>",
        help: "seed; the same one gives the same file",
        parse: integerFrom(0, 2 ** 32 - 1),
        standard: 0,
      },
      modelName: withHelp(modelName, "name in the file"),
      vocabOnly: { flags: "--vocab-only", help: "write metadata and tokenizer only" },
    }),
    work: groupOf("Work", { threads: modelRows.threads }),
    output: groupOf("Output", {
      outfile: {
        flags: "-o, --outfile <file>",
        help: "where to write (default: ggml-model-TYPE.gguf, in the model's directory if one is given)",
      },
      json: withHelp(outputRows.json, "print the report as one JSON object"),
      quiet: outputRows.quiet,
    }),
    ignored: converterGroup,
  };
};

export default function configureDummy(command: Command): void {
  const read = addOptions(command, listGroups());
  refuseOptions(command, converterRefusals);
  command
    .argument("[model]", "checkpoint directory, GGUF file or tokenizer.json to take the tokenizer (and the shape) from")
    .addHelpText(
      "after",
      `
Sizes: ${Object.keys(dummySizes).join(", ")}.

Examples:
  $ bitnet dummy --model-size 7B --outtype tq2_0 -o dummy-7b.gguf
  $ bitnet dummy --model-size BitNet-b1.58-2B-4T -o dummy-2b.gguf --embedding-type q6_k`,
    )
    .action(async (model: string | undefined) => {
      const { types, model: shape, work, output, ignored } = read();
      const refused = findRefused(ignored);
      if (refused !== undefined) {
        command.error(refused, { exitCode: 2 });
      }
      const directory = model === undefined || /\.(gguf|json|model)$/.test(model) ? "." : model;
      const outfile = output.outfile ?? join(directory, defaultFileName(types.outtype));
      const signal = interruptSignal();
      const steps = await createSteps(output);
      noteConverterOptions(ignored, (text) => steps.note(text));
      const step = { doing: "Writing random weights", done: "Written: random weights" };
      const report = await showConversion(steps, step, (onProgress) =>
        generateDummy({ ...types, ...shape, ...work, outfile, model, signal, onProgress }),
      );
      if (output.json) {
        writeJson(report);
      } else {
        printReport(report, steps);
      }
    });
}
