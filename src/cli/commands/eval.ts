// bitnet eval: how good a model is; each way of measuring it is a command of its own.

import type { Command } from "commander";

export default function configureEval(command: Command): void {
  command
    .usage("<command> [options]")
    .argument("[command]")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet eval list
  $ bitnet eval tasks -m model.gguf -t arc_challenge --num-fewshot 25
  $ bitnet eval compare results/a/results_1.json results/b/results_2.json`,
    )
    .action((given: string | undefined) => {
      const names = command.commands.map((subcommand) => subcommand.name()).join(", ");
      const came = given === undefined ? "" : `, got '${given}'`;
      command.error(`expected one of ${names}${came}`, { exitCode: 2 });
    });
}
