// bitnet eval perplexity: how well a model predicts a text, the twin of llama-perplexity.

import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { loadModel, type Model } from "../../engine/model.js";
import { evaluateDivergence } from "../../eval/divergence.js";
import {
  evaluateLlamaChoices,
  type LlamaChoiceKind,
  type LlamaChoiceResult,
  llamaChoiceKinds,
  readLlamaTasks,
} from "../../eval/llama-choices.js";
import { evaluatePerplexity, type PerplexityProgress, type PerplexityResult } from "../../eval/perplexity.js";
import { BitnetError, convertingAsync } from "../../system/errors.js";
import { readTextFile } from "../../system/text-file.js";
import { formatDivergence, showDivergence, warningsOf } from "../divergence-report.js";
import { llamaGroup, llamaRefusals } from "../llama-options.js";
import { applyAdapters, loraRows } from "../lora-rows.js";
import { chooseModel, locateModel, modelHelp } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf, noteIgnored, refuseOptions } from "../option-rows.js";
import { outputRows, readModel } from "../options.js";
import { integerFrom, numberFrom } from "../parsers.js";
import { formatBytes } from "../terminal/format.js";
import { interruptSignal, log, note, write, writeJson } from "../terminal/output.js";
import {
  describeSetting,
  evaluatedModelRows,
  keepFinished,
  noteWarnings,
  readChunks,
  showRunning,
  windowRows,
} from "../text-rows.js";

const taskLimit = (kind: string) =>
  ({
    flags: `--${kind}-tasks <n>`,
    help: `the first n tasks of --${kind} alone; 0: all (default: 0)`,
    parse: integerFrom(0),
  }) as const;

const groups = {
  text: groupOf("Text", {
    file: { flags: "-f, --file <file>", help: "the text, or the tasks of --hellaswag and --winogrande" },
    binaryFile: { flags: "--binary-file <file>", aliases: ["-bf"], help: "the tasks of --multiple-choice" },
    ...windowRows,
    stride: {
      flags: "--ppl-stride <n>",
      help: "windows begin at multiples of n tokens, and n tokens of each are scored; 0: off (default: 0)",
      parse: integerFrom(0),
    },
  }),
  choices: groupOf("Choices by llama.cpp's rules", {
    hellaswag: { flags: "--hellaswag", help: "-f has tasks of HellaSwag: context, number, four endings, a line each" },
    hellaswagLimit: taskLimit("hellaswag"),
    winogrande: {
      flags: "--winogrande",
      help: "-f has tasks of WinoGrande: lines of index, sentence, option1, option2, answer",
    },
    winograndeLimit: taskLimit("winogrande"),
    multipleChoice: { flags: "--multiple-choice", help: "-bf has tasks in llama.cpp's binary format" },
    multipleChoiceLimit: taskLimit("multiple-choice"),
  }),
  divergence: groupOf("Divergence", {
    base: {
      flags: "--kl-divergence-base <file>",
      aliases: ["--save-all-logits"],
      help: "write the distributions to this file, or read it with --kl-divergence",
    },
    divergence: { flags: "--kl-divergence", help: "compare with that file, as bitnet eval kl does" },
  }),
  model: groupOf("Model", evaluatedModelRows),
  lora: groupOf("Adapters", loraRows),
  output: groupOf("Output", {
    outputType: {
      flags: "--ppl-output-type <n>",
      help: "1: a line for every window: token, perplexity, mean of -ln p, its error (default: 0)",
      parse: integerFrom(0, 1),
    },
    expect: {
      flags: "--expect <perplexity>",
      help: "exit with 1 where the result is off by more than 1 %",
      parse: numberFrom(1, Number.MAX_VALUE),
    },
    json: outputRows.json,
    quiet: outputRows.quiet,
  }),
  ignored: llamaGroup,
};

type PerplexityValues = GroupValues<typeof groups>;

export default function configureEvalPerplexity(command: Command): void {
  const read = addOptions(command, groups);
  refuseOptions(command, llamaRefusals);
  command
    .argument("[model]", modelHelp)
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet eval perplexity -m 2b -f wiki.test.raw
  $ bitnet eval perplexity -m model.gguf -f text.txt --chunks 20 --save-all-logits base.kld
  $ bitnet eval perplexity -m model.gguf -f hellaswag.txt --hellaswag --hellaswag-tasks 400`,
    )
    .action(async (named: string | undefined) => {
      const options = read();
      const model = chooseModel(command, named, options.model.path);
      const fault = findFault(options);
      if (fault !== undefined) {
        command.error(fault, { exitCode: 2 });
      }
      if (!options.output.quiet) {
        noteIgnored(llamaGroup, options.ignored, note);
      }
      const path = await locateModel(model, { quiet: options.output.quiet });
      await evaluate({ ...options, model: { ...options.model, path } });
    });
}

function kindsOf({ choices }: PerplexityValues): LlamaChoiceKind[] {
  const { hellaswag, winogrande, multipleChoice } = choices;
  const given = { hellaswag, winogrande, "multiple-choice": multipleChoice };
  return llamaChoiceKinds.filter((kind) => given[kind]);
}

/** What is wrong with the options as a whole. */
function findFault(options: PerplexityValues): string | undefined {
  const { text, divergence } = options;
  const kinds = kindsOf(options);
  if (kinds.length + (divergence.divergence ? 1 : 0) > 1) {
    return "expected one of --hellaswag, --winogrande, --multiple-choice and --kl-divergence";
  }
  if (divergence.divergence) {
    return divergence.base === undefined ? "--kl-divergence needs the file of --kl-divergence-base" : undefined;
  }
  if (kinds[0] === "multiple-choice") {
    return (text.binaryFile ?? text.file) === undefined ? "--multiple-choice needs its tasks: -bf FILE" : undefined;
  }
  if (text.file === undefined) {
    return "expected a text: -f FILE";
  }
  const isScored = kinds.length === 0 && divergence.base !== undefined;
  return isScored && (text.stride ?? 0) > 0 ? "--save-all-logits and --ppl-stride do not go together" : undefined;
}

async function evaluate(options: PerplexityValues): Promise<void> {
  const { path, load } = readModel(options.model);
  const signal = interruptSignal();
  const [kind] = kindsOf(options);
  // Files are read first: a model may take long to load.
  const text = kind === undefined && !options.divergence.divergence ? await readTextFile(options.text.file ?? "") : "";
  await using model = await loadModel(path, { ...load, signal });
  noteWarnings(model.info.warnings, options.output.quiet);
  await applyAdapters(model, options.lora, { quiet: options.output.quiet, signal });
  if (options.divergence.divergence) {
    await printDivergence(model, options, signal);
  } else if (kind !== undefined) {
    await printChoices(model, kind, options, signal);
  } else {
    await printPerplexity(model, path, text, options, signal);
  }
}

async function printPerplexity(
  model: Model,
  path: string,
  text: string,
  { text: { stride, contextSize, cacheType, parseSpecial, chunks }, divergence, output }: PerplexityValues,
  signal: AbortSignal,
): Promise<void> {
  const { quiet, outputType = 0 } = output;
  const running = showRunning("perplexity", quiet || outputType === 1);
  let last: PerplexityProgress | undefined;
  const result = await keepFinished(
    () =>
      evaluatePerplexity(model, text, {
        contextSize,
        cacheType,
        parseSpecial,
        stride,
        chunks: readChunks(chunks),
        saveLogits: divergence.base,
        signal,
        onStart: ({ tokens, chunks: count, fileBytes }) => {
          if (!quiet) {
            const file = fileBytes === undefined ? "" : `; ${divergence.base} will take ${formatBytes(fileBytes)}`;
            log(`${tokens} tokens, ${count} windows of ${contextSize}${file}`);
          }
        },
        onProgress: (progress) => {
          last = progress;
          running.update(progress.done, progress.total, progress.perplexity);
          if (outputType === 1 && !output.json) {
            write(`${formatWindow(progress, stride || contextSize)}\n`);
          }
        },
      }).finally(() => running.stop()),
    () => last && `stopped after ${last.done} of ${last.total} windows: ${formatFinal(last.perplexity, errorOf(last))}`,
  );
  if (output.json) {
    writeJson({ model: path, ...result });
  } else {
    write(formatPerplexity(result));
  }
  checkExpected(result, output.expect);
}

function errorOf({ perplexity, nllError }: PerplexityProgress): number | undefined {
  return nllError === undefined ? undefined : nllError * perplexity;
}

/** As llama-perplexity's output type 1. */
function formatWindow({ done, perplexity, nll, nllError = 0 }: PerplexityProgress, step: number): string {
  const start = String((done - 1) * step).padStart(8);
  return `${start}  ${perplexity.toFixed(4)}  ${nll.toFixed(6)}  ${nllError.toFixed(6)}`;
}

function formatFinal(perplexity: number, error: number | undefined): string {
  return `PPL = ${perplexity.toFixed(4)}${error === undefined ? "" : ` +/- ${error.toFixed(5)}`}`;
}

function formatPerplexity(result: PerplexityResult): string {
  const { perplexity, error, bitsPerByte, tokensPerSecond, scored } = result;
  // A strided evaluation scores each token with another context: llama.cpp gives no error for it.
  const final = formatFinal(perplexity, result.stride > 0 ? undefined : error);
  return [
    `Final estimate: ${final}`,
    `bits per byte: ${bitsPerByte.toFixed(4)}, ${scored} scored tokens, ${tokensPerSecond.toFixed(1)} tokens/s`,
    describeSetting(result),
    `model ${result.modelFingerprint}, text sha256 ${result.textSha256}`,
    "",
  ].join("\n");
}

const tolerance = 0.01;

function checkExpected({ perplexity }: PerplexityResult, expected: number | undefined): void {
  if (expected === undefined || Math.abs(perplexity / expected - 1) <= tolerance) {
    return;
  }
  const off = (100 * (perplexity / expected - 1)).toFixed(1);
  throw new BitnetError("BAD_FILE", `the perplexity is ${perplexity.toFixed(4)}, off by ${off} % from ${expected}`, {
    hint: "compare with --kernel scalar: where that is right, the kernel is wrong, else the file",
  });
}

async function printDivergence(
  model: Model,
  { text, divergence, output }: PerplexityValues,
  signal: AbortSignal,
): Promise<void> {
  const progress = showDivergence(output.quiet);
  const result = await evaluateDivergence(model, divergence.base ?? "", {
    cacheType: text.cacheType,
    chunks: readChunks(text.chunks),
    signal,
    onProgress: (state) => progress.update(state),
  }).finally(() => progress.stop());
  for (const warning of warningsOf(result)) {
    note(warning);
  }
  if (output.json) {
    writeJson(result);
  } else {
    write(formatDivergence(result));
  }
}

async function printChoices(
  model: Model,
  kind: LlamaChoiceKind,
  { text, choices, output }: PerplexityValues,
  signal: AbortSignal,
): Promise<void> {
  const file = (kind === "multiple-choice" ? text.binaryFile : undefined) ?? text.file ?? "";
  const tasks = readLlamaTasks(kind, await convertingAsync(() => readFile(file)), file);
  const limits = {
    hellaswag: choices.hellaswagLimit,
    winogrande: choices.winograndeLimit,
    "multiple-choice": choices.multipleChoiceLimit,
  };
  const running = showRunning("accuracy", output.quiet);
  const result = await evaluateLlamaChoices(model, kind, tasks, {
    contextSize: text.contextSize,
    cacheType: text.cacheType,
    limit: limits[kind],
    signal,
    onProgress: ({ done, total, accuracy }) => running.update(done, total, 100 * accuracy),
  }).finally(() => running.stop());
  if (output.json) {
    writeJson(result);
  } else {
    write(formatChoices(result));
  }
}

function formatChoices({
  kind,
  accuracy,
  error,
  interval,
  chance,
  chanceError,
  tasks,
  kernel,
}: LlamaChoiceResult): string {
  const percent = (value: number) => (100 * value).toFixed(4);
  return [
    `Final ${kind} score (${tasks.length} tasks): ${percent(accuracy)} +/- ${percent(error)}`,
    `95 % interval: ${percent(interval.low)} to ${percent(interval.high)}`,
    `random chance: ${percent(chance)} +/- ${percent(chanceError)}`,
    `rules of llama.cpp, kernel ${kernel}`,
    "",
  ].join("\n");
}
