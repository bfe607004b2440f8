// bitnet completion: a script for the shell, and the names that it asks for.

import { Argument, type Command, InvalidArgumentError } from "commander";
import { readHubEnvironment } from "../../hub/environment.js";
import { registeredModels } from "../../hub/registry.js";
import { listModels } from "../../models/installed.js";
import type { ProgramCommand } from "../command.js";
import { completionScript, type Shell, shells } from "../completion.js";
import { describeProgram } from "../reference.js";
import { write } from "../terminal/output.js";

const lists = ["models", "installed"] as const;

/** `lists` is what the scripts ask for. */
function parseShell(text: string): Shell | (typeof lists)[number] {
  const shell = [...shells, ...lists].find((name) => name === text);
  if (shell === undefined) {
    throw new InvalidArgumentError(`Expected one of ${shells.join(", ")}.`);
  }
  return shell;
}

export default function configureCompletion(command: Command, loadProgram: () => Promise<ProgramCommand>): void {
  command
    .addArgument(new Argument("<shell>", "the shell").choices(shells).argParser(parseShell))
    .addHelpText(
      "after",
      `
Examples:
  $ source <(bitnet completion bash)             # in ~/.bashrc
  $ source <(bitnet completion zsh)              # in ~/.zshrc, after compinit
  $ bitnet completion fish > ~/.config/fish/completions/bitnet.fish`,
    )
    .action(async (shell: ReturnType<typeof parseShell>) => {
      if (shell === "models" || shell === "installed") {
        const { cacheDir } = await readHubEnvironment();
        const names = (await listModels({ cacheDir })).map(({ name }) => name);
        const known = shell === "installed" ? [] : registeredModels.map(({ short }) => short);
        write([...new Set([...names, ...known])].map((name) => `${name}\n`).join(""));
      } else {
        write(completionScript(shell, describeProgram(await loadProgram())));
      }
    });
}
