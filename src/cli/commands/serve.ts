// bitnet serve: a server that talks as OpenAI's does.

import type { Command } from "commander";
import type { RedisWorker } from "../../batch/redis-worker.js";
import { bundledModel } from "../../models/bundled.js";
import { formatLogEntry, type Log, type LogFormat } from "../../serve/log.js";
import type { Server } from "../../serve/server.js";
import { BitnetError } from "../../system/errors.js";
import { locateAdapter } from "../adapter-argument.js";
import { useLlamaVariables } from "../llama-variables.js";
import { locateModel } from "../model-argument.js";
import { addOptions, noteIgnored, refuseOptions } from "../option-rows.js";
import { findServeProblem, readServe, type ServeValues, serveGroups, serveRefusals } from "../serve-options.js";
import { applyPresets, describePresets } from "../serve-presets.js";
import { oneLine } from "../terminal/format.js";
import { announce, colorsOf, log, logLine, note, writeJson } from "../terminal/output.js";

export default function configureServe(command: Command): void {
  const groups = serveGroups();
  const read = addOptions(command, groups);
  refuseOptions(command, serveRefusals);
  useLlamaVariables(command);
  command
    .argument("[model]", "the model, as for -m")
    .addHelpText(
      "after",
      `
${describePresets()}

Examples:
  $ bitnet serve
  $ bitnet serve 2b -c 4096 --port 8000
  $ bitnet serve -m model.gguf --host 127.0.0.1 --port 8080 -np 4
  $ bitnet serve -m model.gguf -p "You are a helpful assistant." -n 512`,
    )
    .action(async (named: string | undefined) => {
      applyPresets(command, read().presets);
      const values = read();
      const isTyped = (name: string) => command.getOptionValueSource(name) === "cli";
      const problem = findModelProblem(named, values, isTyped) ?? findServeProblem(values);
      if (problem !== undefined) {
        command.error(problem, { exitCode: 2 });
      }
      const { path, hubModel } = values.model;
      // What is typed wins over variables and files of options.
      const chosen = named ?? (isTyped("hfRepo") ? hubModel : (path ?? hubModel));
      await serve({ ...values, model: { ...values.model, path: chosen } });
    });
}

function findModelProblem(
  named: string | undefined,
  { model }: ServeValues,
  isTyped: (name: string) => boolean,
): string | undefined {
  const typed = [named !== undefined, isTyped("model"), isTyped("hfRepo")].filter(Boolean);
  if (typed.length > 1) {
    return "expected one of -m, -hf and an argument as the model";
  }
  return model.hubFile !== undefined && model.hubModel === undefined ? "--hf-file needs -hf OWNER/NAME" : undefined;
}

/** Tells where the model goes less far than what was asked for. */
function noteContext({ context }: Server, asked: number | undefined, say: (text: string) => void): void {
  const { contextSize } = context.service;
  if (asked !== undefined && asked > contextSize) {
    say(`-c ${asked} is more than the ${contextSize} tokens that the model was trained for; using ${contextSize}`);
  }
}

async function serve(values: ServeValues): Promise<void> {
  const { json, quiet } = values.output;
  const say = quiet ? () => {} : note;
  noteIgnored(serveGroups().ignored, values.ignored, say);
  const { path, hubModel, hubFile } = values.model;
  if (path === undefined) {
    say(bundledModel.note.replace("bitnet run 2b", "bitnet serve 2b"));
  }
  const options = readServe(
    values,
    (await locateModel(path, { quiet, file: path === hubModel ? hubFile : undefined, use: "embed" })) ??
      bundledModel.path,
  );
  for (const adapter of options.adapters) {
    adapter.path = await locateAdapter(adapter.path, { quiet });
  }
  if (path === undefined) {
    options.sampling = { temperature: bundledModel.temperature, ...options.sampling };
  }
  const { startServer } = await import("../../serve/server.js");
  const server = await startServer(options, { log: createLog(options.logFormat, quiet === true) });
  const end = once(async () => {
    await Promise.all([worker?.close(), server.close()]);
  });
  let worker: RedisWorker | undefined;
  const ended = endOnSignals(server, end, say);
  try {
    if (!(await isLoaded(server))) {
      return;
    }
    worker = await startWorker(server, values.batches, say);
    noteContext(server, values.session.contextSize, say);
    if (!quiet) {
      tellServer(server);
    }
    if (json) {
      writeJson({ urls: server.urls, model: server.context.modelId, pid: process.pid });
    }
    await ended;
  } finally {
    await end();
  }
}

/** false: the server was told to end before the model was there. */
async function isLoaded(server: Server): Promise<boolean> {
  try {
    await server.ready;
    return true;
  } catch (error) {
    if (error instanceof BitnetError && error.code === "ABORTED") {
      return false;
    }
    throw error;
  }
}

function once(body: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => {
    done ??= body();
    return done;
  };
}

/** Answers the lines of a queue beside what comes over HTTP. */
async function startWorker(
  server: Server,
  { redisWorker, redisQueue, redisLock }: ServeValues["batches"],
  say: (text: string) => void,
): Promise<RedisWorker | undefined> {
  if (redisWorker === undefined) {
    return undefined;
  }
  const { startRedisWorker } = await import("../../batch/redis-worker.js");
  return await startRedisWorker({
    ...{ url: redisWorker, queue: redisQueue, lockSeconds: redisLock, onTrouble: say },
    send: (call) => server.handle(call),
    parallel: server.context.service.admission.limits.parallel,
  });
}

/** Resolves when the server has ended because it was told to. A second signal ends the process at once. */
function endOnSignals(server: Server, close: () => Promise<void>, say: (text: string) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let isEnding = false;
    const end = (signal: NodeJS.Signals) => {
      if (isEnding) {
        process.exit(signal === "SIGINT" ? 130 : 1);
      }
      isEnding = true;
      say("shutting down: running requests end first; once more ends at once");
      close().then(resolve, reject);
    };
    process.on("SIGINT", end);
    process.on("SIGTERM", end);
    if (process.platform === "win32") {
      process.on("SIGBREAK", end); // Ctrl-Break
      process.on("SIGHUP", end); // the window was closed: Windows ends the process ten seconds later
    } else {
      process.on("SIGHUP", () => void server.reload());
    }
  });
}

/** Where it is, and a line to copy for curl and for OpenAI's client, which no line end of ours may cut. */
function tellServer({ urls, context }: Server): void {
  const [url = "", ...others] = urls;
  const base = `${url}${context.options.apiPrefix}`;
  const { contextSize, admission } = context.service;
  const page = context.options.ui ? "the page, and the API under /v1" : "the API is under /v1";
  const about = `model ${context.modelId}, ${contextSize} tokens of context, ${admission.limits.parallel} requests at once`;
  announce(colorsOf(process.stderr).bold(oneLine(base)));
  logLine(`${page}; ${about}; Ctrl-C ends`);
  for (const other of others) {
    logLine(`also on ${other}`);
  }
  if (url.startsWith("http")) {
    announce(`\n${linesToCopy(base, context.options).join("\n")}`);
  }
}

/** For this machine; whoever has given keys has one to put in. */
function linesToCopy(base: string, { apiKeys, apiKeyFile }: Server["context"]["options"]): string[] {
  const place = base.replace(/\/\/(0\.0\.0\.0|\[::\])(?=[:/])/, "//127.0.0.1");
  const hasKeys = apiKeys.length > 0 || apiKeyFile !== undefined;
  const header = hasKeys ? " -H 'authorization: Bearer KEY'" : "";
  const body = JSON.stringify({ messages: [{ role: "user", content: "Hello" }] });
  return [
    `curl ${place}/v1/chat/completions${header} -d '${body}'`,
    `new OpenAI({ baseURL: "${place}/v1", apiKey: "${hasKeys ? "KEY" : "none"}" })`,
  ];
}

function createLog(format: LogFormat, quiet: boolean): Log {
  return (entry) => {
    if (!quiet || entry.level === "error") {
      log(formatLogEntry(entry, format, format === "json" ? new Date() : undefined));
    }
  };
}
