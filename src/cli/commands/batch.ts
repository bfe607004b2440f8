// bitnet batch: answers the requests of a file, here, on a server, or on many machines.

import { type Command, InvalidArgumentError } from "commander";
import { expected, readServerAddress } from "../../batch/addresses.js";
import { BatchFaultsError, type Shard } from "../../batch/check.js";
import { type BatchOptions, type BatchProgress, type BatchSummary, runBatch } from "../../batch/run.js";
import { type BatchTarget, sendTarget } from "../../batch/target.js";
import { bundledModel } from "../../models/bundled.js";
import { type ServeOptions, standardOptions } from "../../serve/options.js";
import { abortedError } from "../../system/errors.js";
import { UsageError } from "../command.js";
import { locateModel } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { chatRows, modelRows, outputRows, sessionRows, withHelp } from "../options.js";
import { integerFrom, numberFrom } from "../parsers.js";
import { findRedisProblem, redisRows } from "../redis-rows.js";
import { formatDuration } from "../terminal/bar.js";
import { interruptSignal, log, logLine, writeJson } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

const { path: modelRow, ...loadRows } = modelRows;

const groups = {
  where: groupOf("Where lines are answered", {
    model: withHelp(
      modelRow,
      "here, by this model: a GGUF file, a name of bitnet list, 2b, owner/name (default: the bundled one)",
    ),
    server: {
      flags: "--server <url>",
      help: "by a server that runs, ours or any OpenAI-compatible one: http://127.0.0.1:8080",
    },
    apiKey: {
      flags: "--api-key <key>",
      help: "key of the server; BITNET_API_KEY hides it from other users of the machine",
    },
    redis: {
      flags: "--redis <url>",
      help: "by all servers that were started with --redis-worker: redis://127.0.0.1:6379",
    },
    ...redisRows,
    parallel: {
      flags: "--parallel <n>",
      aliases: ["-np"],
      help: "lines at the same time (default: as many as the server has places)",
      parse: integerFrom(1, 4096),
    },
    tries: {
      flags: "--tries <n>",
      help: "times that a line is sent whose answer is 429 or 5xx",
      parse: integerFrom(1, 100),
      standard: 3,
    },
  }),
  lines: groupOf("Lines", {
    text: { flags: "--text", help: "every line is the text of a prompt" },
    chat: {
      flags: "--chat",
      help: "prompts are messages of a user, which are answered (default: texts, which are continued)",
    },
    maxTokens: {
      flags: "-n, --n-predict <n>",
      help: "tokens of an answer to a prompt",
      parse: integerFrom(1),
      standard: 200,
    },
    temperature: {
      flags: "--temp <t>",
      aliases: ["--temperature"],
      help: "temperature of prompts",
      parse: numberFrom(0, 100),
      standard: 0.7,
    },
    topP: { flags: "--top-p <p>", help: "nucleus of prompts", parse: numberFrom(0, 1), standard: 0.9 },
    seed: {
      flags: "-s, --seed <n>",
      help: "lines without a seed get one of this number and their custom_id: same seed, same answers; -1: none",
      parse: integerFrom(-1),
      standard: 0,
    },
    shard: {
      flags: "--shard <i/n>",
      help: "only every n-th line, from line i on, which counts from 0",
      parse: parseShard,
    },
  }),
  files: groupOf("Files", {
    output: { flags: "-o, --output <file>", help: "where answers go; FILE.partial until all are there" },
    errors: { flags: "--errors <file>", help: "where lines go that failed (default: among the answers)" },
    ordered: {
      flags: "--ordered",
      help: "answers in the order of the lines (default: in that in which they came)",
    },
    restart: { flags: "--restart", help: "take nothing from an earlier run (default: only do what is missing)" },
    raw: { flags: "--raw", help: "keep times, random ids and speeds, which differ from run to run" },
  }),
  model: groupOf("Model", loadRows),
  session: groupOf("Context", { ...sessionRows, chatTemplate: chatRows.chatTemplate }),
  output: groupOf("Output", {
    json: withHelp(outputRows.json, "print a summary as one JSON object on stdout"),
    quiet: outputRows.quiet,
  }),
};

type BatchValues = GroupValues<typeof groups>;

function parseShard(text: string): Shard {
  const [, index, count] = /^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? [];
  const shard = { index: Number(index), count: Number(count) };
  if (!(shard.index < shard.count)) {
    throw new InvalidArgumentError("Expected two numbers like 0/4, the first of 0/4, 1/4, 2/4 and 3/4.");
  }
  return shard;
}

export default function configureBatch(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("<file>", "requests, one a line: {custom_id, url, body} as OpenAI's batches, or {id, prompt}")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet batch requests.jsonl -o answers.jsonl -m model.gguf
  $ bitnet batch prompts.txt --text --chat -o answers.jsonl
  $ bitnet batch requests.jsonl -o answers.jsonl --server http://127.0.0.1:8080 --ordered
  $ bitnet batch requests.jsonl -o answers-0.jsonl -m model.gguf --shard 0/4
  $ bitnet batch requests.jsonl -o answers.jsonl --redis redis://127.0.0.1:6379`,
    )
    .action(async (input: string) => {
      const values = read();
      const problem = findProblem(values);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      await answerFile(input, values);
    });
}

/** What cannot be together or is no address, as the end of a usage error. */
function findProblem({ where, files }: BatchValues): string | undefined {
  const { model, server, redis, redisQueue } = where;
  if (files.output === undefined) {
    return "expected a file for the answers: -o FILE";
  }
  if ([model, server, redis].filter((given) => given !== undefined).length > 1) {
    return "expected one of -m, --server and --redis";
  }
  if (server !== undefined && readServerAddress(server) === undefined) {
    return `--server: ${expected.server}`;
  }
  return findRedisProblem("--redis", redis, redisQueue);
}

async function answerFile(input: string, values: BatchValues): Promise<void> {
  const { lines, files, output } = values;
  const { text, chat, seed, shard } = lines;
  const progress = showProgress(output.quiet ?? false);
  const signal = stopSignal(progress.say);
  try {
    const summary = await runBatch({
      ...{ input, text, chat, shard, signal, ...files, output: files.output ?? "" },
      seed: seed === -1 ? undefined : seed,
      defaults: { max_tokens: lines.maxTokens, temperature: lines.temperature, top_p: lines.topP },
      target: () => openTarget(values, signal, progress),
      onProgress: progress.update,
    });
    progress.stop();
    tell(summary, values, signal);
  } catch (error) {
    progress.stop();
    throw error instanceof BatchFaultsError ? tellFaults(error, input) : error;
  }
}

/** Ctrl-C, or what a cluster sends before it takes a machine away. */
function stopSignal(say: (text: string) => void): AbortSignal {
  const ended = new AbortController();
  process.once("SIGTERM", () => ended.abort());
  const signal = AbortSignal.any([interruptSignal(), ended.signal]);
  signal.addEventListener("abort", () => say("stopping: lines that run have 10 s to end; once more ends at once"));
  return signal;
}

interface Display {
  update: NonNullable<BatchOptions["onProgress"]>;
  /** What is worth knowing, in a line above the bar. */
  say(text: string): void;
  /** What went wrong, also if it is to be quiet. */
  warn(text: string): void;
  stop(): void;
}

function showProgress(isQuiet: boolean): Display {
  if (isQuiet) {
    return { update: () => {}, say: () => {}, warn: (text) => logLine(text), stop: () => {} };
  }
  const bar = createProgress("answering", "steps");
  const startedAt = performance.now();
  return {
    update: ({ total, kept, succeeded, failed }: BatchProgress) => {
      const now = succeeded + failed;
      const left = now === 0 ? undefined : ((performance.now() - startedAt) / 1000 / now) * (total - kept - now);
      const name = [
        `${kept + now} of ${total} lines`,
        ...(failed > 0 ? [`${failed} failed`] : []),
        ...(process.stderr.isTTY || left === undefined ? [] : [`ETA ${formatDuration(left)}`]),
      ];
      bar.update(kept + now, total, { name: name.join(", "), start: kept });
    },
    say: (text) => bar.note(text),
    warn: (text) => bar.line(text),
    stop: () => bar.stop(),
  };
}

async function openTarget(
  { where, ...values }: BatchValues,
  signal: AbortSignal,
  display: Display,
): Promise<BatchTarget> {
  const { say } = display;
  const { server, redis, parallel, tries, apiKey, redisQueue } = where;
  if (server !== undefined) {
    const { httpTarget } = await import("../../batch/http-target.js");
    const onWait = () => say(`${server} is loading its model; waiting for it`);
    return await httpTarget(server, { apiKey, parallel, tries, signal, onWait });
  }
  if (redis !== undefined) {
    const { redisTarget } = await import("../../batch/redis-target.js");
    return await redisTarget({ url: redis, queue: redisQueue, onTrouble: say });
  }
  return await ownTarget({ where, ...values }, display);
}

const forever = 2 ** 31 / 1000 - 1; // seconds, the most that a timer can wait

/** A server in this process that listens nowhere. */
async function ownTarget({ where, model, session, output }: BatchValues, { say, warn }: Display) {
  if (where.model === undefined) {
    say(bundledModel.note.replace("bitnet run 2b", "bitnet batch -m 2b"));
  }
  const { contextSize, cacheType, chatTemplate } = session;
  const options: ServeOptions = {
    ...standardOptions,
    modelPath: (await locateModel(where.model, { quiet: output.quiet })) ?? bundledModel.path,
    load: model,
    contextSize: contextSize ?? standardOptions.contextSize,
    cacheType: cacheType ?? standardOptions.cacheType,
    chatTemplate,
    parallel: where.parallel,
    sampling: where.model === undefined ? { temperature: bundledModel.temperature } : {},
    ...{ hosts: [], ui: false, queueTimeout: forever, requestTimeout: forever, drainTimeout: 0 },
  };
  const { startServer } = await import("../../serve/server.js");
  const server = await startServer(options, {
    log: ({ level, message }) => {
      if (level === "error") {
        warn(`${level}: ${message}`);
      }
    },
  });
  try {
    await server.ready;
    return sendTarget({
      send: (call) => server.handle(call),
      parallel: server.context.service.admission.limits.parallel,
      model: server.context.modelId,
      tries: where.tries,
      close: () => server.close(),
    });
  } catch (error) {
    await server.close();
    throw error;
  }
}

function tell(summary: BatchSummary, { files, output }: BatchValues, signal: AbortSignal): void {
  if (output.json) {
    writeJson({ ...summary, output: files.output, isComplete: summary.left === 0 });
  }
  if (!output.quiet) {
    log(describe(summary, files));
  }
  if (summary.left > 0) {
    throw abortedError(signal);
  }
  if (summary.failed > 0) {
    process.exitCode = 1;
  }
}

function describe(summary: BatchSummary, { output, errors }: BatchValues["files"]): string {
  const { total, kept, succeeded, failed, left, promptTokens, completionTokens, seconds, retries, failures } = summary;
  const rate = seconds > 0 ? ` (${(completionTokens / seconds).toFixed(1)} a second)` : "";
  const reasons = Object.entries(failures)
    .sort(([, a], [, b]) => b - a)
    .slice(0, 5)
    .map(([code, count]) => `${count} ${code}`);
  return [
    `${kept + succeeded} of ${total} lines are answered${kept > 0 ? `, ${kept} of them by an earlier run` : ""}`,
    ...(failed > 0 ? [`${failed} failed: ${reasons.join(", ")}; the same command tries them again`] : []),
    ...(left > 0 ? [`${left} are left; the same command goes on with them`] : []),
    ...(succeeded + failed > 0
      ? [
          `${promptTokens} tokens read, ${completionTokens} written${rate}, ${formatDuration(seconds)}` +
            (retries > 0 ? `, ${retries} times sent again` : ""),
        ]
      : []),
    left > 0 ? `${output}.partial has what is answered` : `${output}${errors === undefined ? "" : `, ${errors}`}`,
  ].join("\n");
}

function tellFaults(error: BatchFaultsError, input: string): UsageError {
  for (const { line, message, param } of error.faults) {
    logLine(`${input}:${line}: ${param === undefined ? "" : `${param}: `}${message}`);
  }
  const more = error.faultCount - error.faults.length;
  if (more > 0) {
    log(`and ${more} more`);
  }
  return new UsageError(error.message, "docs/batch.md describes the forms of lines");
}
