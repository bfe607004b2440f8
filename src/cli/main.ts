// The command table, bitnet.cpp's spellings, errors to exit status. The only place that ends the process.

import { Command, CommanderError } from "commander";
import { closest } from "../system/closest.js";
import { BitnetError, exitStatusOf, toBitnetError } from "../system/errors.js";
import { packageVersion } from "../system/package.js";
import { closestSpelling, findUnknownSpelling, normalizeArgv } from "./argv.js";
import { reportError } from "./terminal/output.js";
import { guardStreams } from "./terminal/streams.js";

interface CommandEntry {
  name: string;
  description: string;
  /** Adds options and the action. Loaded only for the command that runs, so that every start is quick. */
  load: () => Promise<{ default: (command: Command) => void }>;
  /** Commands of their own after the name of this one. */
  subcommands?: CommandEntry[];
}

const commands: CommandEntry[] = [
  {
    name: "run",
    description: "generate text from a prompt, or talk with -cnv",
    load: () => import("./commands/run.js"),
  },
  {
    name: "logits",
    description: "print or save the raw logits of a prompt",
    load: () => import("./commands/logits.js"),
  },
  {
    name: "tokenize",
    description: "turn text into token ids, or ids into text",
    load: () => import("./commands/tokenize.js"),
  },
  {
    name: "bench",
    description: "measure the speed of models, and how close it is to the machine's limits",
    load: () => import("./commands/bench.js"),
    subcommands: [
      {
        name: "kernels",
        description: "measure the ternary matrix products of every kernel of this CPU",
        load: () => import("./commands/bench-kernels.js"),
      },
    ],
  },
  {
    name: "tune",
    description: "find the fastest settings for this machine; later runs use them by themselves",
    load: () => import("./commands/tune.js"),
  },
  {
    name: "setup-env",
    description: "download a model and make it ready to run",
    load: () => import("./commands/setup-env.js"),
  },
  {
    name: "convert",
    description: "make a GGUF file of a checkpoint or of another GGUF file",
    load: () => import("./commands/convert.js"),
  },
  {
    name: "inspect",
    description: "show the metadata, tensors and memory need of a GGUF file",
    load: () => import("./commands/inspect.js"),
  },
  {
    name: "dummy",
    description: "make a model of random weights in any size, to measure with",
    load: () => import("./commands/dummy.js"),
  },
  {
    name: "list",
    description: "list the models on this machine",
    load: () => import("./commands/list.js"),
  },
  {
    name: "build-native",
    description: "build the native part, where an installation could not",
    load: () => import("./commands/build-native.js"),
  },
  {
    name: "rm",
    description: "delete a model that list shows",
    load: () => import("./commands/rm.js"),
  },
];

const usageStatus = 2; // what cannot even be parsed

/** Runs one command line and sets the exit status. */
export async function main(args: readonly string[]): Promise<void> {
  guardStreams((status) => process.exit(status));
  const normalized = normalizeArgv(args);
  try {
    const unknown = findUnknownSpelling(normalized);
    if (unknown !== undefined) {
      throw new CommanderError(usageStatus, "bitnet.unknownOption", unknownOptionMessage(unknown));
    }
    const program = await createProgram(normalized);
    await program.parseAsync(normalized, { from: "user" });
  } catch (error) {
    process.exitCode = reportFailure(error, normalized);
  }
}

async function createProgram(args: readonly string[]): Promise<Command> {
  const program = new Command("bitnet")
    .description("Run 1.58-bit (ternary) language models on the CPU.")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .configureOutput({ outputError: () => {} }) // reportFailure prints
    .configureHelp({ minWidthToWrap: 20 }) // columns that are left for the texts
    .exitOverride()
    .enablePositionalOptions() // `bench kernels` has options of the same names as `bench`
    .showSuggestionAfterError()
    .addHelpText("after", '\nExample:\n  $ bitnet run -p "Once upon a time" -n 100');
  for (const entry of commands) {
    await addCommand(program, entry, args.includes(entry.name));
  }
  return program;
}

/** `isWanted`: the command may be the one that runs, so that it needs its options. */
async function addCommand(parent: Command, entry: CommandEntry, isWanted: boolean): Promise<void> {
  const command = parent.command(entry.name).description(entry.description).copyInheritedSettings(parent);
  if (isWanted) {
    (await entry.load()).default(command);
    command.optionsGroup("Options:").option("--verbose", "print the stack of an error");
    for (const subcommand of entry.subcommands ?? []) {
      await addCommand(command, subcommand, true);
    }
  }
}

function unknownOptionMessage({ arg, suggestion }: { arg: string; suggestion?: string }): string {
  return `error: unknown option '${arg}'${suggestion === undefined ? "" : `\n(Did you mean ${suggestion}?)`}`;
}

/** Prints what went wrong; returns the exit status. */
function reportFailure(thrown: unknown, args: readonly string[]): number {
  if (thrown instanceof CommanderError) {
    return thrown.exitCode === 0 ? 0 : reportUsage(thrown, args);
  }
  const error = toBitnetError(thrown);
  if (error.code !== "ABORTED") {
    reportError(error, args.includes("--verbose") || Boolean(process.env.BITNET_DEBUG));
  }
  return exitStatusOf(error);
}

function reportUsage(error: CommanderError, args: readonly string[]): number {
  if (error.code !== "commander.help") {
    // commander: "error: what\n(Did you mean --this?)"
    const [what = "", suggestion] = error.message.replace(/^error: /, "").split("\n");
    const meant =
      /^\(Did you mean (.*)\?\)$/.exec(suggestion ?? "")?.[1] ?? closestCommand(what) ?? closestOption(what);
    const name = commands.find((entry) => entry.name === args[0])?.name;
    const help = name === undefined ? "see bitnet --help" : `see bitnet ${name} --help`;
    const hint = meant === undefined ? help : `did you mean ${meant}?`;
    reportError(new BitnetError("USAGE", what, { hint }), false);
  }
  return usageStatus;
}

function closestCommand(what: string): string | undefined {
  const word = /^unknown command '(.*)'$/.exec(what)?.[1];
  const names = commands.map((entry) => entry.name);
  return word === undefined ? undefined : closest(word, names);
}

function closestOption(what: string): string | undefined {
  const option = /^unknown option '(--.*)'$/.exec(what)?.[1];
  return option === undefined ? undefined : closestSpelling(option);
}
