// The table of commands, and the program that is made of it.

import { type Command, Option } from "commander";
import { closest } from "../system/closest.js";
import { packageVersion } from "../system/package.js";
import { ProgramCommand, UsageError } from "./command.js";
import { addOptions, type OptionGroup } from "./option-rows.js";
import { generalGroup } from "./options.js";
import { insteadOf, quantizeArguments, sameCommand } from "./other-programs.js";
import { applySettings } from "./settings.js";
import { hasColors, setColors } from "./terminal/output.js";

/** Adds options and the action; `loadProgram` gives all commands with all their options. */
type Configure = (command: Command, loadProgram: () => Promise<ProgramCommand>) => void;

interface CommandEntry {
  name: string;
  /** Other names, which the help shows. Names of other programs are in other-programs.ts. */
  aliases?: string[];
  description: string;
  /** Loaded only for the command that runs, so that every start is quick. */
  load: () => Promise<{ default: Configure }>;
  /** Commands of their own after the name of this one. */
  subcommands?: CommandEntry[];
}

/** By their groups in the help. */
const commands: Record<string, CommandEntry[]> = {
  "Use models": [
    {
      name: "run",
      description: "generate text from a prompt, or talk",
      load: () => import("./commands/run.js"),
    },
    {
      name: "serve",
      description: "serve a model to many at once, as OpenAI's interface does",
      load: () => import("./commands/serve.js"),
    },
    {
      name: "batch",
      description: "answer the requests of a file, and go on where it was stopped",
      load: () => import("./commands/batch.js"),
    },
    {
      name: "monitor",
      description: "show how a running server is doing",
      load: () => import("./commands/monitor.js"),
    },
    {
      name: "tokenize",
      description: "turn text into token ids, or ids into text",
      load: () => import("./commands/tokenize.js"),
    },
    {
      name: "embed",
      description: "turn texts into vectors, search them, and tell how good they are",
      load: () => import("./commands/embed.js"),
      subcommands: [
        {
          name: "search",
          description: "find the texts of a file of vectors that are nearest to a query",
          load: () => import("./commands/embed-search.js"),
        },
        {
          name: "sts",
          description: "tell how well the similarity of sentences goes with what people say of it",
          load: () => import("./commands/embed-sts.js"),
        },
      ],
    },
    {
      name: "logits",
      description: "print or save the raw logits of a prompt",
      load: () => import("./commands/logits.js"),
    },
  ],
  "Get models": [
    {
      name: "setup-env",
      aliases: ["pull"],
      description: "download a model and make it ready to run",
      load: () => import("./commands/setup-env.js"),
    },
    {
      name: "convert-lora",
      description: "make a GGUF adapter of one of PEFT, or back",
      load: () => import("./commands/convert-lora.js"),
    },
    {
      name: "convert",
      description: "make a GGUF file of a checkpoint or of another GGUF file",
      load: () => import("./commands/convert.js"),
    },
    {
      name: "dummy",
      description: "make a model of random weights in any size, to measure with",
      load: () => import("./commands/dummy.js"),
    },
  ],
  "Train models": [
    {
      name: "finetune",
      description: "train a model on examples: an adapter beside it, or all of its weights",
      load: () => import("./commands/finetune.js"),
    },
    {
      name: "train",
      description: "train a model from nothing but a config.json and texts",
      load: () => import("./commands/train.js"),
    },
    {
      name: "merge",
      description: "merge an adapter into the weights of its base, and measure what that costs",
      load: () => import("./commands/merge.js"),
    },
  ],
  "See what is there": [
    {
      name: "list",
      aliases: ["ls"],
      description: "list the models on this machine",
      load: () => import("./commands/list.js"),
    },
    {
      name: "inspect",
      aliases: ["show"],
      description: "show the metadata, tensors and memory need of a GGUF file",
      load: () => import("./commands/inspect.js"),
    },
    {
      name: "rm",
      aliases: ["remove"],
      description: "delete models that list shows",
      load: () => import("./commands/rm.js"),
    },
    {
      name: "cp",
      aliases: ["copy"],
      description: "give a model a second name",
      load: () => import("./commands/cp.js"),
    },
  ],
  "Plan and watch": [
    {
      name: "doctor",
      description: "measure every way of running a model on this machine, and tell which to take",
      load: () => import("./commands/doctor.js"),
    },
    {
      name: "plan",
      description: "tell what a server of a model takes, and what fits into a given memory",
      load: () => import("./commands/plan.js"),
    },
  ],
  "Measure and tune": [
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
        {
          name: "serve",
          description: "measure how a server answers when many ask at once: ours or any OpenAI-compatible one",
          load: () => import("./commands/bench-serve.js"),
        },
      ],
    },
    {
      name: "eval",
      description: "measure how good a model is: on texts, and on tasks of questions",
      load: () => import("./commands/eval.js"),
      subcommands: [
        {
          name: "perplexity",
          description: "measure how well a model predicts a text, as llama-perplexity does",
          load: () => import("./commands/eval-perplexity.js"),
        },
        {
          name: "kl",
          description: "measure how far a model's distributions are from those of another one",
          load: () => import("./commands/eval-kl.js"),
        },
        {
          name: "tasks",
          description: "let a model answer questions, as lm-evaluation-harness does",
          load: () => import("./commands/eval-tasks.js"),
        },
        {
          name: "list",
          description: "list the tasks of questions that there are",
          load: () => import("./commands/eval-list.js"),
        },
        {
          name: "compare",
          description: "compare two files of results, and tell what is more than chance",
          load: () => import("./commands/eval-compare.js"),
        },
      ],
    },
    {
      name: "perplexity",
      description: "measure the perplexity of every data set of a folder, as test_perplexity.py does",
      load: () => import("./commands/perplexity.js"),
    },
    {
      name: "compare",
      description: "tell whether a change of a model or of its settings cost quality",
      load: () => import("./commands/compare.js"),
    },
    {
      name: "tune",
      description: "find the fastest settings for this machine; later runs use them by themselves",
      load: () => import("./commands/tune.js"),
    },
  ],
  "This program": [
    {
      name: "version",
      description: "print the version, with --verbose also what this program runs on",
      load: () => import("./commands/version.js"),
    },
    {
      name: "completion",
      description: "print a script that completes command lines in bash, zsh or fish",
      load: () => import("./commands/completion.js"),
    },
    {
      name: "build-native",
      description: "build the native part, where an installation could not",
      load: () => import("./commands/build-native.js"),
    },
  ],
};

/** The program with the options of the command that `args` name, and the arguments as it takes them. */
export async function createProgram(args: readonly string[]): Promise<{ program: ProgramCommand; args: string[] }> {
  const resolved = resolveCommand(args);
  return { program: await buildProgram((name) => name === resolved[0]), args: resolved };
}

/** With the options of all commands. */
export async function loadProgram(): Promise<ProgramCommand> {
  return buildProgram(() => true);
}

async function buildProgram(isWanted: (name: string) => boolean): Promise<ProgramCommand> {
  const program = new ProgramCommand("bitnet");
  program
    .usage("[command] [options]")
    .description("Run 1.58-bit (ternary) language models on the CPU.")
    .optionsGroup("General:")
    .version(packageVersion(), "-V, --version", "print the version, with --verbose also what this program runs on")
    .addHelpOption(new Option("-h, --help", "print this help").helpGroup("General:"))
    .commandsGroup("This program:")
    .helpCommand("help [command]", "show the help of a command")
    .exitOverride()
    .configureOutput({
      getOutHasColors: () => hasColors(process.stdout),
      getErrHasColors: () => hasColors(process.stderr),
    })
    .hook("preAction", async (_, command) => {
      await applySettings(command as ProgramCommand, loadProgram);
      applyColor(command.getOptionValue("color"));
    })
    .enablePositionalOptions() // `bench kernels` has options of the same names as `bench`
    .addHelpText(
      "after",
      '\nExamples:\n  $ bitnet run -p "Once upon a time" -n 100\n  $ bitnet run 2b    # downloads a model of 1.2 GB, and talks\n  $ bitnet help run',
    );
  for (const [group, entries] of Object.entries(commands)) {
    program.commandsGroup(`${group}:`);
    for (const entry of entries) {
      await addCommand(program, entry, isWanted(entry.name));
    }
  }
  return program;
}

async function addCommand(parent: ProgramCommand, entry: CommandEntry, isWanted: boolean): Promise<void> {
  const { name, aliases = [], description, load, subcommands = [] } = entry;
  const command = parent.command(name).aliases(aliases).description(description).copyInheritedSettings(parent);
  if (!isWanted) {
    return;
  }
  (await load()).default(command, loadProgram);
  addOptions(command, { general: generalGroupFor(command) });
  command.on("option:color", applyColor).on("option:no-color", () => applyColor(false)); // errors come before actions
  for (const subcommand of subcommands) {
    await addCommand(command, subcommand, true);
  }
}

/** A command may mean something else by --config; its file of options is then that of the environment or the user. */
function generalGroupFor(command: Command): OptionGroup {
  const { config, ...rest } = generalGroup.rows;
  const isTaken = command.options.some(({ long }) => long === new Option(config.flags).long);
  return { ...generalGroup, rows: isTaken ? rest : generalGroup.rows };
}

function applyColor(when: unknown): void {
  if (when === false || when === "never" || when === "off") {
    setColors("never");
  } else if (when === "always" || when === "on") {
    setColors("always");
  }
}

/** The arguments with the command's own name first. */
function resolveCommand(args: readonly string[]): string[] {
  const [first, ...rest] = args;
  switch (first) {
    case undefined:
      return [];
    case "-V":
    case "-v":
    case "--version":
      return ["version", ...rest];
    case "help":
      return rest.length === 0 ? ["--help"] : resolveCommand([...rest, "--help"]);
  }
  if (first === "-h" || first === "--help") {
    return [...args];
  }
  if (first.startsWith("-")) {
    throw new UsageError(
      `expected a command before '${first}'`,
      "bitnet run takes a model and a prompt; see bitnet --help",
    );
  }
  const name = findCommand(first);
  return name === "quantize" ? ["convert", ...quantizeArguments(rest)] : [...name.split(" "), ...rest];
}

function findCommand(typed: string): string {
  const entries = Object.values(commands).flat();
  const known = entries.find(({ name, aliases }) => name === typed || aliases?.includes(typed));
  const name = known?.name ?? sameCommand(typed);
  if (name !== undefined) {
    return name;
  }
  const instead = insteadOf(typed);
  if (instead !== undefined) {
    throw new UsageError(`there is no command '${typed}' here`, instead);
  }
  const meant = closest(
    typed,
    entries.flatMap(({ name, aliases = [] }) => [name, ...aliases]),
  );
  throw new UsageError(
    `unknown command '${typed}'`,
    meant === undefined ? "see bitnet --help" : `did you mean ${meant}?`,
  );
}
