// bitnet eval tasks: how a model answers the questions of others, the twin of lm-evaluation-harness.

import type { Command } from "commander";
import { chooseFormat } from "../../chat/choose-format.js";
import { checkPredicts, loadModel } from "../../engine/model.js";
import { choiceRules } from "../../eval/choices.js";
import { chooseTasks } from "../../eval/choose-tasks.js";
import type { EvaluateTasksOptions, EvaluationProgress } from "../../eval/options.js";
import { comparePublished, findPublished, type PublishedModel } from "../../eval/published.js";
import type { EvaluationResults } from "../../eval/results.js";
import { formatResults } from "../../eval/results-table.js";
import { evaluateTasks } from "../../eval/run-tasks.js";
import { bundledModel } from "../../models/bundled.js";
import { BitnetError } from "../../system/errors.js";
import { collectData, parseGenKwargs, parseLimit, parseSamples } from "../eval-rows.js";
import { applyAdapters, loraRows } from "../lora-rows.js";
import { asUsage, locateModel } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { chatRows, hubRows, modelRows, outputRows, readModel, readSession, sessionRows, withHelp } from "../options.js";
import { collectNames, integerFrom } from "../parsers.js";
import { formatPublished } from "../published-table.js";
import { formatBytes } from "../terminal/format.js";
import { interruptSignal, log, note, write, writeJson, writeText } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

const groups = {
  tasks: groupOf("Tasks", {
    names: {
      flags: "-t, --tasks <names>",
      help: "tasks and groups, separated by commas; bitnet eval list names them",
      parse: collectNames,
    },
    shots: {
      flags: "--num-fewshot <n>",
      help: "solved questions before each question (default: what the task says)",
      aliases: ["-f", "--num_fewshot"],
      parse: integerFrom(0, 10_000),
    },
    limit: {
      flags: "--limit <n>",
      help: "only the first n documents of each task; below 1: that share of them",
      aliases: ["-L"],
      parse: parseLimit,
    },
    samples: {
      flags: "--samples <json>",
      help: 'only these documents: {"arc_easy": [0, 5]}, or a JSON file',
      aliases: ["-E"],
      parse: parseSamples,
    },
    seed: {
      flags: "--seed <n>",
      help: "of the draws of solved questions",
      standard: 1234,
      parse: integerFrom(0, 2 ** 31 - 1),
    },
    data: {
      flags: "--data <name=path>",
      help: "a file or a folder of one's own instead of the hub's data of a task; repeatable",
      parse: collectData,
    },
    rules: { flags: "--rules <name>", help: "of choices", choices: choiceRules, standard: choiceRules[0] },
  }),
  prompt: groupOf("Prompts", {
    chat: {
      flags: "--apply-chat-template",
      help: "prompts are chats, of the model's own template or of --chat-template",
      aliases: ["--apply_chat_template"],
    },
    chatTemplate: chatRows.chatTemplate,
    system: {
      flags: "--system-instruction <text>",
      help: "a system message",
      aliases: ["--system_instruction"],
    },
    multiturn: {
      flags: "--fewshot-as-multiturn",
      help: "in a chat, every solved question is a turn (default: all in one message)",
      aliases: ["--fewshot_as_multiturn"],
    },
    writing: {
      flags: "--gen-kwargs <pairs>",
      help: "how texts are written: temperature=0.7,max_gen_toks=100 (default: greedily, as the task says)",
      aliases: ["--gen_kwargs"],
      parse: parseGenKwargs,
    },
  }),
  model: groupOf("Model", {
    path: modelRows.path,
    ...hubRows,
    threads: { ...modelRows.threads, flags: "--threads <n>" },
    kernel: modelRows.kernel,
    layout: modelRows.layout,
    tokenizerPre: modelRows.tokenizerPre,
    kernelConfig: modelRows.kernelConfig,
    fastHead: modelRows.fastHead,
    inPlace: modelRows.inPlace,
  }),
  lora: groupOf("Adapters", loraRows),
  session: groupOf("Context", {
    contextSize: withHelp(sessionRows.contextSize, "context in tokens (default: what the model was trained for)"),
    cacheType: sessionRows.cacheType,
    parallel: {
      flags: "--parallel <n>",
      help: "documents at the same time",
      aliases: ["-np"],
      standard: 4,
      parse: integerFrom(1, 256),
    },
  }),
  output: groupOf("Output", {
    output: {
      flags: "-o, --output-path <dir>",
      help: "write results into a folder of the model's name there",
      aliases: ["--output_path"],
    },
    keepSamples: {
      flags: "--log-samples",
      help: "with --output-path: also what was asked and answered",
      aliases: ["-s", "--log_samples"],
    },
    predictOnly: {
      flags: "--predict-only",
      help: "keep the answers and judge none; with --output-path",
      aliases: ["-x", "--predict_only"],
    },
    compare: {
      flags: "--compare <what>",
      help: "show beside it what the makers of the model have published",
      choices: ["published"],
    },
    runsUnsafeCode: {
      flags: "--confirm-run-unsafe-code",
      help: "run code that the model writes, in a sandbox",
      aliases: ["--confirm_run_unsafe_code"],
    },
    fresh: { flags: "--fresh", help: "take nothing from earlier runs (default: only do what is missing)" },
    json: withHelp(outputRows.json, "print the results as one JSON object on stdout"),
    quiet: outputRows.quiet,
  }),
};

type TaskValues = GroupValues<typeof groups>;

export default function configureEvalTasks(command: Command): void {
  const read = addOptions(command, groups);
  command
    .addHelpText(
      "after",
      `
A run that was stopped goes on with what is missing when the same command is given again.

Examples:
  $ bitnet eval tasks -m model.gguf -t arc_challenge --num-fewshot 25
  $ bitnet eval tasks -m model.gguf -t hellaswag,piqa,mmlu --limit 100 -o results --log-samples
  $ bitnet eval tasks -m model.gguf -t arc_easy --data arc_easy=questions.jsonl`,
    )
    .action(async () => {
      const values = read();
      const problem = findProblem(values);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      await evaluate(values);
    });
}

function findProblem({ tasks, prompt, output, model }: TaskValues): string | undefined {
  if (tasks.names === undefined) {
    return "expected tasks: -t arc_easy,hellaswag; bitnet eval list names them";
  }
  if (tasks.limit !== undefined && tasks.samples !== undefined) {
    return "expected one of --limit and --samples, not both";
  }
  if (prompt.multiturn && !prompt.chat) {
    return "--fewshot-as-multiturn needs --apply-chat-template";
  }
  if (prompt.chatTemplate !== undefined && !prompt.chat) {
    return "--chat-template needs --apply-chat-template";
  }
  if ((output.keepSamples || output.predictOnly) && output.output === undefined) {
    return `${output.keepSamples ? "--log-samples" : "--predict-only"} needs a folder: --output-path DIR`;
  }
  return model.path !== undefined && model.hubModel !== undefined ? "expected one of -m and -hf, not both" : undefined;
}

async function evaluate({ tasks, prompt, model: given, lora, session, output }: TaskValues): Promise<void> {
  const { hubModel, hubFile, ...model } = given;
  const say = output.quiet ? () => {} : note;
  const signal = interruptSignal();
  const { names = [], ...rest } = tasks;
  await asUsage(() => chooseTasks({ tasks: names, samples: tasks.samples, data: tasks.data })); // before a model is downloaded
  const path = await locateModel(model.path ?? hubModel, { quiet: output.quiet, file: hubFile });
  if (path === undefined) {
    say(bundledModel.note.replace("bitnet run 2b", "bitnet eval tasks -m 2b"));
  }
  // A word for a model may tell more than its path, or less.
  const name =
    [model.path, hubModel, hubFile, path].filter((part) => part !== undefined).join(" ") || "the bundled model";
  const published = output.compare === undefined ? undefined : await asUsage(() => findPublished(name));
  const { load } = readModel(model);
  const { chatTemplate, chat, ...prompts } = prompt;
  const { json, quiet, compare, ...outputs } = output;
  await using loaded = await loadModel(path ?? bundledModel.path, { ...load, signal });
  await applyAdapters(loaded, lora, { quiet, signal });
  checkPredicts(loaded.info); // before data sets are downloaded
  const { contextLength } = loaded.info;
  const { contextSize, cacheType } = readSession(
    { ...session, contextSize: session.contextSize ?? 0 },
    loaded.info,
    say,
  );
  const options: EvaluateTasksOptions = {
    ...{ model: loaded, tasks: names, ...rest, ...prompts, ...outputs, signal },
    chat: chat ? await chooseFormat(loaded, chatTemplate) : false,
    contextSize: contextSize ?? contextLength,
    ...{ cacheType, parallel: session.parallel },
  };
  await show(options, { json, quiet, published });
}

interface Shown {
  json?: boolean;
  quiet?: boolean;
  /** What results are compared with. */
  published?: PublishedModel;
}

/** Runs, and prints what is finished, also where the user stops it. */
async function show(options: EvaluateTasksOptions, shown: Shown): Promise<void> {
  const { quiet = false } = shown;
  const progress = showProgress(quiet);
  let finished: EvaluationResults | undefined;
  const print = () => {
    progress.stop();
    if (finished !== undefined) {
      printResults(finished, shown);
    }
  };
  try {
    const onResults = (results: EvaluationResults) => {
      finished = results;
    };
    const { update: onProgress, note: onNote } = progress;
    const { path } = await asUsage(() => evaluateTasks({ ...options, onProgress, onNote, onResults }));
    print();
    if (path !== undefined && !quiet) {
      note(`wrote ${path}`);
    }
  } catch (error) {
    if (error instanceof BitnetError && error.code === "ABORTED") {
      print();
      log("the same command goes on with what is missing");
    }
    progress.stop();
    throw error;
  }
}

function printResults(results: EvaluationResults, { json, quiet, published }: Shown): void {
  const compared = published === undefined ? undefined : comparePublished(results, published);
  if (json) {
    writeJson({ ...results, ...(compared !== undefined && { published: compared }) });
    return;
  }
  writeText(formatResults(results));
  if (published !== undefined && compared !== undefined) {
    write(`\n${formatPublished(published, compared)}`);
  }
  if (!quiet) {
    noteCaveats(results);
  }
}

function noteCaveats({ bitnet: { truncated, approximate, answers } }: EvaluationResults): void {
  for (const [task, count] of Object.entries(truncated)) {
    note(`${task}: ${count} requests did not fit into the context, and lost their beginning`);
  }
  for (const [task, what] of Object.entries(approximate)) {
    note(`${task}: ${what}`);
  }
  for (const [task, { cut, invalid }] of Object.entries(answers)) {
    const shares = Object.entries(invalid).map(([filter, share]) => `, ${percent(share)} [invalid] by ${filter}`);
    note(`${task}: ${percent(cut)} of the answers were cut by length${shares.join("")}`);
  }
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

interface EvaluationDisplay {
  update(progress: EvaluationProgress): void;
  note(text: string): void;
  stop(): void;
}

function showProgress(isQuiet: boolean): EvaluationDisplay {
  if (isQuiet) {
    return { update: () => {}, note: () => {}, stop: () => {} };
  }
  const bar = createProgress("evaluating", "steps");
  let isAnswering = false;
  return {
    update: ({ step, task, done, total, tokensDone, tokensTotal, tokensCached, download }) => {
      if (step === "loading") {
        const name = download === undefined ? `reading ${task}` : `${formatBytes(download.doneBytes)} of ${task}`;
        bar.update(done, total, { name });
        return;
      }
      if (!isAnswering) {
        isAnswering = true;
        bar.stop(); // the time left is that of the answers
      }
      // What stands first is seen on a narrow terminal, too.
      bar.update(tokensDone, tokensTotal, { name: `${done} of ${total}, ${task}`, start: tokensCached });
    },
    note: (text) => bar.note(text),
    stop: () => bar.stop(),
  };
}
