// bitnet bench serve: how a server answers when many ask at once; ours, or any other that speaks OpenAI's protocol.

import type { Command } from "commander";
import { type endpoints, runServeBench, type ServePlan, type ServerTarget } from "../../bench/serve.js";
import { parseServerUrl } from "../../bench/serve-client.js";
import { type ServerProcess, startServer } from "../../bench/serve-process.js";
import { formatServeReport } from "../../bench/serve-report.js";
import type { Load } from "../../bench/serve-round.js";
import { bundledModel } from "../../models/bundled.js";
import { describeMachine, formatMachine } from "../../native/machine.js";
import { abortedError, BitnetError } from "../../system/errors.js";
import { writeOutput } from "../../system/files.js";
import { resultRows, writeResults } from "../measuring.js";
import { locateModel } from "../model-argument.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { integerFrom, listFrom, numberFrom, unique } from "../parsers.js";
import { formatServeTable } from "../serve-table.js";
import { interruptSignal, note } from "../terminal/output.js";
import { createProgress } from "../terminal/progress.js";

const mostStreams = 1024;
const standardOverload = 10;

const groups = {
  server: groupOf("Server", {
    model: {
      flags: "-m, --model <model>",
      help: "without a URL the model to serve (default: the bundled one), with one the name that requests carry (default: the first that the server lists)",
    },
    apiKey: {
      flags: "--api-key <key>",
      help: "key of the server; BITNET_API_KEY hides it from other users of the machine",
    },
    endpoint: {
      flags: "--endpoint <name>",
      help: "what is asked",
      choices: ["chat", "completions"],
      standard: "chat",
    },
  }),
  load: groupOf("Load", {
    streams: {
      flags: "--streams <n>",
      help: "so many requests at once; the next one begins when one was answered",
      parse: listFrom(1, mostStreams),
      standard: [1, 2, 4, 8, 16],
    },
    rate: {
      flags: "--rate <list>",
      help: "requests a second at random moments (Poisson), whatever the answers do; instead of --streams, or beside it where both are given",
      parse: parseRates,
    },
    prompts: {
      flags: "-p, --prompt-tokens <n>",
      help: "tokens of the prompts, each a test of its own",
      parse: listFrom(1, 2 ** 20),
      standard: [128, 1024],
    },
    answer: {
      flags: "-n, --answer-tokens <n>",
      help: "tokens of the answers",
      parse: integerFrom(1, 2 ** 20),
      standard: 64,
    },
    samePrompt: {
      flags: "--same-prompt",
      help: "one prompt for all requests of a test, to see what a server gains by knowing it (default: each has its own)",
    },
    ignoreEos: {
      flags: "--no-ignore-eos",
      help: "let the model end answers; api.openai.com takes nothing else",
    },
    overload: {
      flags: "--overload [factor]",
      help: `at last one round of so many times the rate that the most streams were answered at (without a number: ${standardOverload})`,
      parse: parseFactor,
    },
  }),
  rounds: groupOf("Rounds", {
    runs: {
      flags: "--runs <n>",
      help: "rounds of each test; servers take turns",
      parse: integerFrom(1, 1000),
      standard: 3,
    },
    duration: {
      flags: "--duration <seconds>",
      help: "of a round; requests that run at its end are waited for",
      parse: numberFrom(0.001, 86_400),
      standard: 10,
    },
    timeout: {
      flags: "--timeout <seconds>",
      help: "a request without an end after so long is counted as hung",
      parse: numberFrom(0.001, 86_400),
      standard: 600,
    },
    warmup: { flags: "--no-warmup", help: "no request before the first round" },
    seed: {
      flags: "-s, --seed <n>",
      help: "of prompts and moments; servers remember prompts, so a second run wants another one (default: random)",
      parse: integerFrom(0),
    },
    goodFirst: {
      flags: "--good-ttft <ms>",
      help: "a good answer begins within so long",
      parse: numberFrom(0, 3_600_000),
      standard: 2000,
    },
    goodBetween: {
      flags: "--good-itl <ms>",
      help: "and has so long between tokens, on average",
      parse: numberFrom(0, 3_600_000),
      standard: 250,
    },
  }),
  output: groupOf("Output", {
    ...resultRows,
    plot: { flags: "--plot <file>", help: "draw latency and speed over the load as SVG" },
  }),
};

type ServeOptions = GroupValues<typeof groups>;

export default function configureBenchServe(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument(
      "[urls...]",
      "servers, like http://127.0.0.1:8080; without one, bitnet serve is started, with the options that follow --",
    )
    .addHelpText(
      "after",
      `
TTFT: time to the first token; ITL: time between two tokens of an answer; good: answers within the limits of both.

Examples:
  $ bitnet bench serve -m model.gguf
  $ bitnet bench serve -m model.gguf --streams 1,8 -- -np 8 -t 4
  $ bitnet bench serve http://127.0.0.1:8080 --rate 0.5,1,2 -p 128 --plot load.svg
  $ bitnet bench serve http://127.0.0.1:8080 http://127.0.0.1:8081 -o servers.csv
  $ bitnet bench serve http://127.0.0.1:8080 --streams 8 -p 128 --overload --duration 120`,
    )
    .action(async (operands: string[]) => {
      const { parent } = command;
      const misplaced = parent?.options.find((option) => parent.getOptionValueSource(option.attributeName()) === "cli");
      if (misplaced !== undefined) {
        command.error(`give the options of 'bench serve' after it: ${misplaced.flags}`, { exitCode: 2 });
      }
      const isGiven = (name: string) => command.getOptionValueSource(name) !== "default";
      await run(read(), operands, isGiven("streams"));
    });
}

function parseRates(text: string, earlier: number[] = []): number[] {
  const parse = numberFrom(0.001, 100_000);
  return [...earlier, ...text.split(",").map((word) => parse(word.trim()))];
}

function parseFactor(text: string): number {
  return numberFrom(0.01, 1000)(text);
}

/** URLs, and what stands after "--": options of the server that is started. */
function splitOperands(operands: readonly string[]): { urls: string[]; serverOptions: string[] } {
  const first = operands.findIndex((text) => text.startsWith("-"));
  const count = first < 0 ? operands.length : first;
  const [urls, serverOptions] = [operands.slice(0, count), operands.slice(count)];
  if (urls.length > 0 && serverOptions.length > 0) {
    throw new BitnetError(
      "USAGE",
      `${serverOptions[0]} is for a server that is started here, and ${urls[0]} is one that runs`,
      {
        hint: "leave either out",
      },
    );
  }
  return { urls: urls.map((text) => parseServerUrl(text).href), serverOptions };
}

async function run(options: ServeOptions, operands: readonly string[], isStreamsGiven: boolean): Promise<void> {
  const { load, output } = options;
  const signal = interruptSignal();
  const { urls, serverOptions } = splitOperands(operands);
  const started = urls.length > 0 ? undefined : await startOwn(options.server.model, serverOptions, signal);
  const servers: ServerTarget[] = started === undefined ? unique(urls).map((url) => ({ url })) : [started];
  const progress = createProgress("measuring", "steps");
  try {
    const plan: ServePlan = {
      ...planOf(options, listLoads(load, isStreamsGiven)),
      servers,
      model: started === undefined ? options.server.model : undefined,
      signal,
      onProgress: ({ done, total, what }) => progress.update(done, total, { name: what }),
    };
    const report = { ...(await runServeBench(plan)), machine: describeMachine() };
    progress.stop();
    if (report.results.length > 0) {
      await writeResults(
        { as: (format) => formatServeReport(report, format), table: (...where) => formatServeTable(report, ...where) },
        output,
      );
      if (output.plot !== undefined) {
        const { drawServePlot } = await import("../../bench/serve-plot.js");
        await writeOutput(output.plot, Buffer.from(drawServePlot(report, formatMachine(report.machine))));
        note(`wrote ${output.plot}`);
      }
    }
    if (report.isPartial) {
      throw abortedError(signal);
    }
  } finally {
    progress.stop();
    await started?.stop();
  }
}

function planOf({ server, load, rounds }: ServeOptions, loads: readonly Load[]): Omit<ServePlan, "servers" | "signal"> {
  return {
    endpoint: server.endpoint as keyof typeof endpoints,
    apiKey: server.apiKey,
    prompts: unique(load.prompts),
    answer: load.answer,
    loads,
    runs: rounds.runs,
    durationMs: rounds.duration * 1000,
    timeoutMs: rounds.timeout * 1000,
    warmup: rounds.warmup,
    samePrompt: load.samePrompt ?? false,
    ignoreEos: load.ignoreEos,
    goodput: { firstMs: rounds.goodFirst, betweenMs: rounds.goodBetween },
    seed: rounds.seed ?? Date.now() % 2 ** 31,
    overload: load.overload === true ? standardOverload : load.overload,
  };
}

function listLoads({ streams, rate = [] }: ServeOptions["load"], isStreamsGiven: boolean): Load[] {
  const closed = rate.length === 0 || isStreamsGiven ? unique(streams) : [];
  return [
    ...closed.map((count): Load => ({ kind: "closed", streams: count })),
    ...unique(rate).map((value): Load => ({ kind: "open", rate: value })),
  ];
}

async function startOwn(
  model: string | undefined,
  options: readonly string[],
  signal: AbortSignal,
): Promise<ServerProcess> {
  if (model === undefined) {
    note(bundledModel.note);
  }
  const path = model === undefined ? bundledModel.path : await locateModel(model);
  note(`starting bitnet serve -m ${path} ${options.join(" ")}`.trimEnd());
  return await startServer(["-m", path, ...options], signal);
}
