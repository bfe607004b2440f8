// The command table, errors to exit status. The only place that ends the process.

import { type Command, CommanderError } from "commander";
import { closest } from "../system/closest.js";
import { exitStatusOf, toBitnetError } from "../system/errors.js";
import { packageVersion } from "../system/package.js";
import { ProgramCommand, UsageError } from "./command.js";
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
  try {
    const program = await createProgram(args);
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    process.exitCode = reportFailure(error, args);
  }
}

async function createProgram(args: readonly string[]): Promise<Command> {
  const program = new ProgramCommand("bitnet")
    .description("Run 1.58-bit (ternary) language models on the CPU.")
    .version(packageVersion(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .exitOverride()
    .enablePositionalOptions() // `bench kernels` has options of the same names as `bench`
    .addHelpText("after", '\nExample:\n  $ bitnet run -p "Once upon a time" -n 100');
  const [first = ""] = args;
  if (first !== "help" && !first.startsWith("-") && !commands.some(({ name }) => name === first) && first !== "") {
    const meant = closest(
      first,
      commands.map(({ name }) => name),
    );
    const hint = meant === undefined ? "see bitnet --help" : `did you mean ${meant}?`;
    throw new UsageError(`unknown command '${first}'`, hint);
  }
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

/** Prints what went wrong; returns the exit status. */
function reportFailure(thrown: unknown, args: readonly string[]): number {
  if (thrown instanceof CommanderError) {
    return thrown.exitCode === 0 ? 0 : usageStatus; // help was printed
  }
  const error = toBitnetError(thrown);
  if (error.code !== "ABORTED") {
    reportError(error, args.includes("--verbose") || Boolean(process.env.BITNET_DEBUG));
  }
  return error instanceof UsageError ? usageStatus : exitStatusOf(error);
}
